"""Functions of TensorFlow on tensors, arguments that are gone, and ``.keras`` archives, as tf.keras stored them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport.errors import SourceError
from kexport.images.seeded import seeded_images
from kexport.sources import loading
from kexport.sources.loading import keras2_functions, obsolete, words
from tests.sources.loading import keras2_writer
from tests.sources.loading.test_keras2 import INPUT, randomized, rewritten, same

IMAGES = seeded_images(2, (4, 4, 3), seed=0, low=-1.0, high=1.0)
X = ["x", 0, 0]
CONSTANT = "_CONSTANT_VALUE"
NODES: dict[str, tuple[str, Any, Any]] = {
    "resize": ("image.resize", [*X, {"size": [8, 8], "method": "nearest"}], IMAGES.repeat(2, 1).repeat(2, 2)),
    "concat": ("concat", [[*X, {"axis": -1}], [*X, {"axis": -1}]], np.concatenate([IMAGES, IMAGES], -1)),
    "mean": ("math.reduce_mean", [*X, {"axis": [1, 2], "keepdims": True}], IMAGES.mean((1, 2), keepdims=True)),
    "maximum": ("math.reduce_max", [*X, {"axis": -1, "keepdims": None}], IMAGES.max(-1)),
    "slice": (
        "__operators__.getitem",
        [*X, {"slice_spec": [{"start": None, "stop": None, "step": None}, {"start": 1, "stop": -1, "step": None}]}],
        IMAGES[:, 1:-1],
    ),
    "flip": (
        "__operators__.getitem",
        [*X, {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]}],
        IMAGES[..., ::-1],
    ),
    "index": (
        "__operators__.getitem", [*X, {"slice_spec": [{"start": None, "stop": None, "step": None}, 0]}], IMAGES[:, 0],
    ),
    "reshape": ("reshape", [*X, {"shape": [-1, 16, 3]}], IMAGES.reshape(2, 16, 3)),
    "l2": (
        "math.l2_normalize", [*X, {"axis": -1}],
        IMAGES / np.sqrt(np.maximum((IMAGES**2).sum(-1, keepdims=True), 1e-12)),
    ),
    "constant first": ("math.subtract", [CONSTANT, -1, 1.0, {"y": X, "name": None}], 1 - IMAGES),
    "constants": ("math.multiply", [*X, {"y": [1.0, 2.0, 3.0], "name": None}], IMAGES * np.array([1, 2, 3], "f")),
    "bias": ("nn.bias_add", [*X, {"bias": [1.0, 2.0, 3.0], "data_format": "NHWC"}], IMAGES + np.array([1, 2, 3], "f")),
    "stack": ("stack", [[*X, {"axis": 1}], [*X, {"axis": 1}]], np.stack([IMAGES, IMAGES], 1)),
    "pad": (
        "compat.v1.pad", [*X, {"paddings": [[0, 0], [1, 1], [2, 0], [0, 0]], "mode": "CONSTANT", "constant_values": 0}],
        np.pad(IMAGES, [(0, 0), (1, 1), (2, 0), (0, 0)]),
    ),
    "matmul": ("linalg.matmul", [*X, {"b": X, "transpose_b": True}], IMAGES @ IMAGES.swapaxes(-1, -2)),
    "clip": ("clip_by_value", [*X, {"clip_value_min": 0.0, "clip_value_max": 0.5}], IMAGES.clip(0, 0.5)),
    "transpose": (
        "compat.v1.transpose", [*X, {"perm": [0, 3, 1, 2], "conjugate": False}], IMAGES.transpose(0, 3, 1, 2),
    ),
    "squeeze": ("expand_dims", [*X, {"axis": 1}], IMAGES[:, None]),
    "gather": ("compat.v1.gather", [*X, {"indices": [2, 0], "axis": -1, "batch_dims": 0}], IMAGES[..., [2, 0]]),
    "split": ("split", [*X, {"num_or_size_splits": [1, -1], "axis": -1}], IMAGES[..., :1]),
    "cast": ("cast", [*X, {"dtype": "float32"}], IMAGES),
    "power": ("math.pow", [*X, {"y": 2, "name": None}], IMAGES**2),
    "norm": ("compat.v1.norm", [*X, {"ord": "euclidean", "axis": -1}], np.sqrt((IMAGES**2).sum(-1))),
}  # fmt: skip


def operation(function: str, node: Any) -> dict[str, Any]:
    kind = "SlicingOpLambda" if function.endswith("getitem") else "TFOpLambda"
    config = {"name": "op", "trainable": True, "dtype": "float32", "function": function}
    return {"class_name": kind, "name": "op", "config": config, "inbound_nodes": [node]}


@pytest.mark.parametrize("name", NODES)
def test_functions_on_tensors(tmp_path: Path, name: str) -> None:
    function, node, expected = NODES[name]
    loaded = loading.load(rewritten(tmp_path / "m.h5", [INPUT, operation(function, node)], "op"), trust=False)
    np.testing.assert_allclose(np.asarray(loaded(IMAGES)), expected, rtol=1e-5, atol=1e-6)
    assert "op" in {each.name for each in loaded.operations}


def node_of(op: str, constants: dict[str, Any], tensors: int = 1, **attributes: Any) -> dict[str, Any]:
    """A node of TensorFlow's graph as tf.keras 2.0 to 2.3 stored it."""
    text = json.dumps({"name": "op", "op": op, "input": ["x", "y"], "attr": {"T": {"type": "DT_FLOAT"}, **attributes}})
    config = {"name": "op", "trainable": True, "dtype": "float32", "node_def": text, "constants": constants}
    calls = [[[*X, {}] for _ in range(tensors)]]
    return {"class_name": "TensorFlowOpLayer", "name": "op", "config": config, "inbound_nodes": calls}


