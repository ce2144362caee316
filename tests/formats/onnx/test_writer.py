"""The ONNX file: its bytes, names, batch, precision and size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import UnsupportedError
from kexport.formats.onnx import stream, writer
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, Conv, Dense, GlobalPool, Operation, Pad, Pool, PoolKind
from tests.formats.plans import Sketch, float_values

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import keras
from kexport.formats.onnx import writer as onnx
from kexport.lowerings.model import lower_model
from kexport.passes import optimize

keras.utils.set_random_seed(3)
x = keras.Input((16, 16, 3))
y = keras.layers.Conv2D(8, 3, padding="same", activation="gelu", name="stem")(keras.layers.Rescaling(0.1, -1.0)(x))
y = keras.layers.LayerNormalization(name="norm")(keras.layers.DepthwiseConv2D(3, name="wide")(y))
y = keras.layers.Dense(5, activation="softmax", name="head")(keras.layers.GlobalAveragePooling2D()(y))
model = keras.Model(x, y, name="small")
metadata = {"b": "2", "a": "1"}
onnx.write(optimize(lower_model(model)), Path(sys.argv[1]), metadata=metadata, scheme=sys.argv[2])
"""


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng([5, *shape]).normal(size=shape).astype(np.float32)


def small_graph() -> Graph:
    operations = {
        "stem": Conv(kernel=numbers(3, 3, 3, 6), bias=numbers(6), activation=Activation.RELU),
        "pool": GlobalPool(kind=PoolKind.AVERAGE),
        "head/logits": Dense(kernel=numbers(6, 5), bias=numbers(5)),
        "head": Activate(function=Activation.SOFTMAX),
    }
    nodes: list[Node] = []
    name, shape = "input", (None, 8, 8, 3)
    for layer, operation in operations.items():
        shape = operation.infer(shape)
        nodes.append(Node(name=layer, operation=operation, inputs=(name,), shape=shape, layers=(layer,)))
        name = layer
    spec = TensorSpec(name="input", shape=(None, 8, 8, 3))
    return Graph(name="small", inputs=(spec,), nodes=tuple(nodes), outputs={"output": "head"})


def written(path: Path, **options: Any) -> Any:
    import onnx

    writer.write(small_graph(), path, **options)
    return onnx.load(path)


@pytest.mark.parametrize("scheme", ["float32", pytest.param("float16", marks=pytest.mark.long)])
def test_two_processes_with_other_hash_seeds_write_the_same_bytes(tmp_path, scheme):
    digests = set()
    for seed in ("0", "1"):
        path = tmp_path / f"{seed}.onnx"
        command = [sys.executable, "-c", SCRIPT, str(path), scheme]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_names(tmp_path):
    graph = written(tmp_path / "m.onnx").graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["output"]
    names = [node.name for node in graph.node]
    assert {"stem", "pool", "head/logits", "head"} <= set(names)
    assert len(set(names)) == len(names)
    assert {item.name for item in graph.initializer} >= {"stem:kernel", "stem:bias", "head/logits:kernel"}


@pytest.mark.parametrize("scheme", ["float32", "float16"])
@pytest.mark.parametrize(
    "outputs",
    [
        {"pool": "pool", "head/logits": "head/logits"},
        {"head": "head/logits", "head/logits": "head"},
        {"stem": "pool", "pool": "pool", "head": "pool"},
        {"head/logits": "head/logits", "head": "head"},
    ],
    ids=["their own", "swapped", "one shown three times", "the last one"],
)
def test_outputs_named_after_layers(tmp_path, outputs, scheme):
    """As those of a model with a dict of outputs are: runtimes refuse a file in which two nodes have one name."""
    import onnx
    import onnxruntime

    plain = {f"other {number}": value for number, value in enumerate(outputs.values())}
    found = []
    for number, names in enumerate((outputs, plain)):
        path = tmp_path / f"{number}.onnx"
        writer.write(replace(small_graph(), outputs=names), path, scheme=scheme)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found.append(session.run(list(names), {"input": numbers(2, 8, 8, 3)}))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    named = [node.name for node in onnx.load(tmp_path / "0.onnx").graph.node if node.name]
    assert len(set(named)) == len(named)
    assert {"stem", "pool", "head/logits", "head"} <= set(named)


def test_what_was_written_is_what_is_stated(tmp_path):
    import onnx

    path = tmp_path / "m.onnx"
    stated = writer.write(small_graph(), path, metadata={"labels": "a,b", "author": "x"})
    model = onnx.load(path)
    assert sum(stated.operations.values()) == len(model.graph.node)
    assert stated.operations["Conv"] == 1
    assert [(one.name, one.shape, one.dtype) for one in stated.inputs] == [("input", (None, 8, 8, 3), "float32")]
    assert [(one.name, one.shape, one.dtype) for one in stated.outputs] == [("output", (None, 5), "float32")]
    assert [(item.key, item.value) for item in model.metadata_props] == [("author", "x"), ("labels", "a,b")]
    assert model.producer_name == "kexport"


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (18, 8), (20, 9), (22, 10)])
def test_opset_and_ir_version(tmp_path, opset, ir_version):
    model = written(tmp_path / "m.onnx", opset=opset)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", opset)]
    assert model.ir_version == ir_version


