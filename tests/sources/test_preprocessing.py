"""What the first layers of a model tell about its input, and what is drawn for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.records import Signature
from kexport.sources import preprocessing
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


MODELS: dict[str, tuple[Callable[[Any, Any], Any], tuple[str, float, float]]] = {
    "nothing": (conv, ("unknown", 0, 1)),
    "rescaling pixels": (lambda k, x: conv(k, k.layers.Rescaling(1 / 255)(x)), ("raw", 0, 255)),
    "rescaling to two sides": (lambda k, x: conv(k, k.layers.Rescaling(1 / 127.5, offset=-1)(x)), ("raw", 0, 255)),
    "rescaling one": (lambda k, x: conv(k, k.layers.Rescaling(2.0, offset=-1)(x)), ("unknown", 0, 1)),
    "resized, then rescaled": (
        lambda k, x: conv(k, k.layers.Rescaling(1 / 255)(k.layers.Resizing(4, 4)(x))), ("raw", 0, 255),
    ),
    "normalization of pixels": (
        lambda k, x: conv(k, k.layers.Normalization(mean=[120.0] * 3, variance=[3000.0] * 3)(x)), ("raw", 0, 255),
    ),
    "normalization of one": (
        lambda k, x: conv(k, k.layers.Normalization(mean=[0.5] * 3, variance=[0.0625] * 3)(x)), ("unknown", 0, 1),
    ),
    "batch normalization": (lambda k, x: conv(k, k.layers.BatchNormalization()(x)), ("unknown", -2, 2)),
    "division": (lambda k, x: conv(k, x / 127.5 - 1.0), ("raw", 0, 255)),
    "multiplication": (lambda k, x: conv(k, x * (1 / 255)), ("raw", 0, 255)),
    "small arithmetic": (lambda k, x: conv(k, x * 2.0 - 1.0), ("unknown", 0, 1)),
    "scaled behind weights": (lambda k, x: k.layers.Rescaling(1 / 255)(conv(k, x)), ("unknown", 0, 1)),
    "preprocess_input tf": (preprocessed("mobilenet_v2"), ("raw", 0, 255)),
    "preprocess_input caffe": (preprocessed("vgg16"), ("raw", 0, 255)),
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
    assert ("unknown: neither" in found.basis) == (name in {
        "nothing", "small arithmetic", "scaled behind weights",
    })  # fmt: skip


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


@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV3Small"])
def test_backbones_that_scale_by_themselves(name: str) -> None:
    found = feeding(application(name), (32, 32, 3))
    assert (found.mode, found.low, found.high) == ("raw", 0.0, 255.0)
    assert found.basis.startswith("its own Rescaling layer ")


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
