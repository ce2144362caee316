"""What the first layers of a model tell about its input, and what is drawn for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.images import photographs
from kexport.records import Basis, Preprocessing, Resize, Signature
from kexport.sources import preprocessing, reference
from kexport.specs import ModelSpec, WeightsSpec

SPEC = ModelSpec(file="a.keras", weights=WeightsSpec(kind="model"))
SHAPE = (8, 8, 3)


def conv(k: Any, x: Any) -> Any:
    return k.layers.Conv2D(2, 1)(x)


def application(name: str) -> Callable[[Any, Any], Any]:
    """The first layers of an application, in the way of keras.io's examples."""

    def make(k: Any, x: Any) -> Any:
        return getattr(k.applications, name)(input_tensor=x, include_top=False, weights=None).output

    return make


def preprocessed(name: str) -> Callable[[Any, Any], Any]:
    def make(k: Any, x: Any) -> Any:
        return conv(k, getattr(k.applications, name).preprocess_input(x))

    return make


def augmented(k: Any, x: Any) -> Any:
    """The block of Keras's own tutorial on transfer learning."""
    return k.Sequential([k.layers.RandomFlip("horizontal"), k.layers.RandomRotation(0.1)], name="augmentation")(x)


def inner(k: Any, make: Callable[[Any], Any]) -> Any:
    image = k.Input(SHAPE)
    return k.Model(image, make(image))


def deeply(k: Any, x: Any) -> Any:
    """Preprocessing in a model in a model, with everything around it that passes images."""
    scaled = inner(k, lambda v: k.layers.Rescaling(1 / 127.5, offset=-1)(k.layers.RandomContrast(0.2)(v)))
    outer = inner(k, lambda v: k.layers.Dropout(0.1)(scaled(k.layers.Identity()(v))))
    return conv(k, k.layers.GaussianNoise(0.1)(outer(augmented(k, x))))


def lambda_of(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda k, x: conv(k, k.layers.Lambda(function)(x))


RAW, UNIT, SIGNED = ("raw", 0, 255), ("unit", 0, 1), ("tf", -1, 1)
TORCH_MEAN, TORCH_STD = np.array([0.485, 0.456, 0.406], "float32"), np.array([0.229, 0.224, 0.225], "float32")
MODELS: dict[str, tuple[Callable[[Any, Any], Any], tuple[str, float, float]]] = {
    "nothing": (conv, ("unknown", 0, 1)),
    "rescaling pixels": (lambda k, x: conv(k, k.layers.Rescaling(1 / 255)(x)), RAW),
    "rescaling to two sides": (lambda k, x: conv(k, k.layers.Rescaling(1 / 127.5, offset=-1)(x)), RAW),
    "rescaling one": (lambda k, x: conv(k, k.layers.Rescaling(2.0, offset=-1)(x)), UNIT),
    "resized, then rescaled": (lambda k, x: conv(k, k.layers.Rescaling(1 / 255)(k.layers.Resizing(4, 4)(x))), RAW),
    "rescaling of 16 bits": (lambda k, x: conv(k, k.layers.Rescaling(1 / 65535)(x)), ("unknown", 0, 65535)),
    "rescaling of each channel": (
        lambda k, x: conv(k, k.layers.Rescaling([1 / 58.4, 1 / 57.1, 1 / 57.4], offset=[-2.1, -2.0, -1.8])(x)), RAW,
    ),
    "normalization of pixels": (
        lambda k, x: conv(k, k.layers.Normalization(mean=[120.0] * 3, variance=[3000.0] * 3)(x)), RAW,
    ),
    "normalization of dark pixels": (
        lambda k, x: conv(k, k.layers.Normalization(mean=[33.0] * 3, variance=[400.0] * 3)(x)), RAW,
    ),
    "normalization of one": (
        lambda k, x: conv(k, k.layers.Normalization(mean=[0.5] * 3, variance=[0.0625] * 3)(x)), UNIT,
    ),
    "normalization that never adapted": (lambda k, x: conv(k, k.layers.Normalization()(x)), ("unknown", 0, 1)),
    "batch normalization": (lambda k, x: conv(k, k.layers.BatchNormalization()(x)), ("unknown", -2, 2)),
    "division": (lambda k, x: conv(k, x / 127.5 - 1.0), RAW),
    "multiplication": (lambda k, x: conv(k, x * (1 / 255)), RAW),
    "first the offset": (lambda k, x: conv(k, (x - 127.5) / 127.5), RAW),
    "constants on the left": (lambda k, x: conv(k, -1.0 + 2.0 * (x / 255.0)), RAW),
    "negative": (lambda k, x: conv(k, 1.0 - x / 255.0), RAW),
    "a mean only": (lambda k, x: conv(k, x - 128.0), RAW),
    "arithmetic of one": (lambda k, x: conv(k, x * 2.0 - 1.0), UNIT),
    "normalised by hand": (lambda k, x: conv(k, (x - TORCH_MEAN) / TORCH_STD), UNIT),
    "from two sides to pixels": (lambda k, x: conv(k, k.layers.Rescaling(1 / 255)((x + 1.0) * 127.5)), SIGNED),
    "from one to pixels": (lambda k, x: k.applications.vgg16.preprocess_input(x * 255.0), UNIT),
    "ambiguous arithmetic": (lambda k, x: conv(k, x * 2.0), ("unknown", 0, 1)),
    "clipped": (lambda k, x: conv(k, k.ops.clip(x, 0.0, 255.0) / 255.0), RAW),
    "a lambda": (lambda_of(lambda v: v / 127.5 - 1.0), RAW),
    "a lambda with a flip": (lambda_of(lambda v: v[..., ::-1] - 117.0), RAW),
    "a flip before": (lambda k, x: conv(k, x[..., ::-1] / 255.0), RAW),
    "a flip behind": (lambda k, x: conv(k, k.ops.flip(x / 255.0, axis=-1)), RAW),
    "grey of RGB": (lambda k, x: conv(k, k.ops.mean(x, axis=-1, keepdims=True) / 255.0), RAW),
    "scaled behind weights": (lambda k, x: k.layers.Rescaling(1 / 255)(conv(k, x)), ("unknown", 0, 1)),
    "preprocess_input tf": (preprocessed("mobilenet_v2"), RAW),
    "preprocess_input torch": (preprocessed("densenet"), RAW),
    "preprocess_input caffe": (preprocessed("vgg16"), RAW),
    "augmentation, tf": (lambda k, x: preprocessed("mobilenet_v2")(k, augmented(k, x)), RAW),
    "augmentation, torch": (lambda k, x: preprocessed("densenet")(k, augmented(k, x)), RAW),
    "augmentation, caffe": (lambda k, x: preprocessed("resnet50")(k, augmented(k, x)), RAW),
    "augmentation, rescaling": (lambda k, x: conv(k, k.layers.Rescaling(1 / 255)(augmented(k, x))), RAW),
    "augmentation alone": (lambda k, x: conv(k, k.layers.RandomZoom(0.1)(augmented(k, x))), ("unknown", 0, 1)),
    "nested twice": (deeply, RAW),
    "two branches": (lambda k, x: k.layers.Concatenate()([conv(k, x), conv(k, x / 255.0)]), RAW),
}  # fmt: skip


def feeding(make: Callable[[Any, Any], Any], shape: tuple[int, ...] = SHAPE) -> preprocessing.Feeding:
    import keras

    image = keras.Input(shape)
    return preprocessing.feedings(keras.Model(image, make(keras, image)), SPEC)[0]


@pytest.mark.parametrize("name", MODELS)
def test_first_layers(name: str) -> None:
    make, (mode, low, high) = MODELS[name]
    found = feeding(make)
    assert (found.mode, found.content) == (mode, "images")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-2)
    silent = {"nothing", "ambiguous arithmetic", "scaled behind weights", "augmentation alone",
              "normalization that never adapted"}  # fmt: skip
    assert ("unknown: neither" in found.basis) == (name in silent)
    assert found.rests == (Basis.ASSUMED if name in silent else Basis.READ)


