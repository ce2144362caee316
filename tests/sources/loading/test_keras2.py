"""Legacy ``.h5`` models as Keras 2 and tf.keras wrote them: loaded exactly, exported natively."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport.errors import SourceError
from kexport.images.seeded import seeded_images
from kexport.sources import loading
from kexport.sources.adapt import precision
from kexport.sources.weights import random
from kexport.specs import Format
from tests import own_models
from tests.sources.loading import keras2_writer


def randomized(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0.0, 0.2, weight.shape)
        weight.assign(values)
    return model


def same(model: Any, other: Any, shape: tuple[int, int, int], *, high: float = 1.0) -> None:
    images = seeded_images(2, shape, seed=3, low=-high, high=high)
    expected = np.asarray(model(images, training=False))
    assert expected.std(axis=0).max() > 1e-4
    np.testing.assert_array_equal(np.asarray(other(images, training=False)), expected)


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.long), True], ids=["trainable", "frozen"])
def test_nested_mobilenet(tmp_path: Path, frozen: bool) -> None:
    """The usual fine-tuned model: with a frozen backbone all its weights are stored in another order."""
    import keras

    backbone = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    backbone.trainable = not frozen
    image = keras.Input((32, 32, 3), name="input_2")
    value = keras.layers.GlobalAveragePooling2D()(backbone(image))
    model = keras.Model(image, keras.layers.Dense(5, activation="softmax")(value))
    random.randomize(model, seed=0, low=-1.0, high=1.0)
    path = keras2_writer.write(tmp_path / "model.h5", model)
    config = json.loads(h5py.File(path).attrs["model_config"])
    inner = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Functional")
    depthwise = next(layer for layer in inner["config"]["layers"] if layer["class_name"] == "DepthwiseConv2D")
    norm = next(layer for layer in inner["config"]["layers"] if layer["class_name"] == "BatchNormalization")
    assert (depthwise["config"]["groups"], norm["config"]["axis"]) == (1, [3]), "what Keras 3 itself stumbles over"
    same(model, loading.load(path, trust=False), (32, 32, 3))
    if frozen:
        own_models.passed(own_models.exported(own_models.of_file(path), tmp_path, (Format.ONNX, Format.TFLITE)))


def test_sequential_with_separable_convolutions(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.SeparableConv2D(6, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    path = keras2_writer.write(tmp_path / "model.h5", randomized(model))
    same(model, loading.load(path, trust=False), (16, 16, 3), high=255.0)


def test_names_with_slashes(tmp_path: Path) -> None:
    """DenseNet of Keras 2 called its layers ``conv1/conv``, which Keras 3 does not allow."""
    import keras

    image = keras.Input((8, 8, 3), name="input_1")
    value = keras.layers.Conv2D(4, 3, name="conv1_conv")(image)
    value = keras.layers.BatchNormalization(name="conv1_bn")(value)
    value = keras.layers.Concatenate(name="both")([value, value])
    model = randomized(keras.Model(image, value))
    names = {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn"}
    loaded = loading.load(keras2_writer.write(tmp_path / "model.h5", model, rename=names), trust=False)
    assert [layer.name for layer in loaded.layers][1:3] == ["conv1_conv", "conv1_bn"]
    same(model, loaded, (8, 8, 3))


def test_mixed_precision(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3), name="input_1")
    value = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    model = randomized(keras.Model(image, value))
    loaded = loading.load(keras2_writer.write(tmp_path / "model.h5", model, policy="mixed_float16"), trust=False)
    assert {layer.compute_dtype for layer in loaded.layers[1:]} == {"float16"}
    exact, notes = precision.as_float32(loaded)
    assert notes == ("the model computes in mixed_float16; it is exported in float32, with float32 weights",)
    same(model, exact, (8, 8, 3))


def rewritten(path: Path, layers: list[dict[str, Any]], output: str) -> Path:
    """A model file without weights whose layers are those given."""
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [[output, 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.create_group("model_weights").attrs["layer_names"] = [b"x"]
        file["model_weights"].create_group("x").attrs["weight_names"] = np.array([], "S1")
    return path


def tensor_operation(name: str, function: str, source: str, kind: str = "TFOpLambda", **kwargs: Any) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
    node = [source, 0, 0, {**kwargs, "name": None}]
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": [node]}


INPUT = {
    "class_name": "InputLayer",
    "name": "x",
    "config": {"batch_input_shape": [None, 4, 4, 3], "dtype": "float32", "sparse": False, "ragged": False, "name": "x"},
    "inbound_nodes": [],
}


def test_operations_on_tensors(tmp_path: Path) -> None:
    """``relu6(x / 127.5 - 1 + 3) * x``, as tf.keras stored arithmetic: the operations of MobileNetV3."""
    layers = [
        INPUT,
        tensor_operation("tf.math.truediv", "math.truediv", "x", y=127.5),
        tensor_operation("tf.math.subtract", "math.subtract", "tf.math.truediv", y=1.0),
        tensor_operation("tf.__operators__.add", "__operators__.add", "tf.math.subtract", y=3.0),
        tensor_operation("tf.nn.relu6", "nn.relu6", "tf.__operators__.add"),
        tensor_operation("tf.math.multiply", "math.multiply", "tf.nn.relu6", y=["x", 0, 0]),
    ]
    loaded = loading.load(rewritten(tmp_path / "m.h5", layers, "tf.math.multiply"), trust=False)
    images = seeded_images(2, (4, 4, 3), seed=0)
    expected = np.clip(images / np.float32(127.5) - 1 + 3, 0, 6) * images
    np.testing.assert_allclose(np.asarray(loaded(images)), expected, rtol=1e-6)


def test_an_operation_without_counterpart(tmp_path: Path) -> None:
    layers = [INPUT, tensor_operation("odd", "linalg.det", "x")]
    with pytest.raises(SourceError) as caught:
        loading.load(rewritten(tmp_path / "m.h5", layers, "odd"), trust=False)
    assert caught.value.message == (
        f"model {tmp_path / 'm.h5'}: layer 'odd' calls tf.linalg.det, which has no counterpart in Keras 3"
    )


def test_several_axes_are_refused(tmp_path: Path) -> None:
    layer = {"class_name": "LayerNormalization", "name": "n", "config": {"name": "n", "axis": [1, 2]}}
    layers = [INPUT, {**layer, "inbound_nodes": [[["x", 0, 0, {}]]]}]
    with pytest.raises(SourceError, match=r"layer 'n' \(LayerNormalization\) works over the axes \[1, 2\]"):
        loading.load(rewritten(tmp_path / "m.h5", layers, "n"), trust=False)


def test_statistics_in_another_order(tmp_path: Path) -> None:
    """gamma, beta and the statistics have one shape: only their names tell a wrong order."""
    import keras

    model = randomized(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization(name="norm")]))
    path = keras2_writer.write(tmp_path / "model.h5", model)
    with h5py.File(path, "a") as file:
        names = file["model_weights/norm"].attrs["weight_names"]
        file["model_weights/norm"].attrs["weight_names"] = [names[1], names[0], *names[2:]]
    with pytest.raises(SourceError, match=r"layer 'norm': .*norm/beta:0 stands where .*gamma is expected"):
        loading.load(path, trust=False)