GRAPH_NODES: dict[str, tuple[dict[str, Any], Any]] = {
    "scaled": (node_of("Mul", {"1": 2.0}), IMAGES * 2),
    "constant first": (node_of("Sub", {"0": 1.0}), 1 - IMAGES),
    "two tensors": (node_of("AddV2", {}, 2), IMAGES + IMAGES),
    "vector": (node_of("RealDiv", {"1": [1.0, 2.0, 4.0]}), IMAGES / np.array([1, 2, 4], "f")),
    "mean": (node_of("Mean", {"1": [1, 2]}, keep_dims={"b": True}), IMAGES.mean((1, 2), keepdims=True)),
    "joined": (node_of("ConcatV2", {"2": -1}, 2), np.concatenate([IMAGES, IMAGES], -1)),
    "cut": (
        node_of(
            "StridedSlice", {"1": [0, 1, 0], "2": [0, 3, 0], "3": [1, 1, 1]}, begin_mask={"i": "1"},
            end_mask={"i": "1"}, shrink_axis_mask={"i": "4"},
        ),
        IMAGES[:, 1:3, 0],
    ),
    "bgr": (
        node_of(
            "StridedSlice", {"1": [0, 0], "2": [0, 0], "3": [1, -1]}, begin_mask={"i": "2"}, end_mask={"i": "2"},
            ellipsis_mask={"i": "1"},
        ),
        IMAGES[..., ::-1],
    ),
    "leaky": (node_of("LeakyRelu", {}, alpha={"f": 0.5}), np.where(IMAGES > 0, IMAGES, IMAGES / 2)),
    "reshaped": (node_of("Reshape", {"1": [-1, 16, 3]}), IMAGES.reshape(2, 16, 3)),
    "larger": (
        node_of("ResizeNearestNeighbor", {"1": [8, 8]}, half_pixel_centers={"b": True}),
        IMAGES.repeat(2, 1).repeat(2, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPH_NODES)
def test_nodes_of_tensorflows_graph(tmp_path: Path, name: str) -> None:
    node, expected = GRAPH_NODES[name]
    loaded = loading.load(rewritten(tmp_path / "m.h5", [INPUT, node], "op"), trust=False)
    np.testing.assert_allclose(np.asarray(loaded(IMAGES)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (node_of("Conv2D", {}), "layer 'op' is TensorFlow's Conv2D, which has no counterpart in Keras 3"),
        (node_of("ResizeBilinear", {"1": [8, 8]}), "TensorFlow's ResizeBilinear: corners that are aligned, or pixels"),
        ({**node_of("Mul", {}), "config": {"name": "op", "node_def": "?"}}, "layer 'op' is TensorFlow's operation, "),
    ],
)
def test_nodes_without_a_counterpart(tmp_path: Path, node: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError) as caught:
        loading.load(rewritten(tmp_path / "m.h5", [INPUT, node], "op"), trust=False)
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("function", "node", "said"),
    [
        ("image.resize", [*X, {"size": [8, 8], "method": "area"}], "calls tf.image.resize: method 'area'"),
        ("einsum", [CONSTANT, -1, "abcd->dcba", {}], "of tensors that tf.keras did not store in the file"),
        ("math.reduce_sum", [*X, {"axis": 1, "sparse": True}], "with sparse=True, which has no counterpart in Keras 3"),
        ("reshape", [*X, {}], "and the file does not say its shape"),
    ],
)
def test_what_has_no_counterpart(tmp_path: Path, function: str, node: Any, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        loading.load(rewritten(tmp_path / "m.h5", [INPUT, operation(function, node)], "op"), trust=False)
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "given", "left"),
    [
        ("LSTM", {"units": 2, "time_major": False, "implementation": 2}, {"units"}),
        ("SpatialDropout2D", {"rate": 0.2, "noise_shape": None, "trainable": True, "seed": None}, {"rate", "seed"}),
        ("RandomFlip", {"mode": "horizontal", "rng_type": "stateful"}, {"mode"}),
        ("DepthwiseConv2D", {"kernel_size": 3, "groups": 1}, {"kernel_size"}),
        ("BatchNormalization", {"axis": 3, "fused": True, "renorm": True, "renorm_momentum": 0.9}, {"axis"}),
        ("LeakyReLU", {"alpha": 0.2}, {"alpha"}),
        ("MultiHeadAttention", {"num_heads": 2, "query_shape": [None, 4, 3]}, {"num_heads"}),
    ],
)
def test_arguments_that_are_gone(kind: str, given: dict[str, Any], left: set[str]) -> None:
    layer = {"class_name": kind, "config": {"name": "n", **given}}
    obsolete.drop(layer, "model m.h5")
    assert left <= set(layer["config"])
    assert not {"time_major", "noise_shape", "rng_type", "groups", "fused", "renorm", "query_shape"} & set(
        layer["config"]
    )


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("LSTM", "time_major", True), ("DepthwiseConv2D", "groups", 4), ("Dense", "twist", "left")],
)
def test_an_argument_that_says_something(kind: str, key: str, value: Any) -> None:
    with pytest.raises(SourceError, match=rf"layer 'n' \({kind}\) has {key}={value!r}, which Keras 3 does not know"):
        obsolete.drop({"class_name": kind, "config": {"name": "n", key: value}}, "model m.h5")