@pytest.mark.parametrize(
    ("name", "family", "mode", "side"),
    [
        ("VGG16", "vgg", "caffe", 32),
        ("ResNet50", "resnet", "caffe", 32),
        ("ResNet50V2", "resnet_v2", "tf", 32),
        ("InceptionV3", "inception_v3", "tf", 75),
        ("MobileNet", "mobilenet", "tf", 32),
        ("MobileNetV2", "mobilenet_v2", "tf", 32),
        ("DenseNet121", "densenet", "torch", 32),
    ],
)
def test_backbones(name: str, family: str, mode: str, side: int) -> None:
    found = feeding(application(name), (side, side, 3))
    assert found.mode == mode
    assert found.basis == f"its layers are those of {family}: as Keras trained that, if this model follows it"
    assert found.rests is Basis.ASSUMED


@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV3Small"])
def test_backbones_that_scale_by_themselves(name: str) -> None:
    found = feeding(application(name), (32, 32, 3))
    assert (found.mode, found.low, found.high) == ("raw", 0.0, 255.0)
    assert found.basis.startswith("its own Rescaling layer ")


def contract(make: Callable[[Any, Any], Any], shape: tuple[int, ...] = SHAPE, **said: str) -> Preprocessing:
    import keras

    image = keras.Input(shape)
    model = keras.Model(image, make(keras, image))
    spec = replace(SPEC, **said)  # type: ignore[arg-type]
    found = preprocessing.preprocessing(preprocessing.feedings(model, spec), reference.signatures(model)[0], spec)
    assert found is not None
    return found


def test_pixels_are_scaled_once() -> None:
    """What the model does by itself is not in its contract, wherever it stands."""
    for name in ("augmentation, tf", "augmentation, torch", "augmentation, caffe", "nested twice", "a lambda"):
        found = contract(MODELS[name][0])
        assert (found.scale, found.mean, found.std, found.channel_order) == (1.0, (0.0,) * 3, (1.0,) * 3, "RGB"), name
        assert (found.range_basis, found.resize_basis) == (Basis.READ, Basis.ASSUMED)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50V2", "EfficientNetB0"])
