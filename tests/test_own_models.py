"""Models of one's own, from their source to artifacts: shapes of graphs, names, precision, labels, engines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.errors import SourceError, UnsupportedError, UsageError
from kexport.images.seeded import seeded_images
from kexport.records import Status
from kexport.sources import build as source
from kexport.sources import prepared
from kexport.specs import Engine, Format, ModelSpec, Scheme, WeightsSpec
from tests import own_models
from tests.own_models import OWN, exported, of_file, passed, saved

TWO = (Format.ONNX, Format.TFLITE)
SHAPE = (16, 16, 3)


def classifier(*, side: int = 16, classes: int = 5) -> Any:
    """A small nested model: augmentation, scaling, a backbone, a head."""
    import keras
    from keras import layers

    backbone = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(8, 3, strides=2, name="stem"),
            layers.BatchNormalization(),
            layers.ReLU(),
        ],
        name="backbone",
    )
    image = keras.Input((side, side, 3), name="photo")
    value = layers.RandomFlip()(image)
    value = layers.RandomRotation(0.1)(value)
    value = backbone(layers.Rescaling(1 / 127.5, offset=-1, name="scale")(value))
    value = layers.Dropout(0.5)(layers.GlobalAveragePooling2D(name="pooled")(value))
    model = keras.Model(image, layers.Dense(classes, activation="softmax", name="scores")(value), name="flowers")
    return spread(model)


def spread(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            positive = "variance" in weight.path or "gamma" in weight.path
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0.0, 0.4, weight.shape))
    return model


def _twins(layers: Any) -> Any:
    """One network for two images."""
    import keras

    each = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(6)]
    )
    images = [keras.Input(SHAPE, name="left"), keras.Input(SHAPE, name="right")]
    return keras.Model(images, layers.Concatenate()([each(image) for image in images]))


def _beside_numbers(layers: Any) -> Any:
    """An image and what is known beside it."""
    import keras

    image, facts = keras.Input(SHAPE, name="photo"), keras.Input((4,), name="facts")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(image))
    return keras.Model([image, facts], layers.Dense(3)(layers.Concatenate()([pooled, layers.Dense(6)(facts)])))


def _of_a_sound(layers: Any) -> Any:
    import keras

    sound = keras.Input((32, 6), name="sound")
    value = layers.Conv1D(8, 3, activation="relu", padding="same")(sound)
    return keras.Model(sound, layers.Dense(3)(layers.GlobalAveragePooling1D()(value)))


@pytest.mark.parametrize("make", [_twins, _beside_numbers, _of_a_sound])
def test_int8_from_an_array_for_each_input(tmp_path: Path, make: Any) -> None:
    from keras import layers

    from kexport.sources.keras_walk import input_names

    model, rng = spread(make(layers)), np.random.default_rng(2)
    arrays = {
        name: rng.uniform(0, 1, (40, *tensor.shape[1:])).astype(np.float32)
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    }
    np.savez(tmp_path / "inputs.npz", **arrays)
    spec = saved(model, tmp_path)
    for record in exported(spec, tmp_path, TWO, scheme=Scheme.INT8, calibration=str(tmp_path / "inputs.npz")):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.quantization is not None
        assert (record.quantization.images, record.quantization.fit_to_deploy) == (40, True)


def _rescaled(pixels: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 255)(pixels)


def _cast(pixels: Any) -> Any:
    import keras

    return keras.ops.cast(pixels, "float32") / 127.5 - 1.0


def _resized(pixels: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 255)(layers.Resizing(24, 24)(pixels))


@pytest.mark.parametrize("begin", [_rescaled, _cast, _resized])
@pytest.mark.parametrize("calibration", ["synthetic:0", "photographs"])
def test_int8_of_a_model_that_takes_bytes(tmp_path: Path, begin: Any, calibration: str) -> None:
    """Its own input is uint8: photographs, and the numbers of a file, are fed to it as bytes."""
    import keras
    from keras import layers
    from PIL import Image

    if calibration == "photographs":
        (tmp_path / "photographs").mkdir()
        for place, pixels in enumerate(seeded_images(24, (48, 48, 3), seed=4)):
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photographs" / f"{place}.png")
        calibration = str(tmp_path / "photographs")
    photo = keras.Input((32, 32, 3), dtype="uint8", name="photo")
    value = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(begin(photo)))
    model = spread(keras.Model(photo, layers.Dense(4)(value)))
    records = exported(saved(model, tmp_path), tmp_path, TWO, scheme=Scheme.INT8, calibration=calibration)
    passed(records)
    for record in records:
        assert record.quantization is not None
        assert record.quantization.int8_layers
        assert record.artifact is not None
        assert record.artifact.inputs[0].dtype == "uint8"


def test_augmentation_nesting_labels_and_the_contract(tmp_path: Path) -> None:
    """What a file carries so that it can be used: labels and preprocessing, in the file and in the record."""
    import onnxruntime

    (tmp_path / "names.txt").write_text("rose\ntulip\ndaisy\nlily\naster\n")
    spec = saved(classifier(), tmp_path, labels=str(tmp_path / "names.txt"))
    records = exported(spec, tmp_path)
    passed(records)
    facts = records[0].source
    assert facts is not None
    assert (facts.labels, facts.labels_from) == (("rose", "tulip", "daisy", "lily", "aster"), "names.txt")
    assert facts.preprocessing is not None
    assert (facts.preprocessing.mode, facts.preprocessing.basis) == ("raw", "its own Rescaling layer 'scale'")
    assert facts.reference_inputs == {"input": "seeded images in [0, 255]: its own Rescaling layer 'scale'"}
    assert (facts.kind, facts.source, facts.weights) == ("file", str(tmp_path / "mine.keras"), "model")

    session = onnxruntime.InferenceSession(tmp_path / "out" / "mine" / "mine-float32.onnx")
    inside = session.get_modelmeta().custom_metadata_map
    assert json.loads(inside["kexport.labels"]) == list(facts.labels)
    assert json.loads(inside["kexport.preprocessing"])["mode"] == "raw"
    assert inside["kexport.source"] == "mine.keras"
    assert tflite_metadata(tmp_path / "out" / "mine" / "mine-float32.tflite") == inside


def tflite_metadata(path: Path) -> dict[str, str]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    named = {entry.name.decode(): bytes(model.buffers[entry.buffer].data) for entry in model.metadata}
    return {name: content.decode() for name, content in named.items() if name.startswith("kexport.")}


def test_same_file_same_bytes(tmp_path: Path) -> None:
    spec = saved(classifier(), tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    digests = []
    for folder in (first, second):
        folder.mkdir()
        records = exported(spec, folder, TWO)
        digests.append([record.artifact.sha256 for record in records if record.artifact])
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_names_of_several_inputs_and_outputs(tmp_path: Path) -> None:
    """Keys of dictionaries are the public names; a vector beside an image; a shared layer."""
    import keras
    from keras import layers

    given = {"photo": keras.Input(SHAPE, name="photo"), "age": keras.Input((4,), name="age")}
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(given["photo"]))
    shared = layers.Dense(6, activation="relu", name="shared")
    left, right = shared(pooled), shared(given["age"])
    both = layers.Concatenate()([left, right])
    model = keras.Model(given, {"wide": both, "narrow": layers.Dense(3)(both), "again": left})
    records = exported(saved(spread(model), tmp_path), tmp_path)
    passed(records)
    for record in records:
        assert record.artifact is not None
        assert sorted(spec.name for spec in record.artifact.inputs) == ["age", "photo"]
        assert sorted(spec.name for spec in record.artifact.outputs) == ["again", "narrow", "wide"]
    facts = records[0].source
    assert facts is not None
    assert facts.reference_inputs["age"].startswith("seeded normal numbers in [-2, 2]: unknown: ")


def test_keras_itself_runs_them_too() -> None:
    """What `kexport bench --with-keras` measures: a Sequential model, and one that takes a dictionary."""
    import keras
    from keras import layers

    from kexport.runtimes.keras_ import KerasSession

    rows = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    plain = keras.Sequential([keras.Input((4,), name="row"), layers.Dense(3, name="scores")])
    session = KerasSession(plain)
    assert [spec.name for spec in session.signature[1]] == ["scores"]
    np.testing.assert_allclose(session.run({"row": rows})["scores"], np.asarray(plain(rows)), rtol=1e-6)
    given = {"one": keras.Input((4,), name="one"), "two": keras.Input((4,), name="two")}
    both = keras.Model(given, {"b": layers.Add()(list(given.values())), "a": layers.Dense(2)(given["one"])})
    found = KerasSession(both).run({"one": rows, "two": 2 * rows})
    np.testing.assert_allclose(found["b"], 3 * rows, rtol=1e-6)
    assert found["a"].shape == (2, 2)


def test_a_result_shown_twice_has_two_names(tmp_path: Path) -> None:
    import keras
    from keras import layers

    image = keras.Input(SHAPE)
    value = layers.Conv2D(4, 3, name="seen")(image)
    records = exported(saved(spread(keras.Model(image, [value, value])), tmp_path), tmp_path, (Format.ONNX,))
    passed(records)
    assert records[0].parity is not None
    assert [output.name for output in records[0].parity.outputs] == ["seen", "seen_1"]


def test_numbers_instead_of_images(tmp_path: Path) -> None:
    import keras
    from keras import layers

    norm = layers.Normalization(mean=[10.0, -5.0, 100.0], variance=[4.0, 1.0, 900.0])
    model = keras.Sequential([keras.Input((3,)), norm, layers.Dense(8, activation="tanh"), layers.Dense(2)])
    records = exported(saved(spread_dense(model), tmp_path), tmp_path)
    passed(records)
    assert records[0].source is not None
    assert records[0].source.preprocessing is None
    assert "its own Normalization layer" in records[0].source.reference_inputs["input"]


def spread_dense(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "Dense":
            layer.set_weights([rng.normal(0.0, 0.5, weight.shape) for weight in layer.weights])
    return model


def test_integers_are_native(tmp_path: Path) -> None:
    import keras
    from keras import layers

    words = keras.Input((6,), dtype="int32", name="words")
    model = keras.Model(words, layers.Dense(3)(layers.Flatten()(layers.Embedding(20, 4, name="table")(words))))
    records = exported(saved(spread(model), tmp_path), tmp_path)
    passed(records)
    assert records[0].source is not None
    assert records[0].source.reference_inputs["input"] == (
        "seeded integers in [0, 20]: the layer 'table' takes 20 values"
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_is_exported_in_float32(tmp_path: Path, policy: str) -> None:
    import keras

    keras.config.set_dtype_policy(policy)
    try:
        model = classifier()
    finally:
        keras.config.set_dtype_policy("float32")
    records = exported(saved(model, tmp_path), tmp_path, (Format.ONNX, Format.SAVEDMODEL))
    passed(records)
    facts = records[0].source
    assert facts is not None
    assert facts.notes == (f"the model computes in {policy}; it is exported in float32, with float32 weights",)
    assert {spec.dtype for spec in (*facts.inputs, *facts.outputs)} == {"float32"}


def test_taps_within_a_nested_model(tmp_path: Path) -> None:
    spec = saved(classifier(), tmp_path, layers=("backbone/stem", "pooled"))
    records = exported(spec, tmp_path)
    passed(records)
    assert records[0].parity is not None
    assert [output.name for output in records[0].parity.outputs] == ["pooled", "stem"]


def test_a_tap_may_be_called_by_its_own_name(tmp_path: Path) -> None:
    model = source.build(saved(classifier(), tmp_path, layers=("stem",)))
    assert model.outputs[0].shape == (None, 7, 7, 8)
    with pytest.raises(UsageError) as caught:
        source.build(of_file(tmp_path / "mine.keras", layers=("stme",)))
    assert str(caught.value) == "unknown layer 'stme': did you mean stem?\nhint: kexport list layers SOURCE"


def test_inputs_that_a_tap_does_not_need_are_gone(tmp_path: Path) -> None:
    import keras
    from keras import layers

    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    value = layers.Add()([layers.Dense(3, name="mine")(left), layers.Dense(3)(right)])
    model = source.build(saved(keras.Model([left, right], value), tmp_path, layers=("mine",)))
    assert [tensor.name for tensor in model.inputs] == ["left"]


def with_lambda(path: Path) -> Path:
    import keras
    from keras import layers

    image = keras.Input(SHAPE)
    value = layers.Lambda(lambda x: __import__("tensorflow").square(x), name="squared", output_shape=SHAPE)(
        layers.Conv2D(3, 1)(image)
    )
    spread(keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(value)))).save(path)
    return path


def test_a_trusted_lambda_is_taken_by_the_engines(tmp_path: Path) -> None:
    records = exported(of_file(with_lambda(tmp_path / "mine.keras"), trust=True), tmp_path)
    assert [(record.status, record.reason) for record in records] == [(Status.PASS, "")] * 3
    engines = [record.artifact.engine for record in records if record.artifact]
    assert engines == ["tf2onnx", "tflite-converter", "keras"]
    assert records[0].artifact is not None
    assert records[0].artifact.engine_reason.startswith("not native: layer 'squared' is a keras.")
    assert "Lambda" in records[0].artifact.engine_reason
    assert records[0].source is not None
    assert records[0].source.options["trust"] is True
    assert "kexport.weights_sha256" in tflite_metadata(tmp_path / "out" / "mine" / "mine-float32.tflite")
    native = exported_by(tmp_path / "mine.keras", tmp_path / "native", engine=Engine.NATIVE)
    assert (native.status, native.hint) == (Status.UNSUPPORTED, "--engine tf2onnx")
    assert native.reason.startswith("the native engine cannot: layer 'squared' is a keras.")


def exported_by(path: Path, folder: Path, **options: Any) -> Any:
    folder.mkdir()
    return exported(of_file(path, trust=True), folder, (Format.ONNX,), **options)[0]


def test_what_neither_engine_knows_has_both_reasons(tmp_path: Path) -> None:
    """The exact GELU becomes Erfc in TensorFlow, for which tf2onnx has nothing; the native graph has no hues."""
    import keras

    image = keras.Input((8, 8, 4))
    value = keras.ops.image.rgb_to_hsv(keras.layers.Conv2D(3, 1, activation="gelu")(image))
    spec = saved(spread(keras.Model(image, value)), tmp_path)
    records = exported(spec, tmp_path, (Format.ONNX,))
    assert records[0].status is Status.UNSUPPORTED
    operation = f"operation {value._keras_history.operation.name!r}"  # numbered where another of the kind was made
    assert records[0].reason.startswith(f"not native: {operation} is a keras.src.ops.image.RGBToHSV, which")
    assert "; tf2onnx: tf2onnx cannot convert " in records[0].reason
    assert records[0].reason.endswith("is Erfc (an exact GELU)")
    assert records[0].hint.startswith("--formats savedmodel, or a lowering of your own")
    assert not list((tmp_path / "out").rglob("*.onnx"))


@pytest.mark.parametrize("damage", ["extra input", "invalid graph"])
def test_defects_of_the_engine_end_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """What tf2onnx is known to write wrongly is found before the file has its name."""
    from onnx import TensorProto, helper

    from kexport.formats.onnx.engines import tf2onnx as tf2onnx_engine

    original = tf2onnx_engine._run

    def damaged(*arguments: Any, **options: Any) -> Any:
        proto = original(*arguments, **options)
        if damage == "extra input":
            proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
        else:
            proto.graph.node[-1].input[0] = "nowhere"
        return proto

    monkeypatch.setattr(tf2onnx_engine, "_run", damaged)
    (record,) = exported(of_file(with_lambda(tmp_path / "mine.keras"), trust=True), tmp_path, (Format.ONNX,))
    told = {
        "extra input": "tf2onnx: tf2onnx made 'more' an input of the file, and it is no constant of the model",
        "invalid graph": "tf2onnx: tf2onnx wrote an invalid ONNX file: ",
    }
    assert record.status is Status.ERROR
    assert record.reason.startswith("not native: layer 'squared' is a keras.")
    assert told[damage] in record.reason
    assert not list((tmp_path / "out").rglob("*.onnx"))
    assert not (tmp_path / "work" / "mine-float32.onnx").exists()


def test_a_size_that_the_model_leaves_open(tmp_path: Path) -> None:
    import keras
    from keras import layers

    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    spec = saved(spread(model), tmp_path)
    with pytest.raises(UsageError) as caught:
        exported(spec, tmp_path)
    assert str(caught.value) == (
        "input 'input' has the open size (None, None, None, 3); an artifact needs a fixed one\n"
        "hint: --input-shape 224,224,3"
    )
    (tmp_path / "again").mkdir()
    passed(exported(of_file(tmp_path / "mine.keras", input_shape=SHAPE), tmp_path / "again", TWO))
    with pytest.raises(UsageError, match=r"--input-shape 8,8,1: the inputs of 'functional.*' are \(None, None, 3\)"):
        source.build(of_file(tmp_path / "mine.keras", input_shape=(8, 8, 1)))


FACTORY = """
import keras