def test_a_symbolic_batch_takes_any_number_of_images(run_onnx):
    images = numbers(3, 8, 8, 3)
    (three,) = run_onnx(small_graph(), [images])
    (one,) = run_onnx(small_graph(), [images[:1]])
    assert three.shape == (3, 5)
    np.testing.assert_allclose(one, three[:1], rtol=1e-5)


def test_a_fixed_batch_takes_no_other(run_onnx, tmp_path):
    import onnxruntime

    (two,) = run_onnx(small_graph(), [numbers(2, 8, 8, 3)], batch=2)
    assert two.shape == (2, 5)
    shapes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in
              written(tmp_path / "m.onnx", batch=2).graph.input]  # fmt: skip
    assert shapes == [[2, 8, 8, 3]]
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        session.run(None, {"input": numbers(3, 8, 8, 3)})


def test_float16_halves_the_weights_and_keeps_float32_outside(tmp_path):
    from onnx import TensorProto

    graph = written(tmp_path / "half.onnx", scheme="float16").graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    assert {kinds["stem:kernel"], kinds["stem:bias"], kinds["head/logits:kernel"]} == {TensorProto.FLOAT16}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    (cast,) = (node for node in graph.node if node.output[0] == softmax.input[0])
    assert cast.op_type == "Cast", "the softmax runs in float32"


def test_above_protobuf_s_limit_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "PROTOBUF_LIMIT", 500)
    path = tmp_path / "large.onnx"
    with pytest.raises(UnsupportedError, match=r"would have 0\.00 GB; one protobuf file holds at most") as caught:
        writer.write(small_graph(), path)
    assert caught.value.hint == "--schemes float16 halves it"
    assert not path.exists()


def test_the_stream_is_what_protobuf_itself_reads(tmp_path):
    """Read by onnx, written again by protobuf, read again: the same message, the same weights."""
    import onnx
    from onnx import numpy_helper

    graph = small_graph()
    model = written(tmp_path / "stream.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert onnx.load_from_string(model.SerializeToString()) == model
    tensors = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    kernel = graph.producers["stem"].operation.kernel
    np.testing.assert_array_equal(tensors["stem:kernel"], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(tensors["head/logits:kernel"], graph.producers["head/logits"].operation.kernel)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**21 - 1, 2**31 - 1])
def test_varint_reads_back(number):
    coded = stream._varint(number)
    assert sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(coded)) == number
    assert [byte >> 7 for byte in coded] == [1] * (len(coded) - 1) + [0]


def test_a_tensor_of_another_size_than_stated_is_caught(tmp_path):
    from onnx import helper

    lie = stream.Initializer(name="w", shape=(3,), dtype="float32", make=lambda: np.zeros(2, np.float32))
    model = helper.make_model(helper.make_graph([], "g", [], []))
    with pytest.raises(AssertionError, match="w: 8 bytes, 12 stated"):
        stream.write_model(model, (lie,), tmp_path / "m.onnx")


def pool_of(kind: PoolKind) -> Pool:
    return Pool(kind=kind, size=(3, 3), strides=(2, 2), padding=((0, 0), (0, 0)))


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 1e-37), ("float16", 1e-7)])
@pytest.mark.parametrize(
    ("reader", "zero"),
    [
        (pool_of(PoolKind.MAX), False),
        (pool_of(PoolKind.AVERAGE), True),
        (Conv(kernel=np.ones((3, 3, 3, 2), np.float32)), True),
    ],
    ids=("max", "average", "convolution"),
)
def test_only_a_max_pool_may_not_take_the_padding_before_it(
    reader: Operation, zero: bool, dtype: str, largest: float, tmp_path: Path
) -> None:
    """ONNX Runtime 1.17 to 1.31 fuse zeros alone, and where it is MaxPool, wrongly."""
    import onnx
    import onnxruntime as ort

    sketch = Sketch((8, 8, 3))
    sketch("pad", Pad(padding=((1, 1), (1, 1))), "in0")
    sketch("read", reader, "pad")
    path = tmp_path / "padded.onnx"
    writer.write(sketch.graph(), path, scheme=dtype)
    model = onnx.load(path)
    (filling,) = (node.input[2] for node in model.graph.node if node.op_type == "Pad")
    (number,) = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name == filling)
    assert (number == 0) is np.bool_(zero)
    assert 0 <= number < largest
    rows = -np.abs(numbers(1, 8, 8, 3)) - 1
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: rows})[0]
    assert found == pytest.approx(float_values(sketch.graph(), {"in0": rows})["read"], rel=2e-3, abs=1e-4)