def test_the_tutorial(name: str) -> None:
    """Augmentation, preprocessing, backbone, head; the backbone alone would say something else."""
    module = {"MobileNetV2": "mobilenet_v2", "ResNet50V2": "resnet_v2", "EfficientNetB0": "efficientnet"}[name]

    def make(k: Any, x: Any) -> Any:
        backbone = getattr(k.applications, name)(
            weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
        )
        return backbone(getattr(k.applications, module).preprocess_input(augmented(k, x)), training=False)

    found = contract(make, (32, 32, 3))
    assert (found.mode, found.scale, set(found.mean), set(found.std)) == ("raw", 1.0, {0.0}, {1.0})
    assert found.range_basis is Basis.READ


def test_what_a_backbone_is_fed_with_behind_layers_that_say_too_little() -> None:
    """Keras trained ResNet50 on BGR pixels less their mean; the flip and the factor before it are the model's own."""

    def flipped(k: Any, x: Any) -> Any:
        return k.applications.ResNet50(input_tensor=x[..., ::-1] * 2.0, include_top=False, weights=None).output

    found = contract(flipped, (32, 32, 3))
    assert (found.mode, found.channel_order, found.range_basis) == ("own", "RGB", Basis.ASSUMED)
    pixel = np.array([10.0, 20.0, 30.0])
    fed = photographs.prepare(pixel, found)
    np.testing.assert_allclose(fed[::-1] * 2.0, pixel[::-1] - [103.939, 116.779, 123.68], rtol=1e-5)


def test_channels_in_the_order_of_their_means() -> None:
    """Blue first, as OpenCV reads: the means that the model itself subtracts tell it."""
    means = np.array([103.939, 116.779, 123.68], "float32")
    assert contract(lambda k, x: conv(k, x - means)).channel_order == "BGR"
    assert contract(lambda k, x: conv(k, x - means[::-1])).channel_order == "RGB"
    assert contract(lambda k, x: conv(k, x[..., ::-1] - means)).channel_order == "RGB"


def test_one_channel() -> None:
    found = contract(lambda k, x: conv(k, x * 2.0 - 1.0), (8, 8, 1))
    assert (found.mode, found.scale, found.mean, found.channel_order) == ("unit", 1 / 255, (0.0,), "as trained")


def test_what_the_user_states_wins() -> None:
    found = contract(MODELS["augmentation, tf"][0], preprocessing="torch", resize="squash")
    assert (found.mode, found.basis, found.range_basis) == ("torch", "--preprocessing torch", Basis.STATED)
    assert (found.resize, found.resize_basis) == (Resize.SQUASH, Basis.STATED)
    found = contract(conv, resize="crop:0.5")
    assert (found.mode, found.resize_shorter_side, found.range_basis) == ("unknown", 16, Basis.ASSUMED)
    with pytest.raises(UsageError, match="--preprocessing caffe: is for 3 channels, the input 'input' has 1"):
        contract(conv, (8, 8, 1), preprocessing="caffe")


def test_an_application_states_too() -> None:
    spec = ModelSpec(application="MobileNet", preprocessing="raw", resize="pad")
    assert spec.as_published


def test_what_is_drawn() -> None:
    signatures = (
        Signature(name="photo", shape=(None, 8, 8, 3), dtype="float32"),
        Signature(name="word", shape=(None, 5), dtype="int32"),
        Signature(name="row", shape=(None, 2000), dtype="float32"),
    )
    fed = (
        preprocessing.Feeding(name="photo", content="images", low=-1, high=1, mode="tf", basis=""),
        preprocessing.Feeding(name="word", content="indices", low=0, high=7, mode="unknown", basis=""),
        preprocessing.Feeding(name="row", content="numbers", low=6, high=14, mode="unknown", basis=""),
    )
    drawn = preprocessing.reference_inputs(fed, signatures, seed=1)
    again = preprocessing.reference_inputs(fed, signatures, seed=1)
    assert {name: (len(array), array.dtype.name) for name, array in drawn.items()} == {
        "photo": (4, "float32"), "word": (4, "int32"), "row": (4, "float32"),
    }  # fmt: skip
    assert set(np.unique(drawn["word"])) <= set(range(7))
    assert (drawn["row"].mean(), drawn["row"].std()) == pytest.approx((10, 2), abs=0.1)
    assert np.abs(drawn["photo"]).max() <= 1
    for name, array in drawn.items():
        np.testing.assert_array_equal(again[name], array)


def test_an_open_size() -> None:
    with pytest.raises(UsageError, match=r"input 'x' has the open size \(None, None, 3\)"):
        preprocessing.sizes(Signature(name="x", shape=(None, None, 3), dtype="float32"))


def test_an_input_without_bounds() -> None:
    with pytest.raises(UsageError, match=r"input 'x' of \(100000, 100000, 3\) has 30000000000 numbers"):
        preprocessing.sizes(Signature(name="x", shape=(None, 100_000, 100_000, 3), dtype="float32"))