SEQUENCE = {**INPUT, "config": {**INPUT["config"], "batch_input_shape": [None, 6, 3]}}  # type: ignore[dict-item]


def recurrent(kind: str, name: str, calls: list[Any], **options: Any) -> dict[str, Any]:
    config = {"name": name, "units": 4, "return_state": True, "time_major": False, "implementation": 2, **options}
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": [calls]}


@pytest.mark.parametrize(("kind", "states"), [("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1)])
def test_a_recurrent_layer_that_begins_in_the_states_of_another(tmp_path: Path, kind: str, states: int) -> None:
    """States stood among the inputs, and the gates' hard sigmoid was another function."""
    import keras
    from keras import layers

    gates = {} if kind == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    own = dict.fromkeys(gates, keras2_functions.keras2_hard_sigmoid)
    sequence = keras.Input((6, 3))
    first, second = (getattr(layers, kind)(4, return_state=True, **own) for _ in range(2))
    made = keras.Model(sequence, second(sequence, initial_state=list(first(sequence)[1:]))[0])
    rng = np.random.default_rng(4)
    for weight in made.weights:
        weight.assign(rng.normal(0, 1, weight.shape))

    begins = [[*X, {"constants": None}], *(["a", 0, 1 + place, {}] for place in range(states))]
    described = [SEQUENCE, recurrent(kind, "a", [[*X, {}]], **gates), recurrent(kind, "b", begins, **gates)]
    path = rewritten(tmp_path / "m.h5", described, "b")
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        group.attrs["layer_names"] = [b"x", b"a", b"b"]
        for name, layer in (("a", first), ("b", second)):
            held = group.create_group(name)
            held.attrs["weight_names"] = [f"{name}/{place}:0".encode() for place in range(len(layer.weights))]
            for place, weight in enumerate(layer.weights):
                held.create_dataset(f"{name}/{place}:0", data=np.asarray(weight))
    values = rng.normal(0, 1, (2, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(loading.load(path, trust=False)(values)), np.asarray(made(values)), atol=1e-6)


def test_a_hard_sigmoid_is_that_of_keras_2(tmp_path: Path) -> None:
    layer = {
        "class_name": "Activation", "name": "op", "config": {"name": "op", "activation": "hard_sigmoid"},
        "inbound_nodes": [[[*X, {}]]],
    }  # fmt: skip
    loaded = loading.load(rewritten(tmp_path / "m.h5", [INPUT, layer], "op"), trust=False)
    np.testing.assert_allclose(np.asarray(loaded(IMAGES * 3)), (0.6 * IMAGES + 0.5).clip(0, 1), atol=1e-6)


def archived(path: Path, model: Any, *, version: str = "2.15.0") -> Path:
    """The model as TensorFlow 2.15 put it into an archive: Keras 2's configuration with modules, Keras 3's weights."""
    legacy = keras2_writer.write(path.with_suffix(".h5"), model)
    with h5py.File(legacy) as file:
        config = json.loads(file.attrs["model_config"])
    for layer in config["config"]["layers"]:
        layer |= {"module": "keras.layers", "registered_name": None, "build_config": {"input_shape": [None, 8, 8, 3]}}
    config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
    weights = path.with_suffix(".weights.h5")
    model.save_weights(weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.write(weights, "model.weights.h5")
    return path


def small() -> Any:
    import keras

    image = keras.Input((8, 8, 3), name="input_1")
    value = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3)(image))
    value = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(keras.layers.SeparableConv2D(4, 1)(value)))
    return randomized(keras.Model(image, value))


@pytest.mark.parametrize("version", ["2.13.1", "2.14.0", "2.15.0"])
def test_archives_of_keras_2(tmp_path: Path, version: str) -> None:
    model = small()
    same(model, loading.load(archived(tmp_path / "m.keras", model, version=version), trust=False), (8, 8, 3))


def test_an_archive_of_keras_2_that_lacks_a_weight(tmp_path: Path) -> None:
    path = archived(tmp_path / "m.keras", small())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "w.h5").write_bytes(members["model.weights.h5"])
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["layers/dense/vars/0"]
    members["model.weights.h5"] = (tmp_path / "w.h5").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(SourceError) as caught:
        loading.load(path, trust=False)
    assert "dense" in caught.value.message
    assert "save it again" not in str(caught.value.hint)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            TypeError("<class 'F'> could not be deserialized properly.\n\nconfig={}.\n\nException encountered: Could "
                      "not locate function 'preprocess_input'. Make sure it is registered. Full object config: {}"),
            "Could not locate function 'preprocess_input'. Make sure it is registered", "import it there",
        ),
        (
            ValueError("Exception encountered when calling Lambda.call().\n\n\x1b[1mname 'tf' is not defined\x1b[0m\n\n"
                       "Arguments received by Lambda.call():\n  x"),
            "its Lambda reads the global 'tf'", "import or define tf inside the function",
        ),
        (EOFError("EOF read where object expected"), "written by another version of Python", "package.module:factory"),
        (ValueError("bad marshal data (unknown type code)"), "written by another version of Python", "package.module"),
        (ValueError("Unknown layer: 'Swish'. Please ensure"), "Unknown layer: 'Swish'", "define Swish in a module"),
        (
            ValueError("A total of 4 objects could not be loaded. Example error message for object <EinsumDense>:\n\n"
                       "Layer 'key' expected 3 variables, but received 0.\n\nList of objects"),
            "for object <EinsumDense>: Layer 'key' expected 3 variables, but received 0.", "package.module:factory",
        ),
        (RuntimeError(""), "Keras cannot load it: RuntimeError", "package.module:factory"),
    ],
)  # fmt: skip
def test_the_cause_is_told(error: Exception, message: str, hint: str) -> None:
    told = words.refusal(error, told="model m.h5", written_by="2.9.0")
    assert told.message.startswith("model m.h5")
    assert message in told.message
    assert "\n" not in told.message
    assert hint in str(told.hint)
    assert "save it again" not in str(told.hint)