class Doubled(keras.Model):
    def __init__(self):
        super().__init__(name="doubled")
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return 2.0 * self.dense(keras.ops.mean(x, axis=(1, 2)))


def small():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="first")])


def unseeded():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])


def own_class():
    return Doubled()


def broken():
    raise ValueError("no weights here")


def nothing():
    return 3


value = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mine_for_tests.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_for_tests", raising=False)
    return "mine_for_tests"


def of_factory(text: str, **options: Any) -> ModelSpec:
    return ModelSpec(factory=text, **{"weights": OWN, **options})


def test_a_factory(module: str, tmp_path: Path) -> None:
    records = exported(of_factory(f"{module}:small"), tmp_path)
    passed(records)
    facts = records[0].source
    assert facts is not None
    assert (facts.kind, facts.source, records[0].model) == ("factory", f"{module}:small", "small")


def test_a_factory_that_draws_other_weights_each_time(module: str, tmp_path: Path) -> None:
    """The reference and the artifacts are of one model: the engines that build it again get its weights."""
    passed(exported(of_factory(f"{module}:unseeded"), tmp_path, (Format.SAVEDMODEL,)))


def test_a_factory_with_weights_of_a_file(module: str, tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    model = source.build(of_factory(f"{module}:unseeded"))
    model.save_weights(path)
    spec = of_factory(f"{module}:unseeded", weights=WeightsSpec(kind="file", path=str(path)))
    for ours, theirs in zip(source.build(spec).weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_model_of_an_own_class(module: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'doubled' is a Doubled without a static graph of layers, and was"):
        source.build(of_factory(f"{module}:own_class"))
    spec = of_factory(f"{module}:own_class", input_shape=SHAPE)
    passed(exported(spec, tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module_here:build", "no_such_module_here:build: there is no module 'no_such_module_here'"),
        ("{}:missing", "{}:missing: module '{}' has no attribute 'missing'"),
        ("{}:value", "{}:value is a int, not a function"),
        ("{}:nothing", "{}:nothing returned a int, expected a keras.Model"),
        ("{}:broken", "{}:broken raised ValueError: no weights here ({path}, line 28)"),
    ],
)
def test_what_is_no_factory(module: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        source.build(of_factory(text.replace("{}", module)))
    assert caught.value.message == message.replace("{}", module).replace("{path}", str(tmp_path / f"{module}.py"))


@pytest.mark.parametrize("scheme", [Scheme.FLOAT16])
def test_a_scheme_that_the_engine_lacks(tmp_path: Path, scheme: Scheme) -> None:
    spec = of_file(with_lambda(tmp_path / "mine.keras"), trust=True)
    (record,) = exported(spec, tmp_path, (Format.ONNX,), scheme=scheme)
    assert record.status is Status.UNSUPPORTED
    assert "; tf2onnx: the tf2onnx engine writes float32, not float16" in record.reason


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("rose\ntulip\n")
    spec = saved(classifier(), tmp_path, labels=str(tmp_path / "names.txt"))
    with pytest.raises(UsageError, match=r"names.txt: 2 labels for 5 classes") as caught:
        exported(spec, tmp_path)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("expected 5 names in the order of the outputs: ")


def test_a_live_model(tmp_path: Path) -> None:
    """Through processes of their own, as a program calls it; later Keras's stored answers stand in for it."""
    records = kexport.export(classifier(), formats=("onnx",), directory=tmp_path, jobs=1)
    assert [(record.model, record.status, record.reason) for record in records] == [("flowers", Status.PASS, "")]
    facts = records[0].source
    assert facts is not None
    assert (facts.kind, facts.source, facts.source_sha256) == ("live", "flowers", "")
    (again,) = kexport.parity(tmp_path)
    assert (again.status, again.parity) == (Status.PASS, records[0].parity)
    (again,) = kexport.parity(tmp_path, with_keras=True)
    assert (again.status, again.exit_code) == (Status.ERROR, SourceError.exit_code)
    assert again.reason == (
        "the artifact was made from a model of a Python program (flowers), which is not there any more"
    )


def test_a_file_is_checked_again_later(tmp_path: Path) -> None:
    spec = saved(classifier(), tmp_path)
    made = kexport.export(str(spec.file), formats=("onnx",), directory=tmp_path / "out", jobs=1)
    again = kexport.parity(tmp_path / "out")
    assert [record.parity for record in made] == [record.parity for record in again]
    assert kexport.verify(tmp_path / "out") == ()


def test_the_record_survives_the_disk(tmp_path: Path) -> None:
    exported(saved(classifier(), tmp_path), tmp_path, ())
    facts = prepared.load(tmp_path / "work").facts
    assert facts.input_range == (0.0, 255.0)
    assert own_models.of_file(tmp_path / "mine.keras").name == "mine"
