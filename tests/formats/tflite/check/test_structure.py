"""The structure check: sound files pass, damaged ones give ArtifactError and nothing else."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import ArtifactError
from kexport.formats.tflite import writer as tflite
from kexport.formats.tflite.check.reader import Reader
from kexport.formats.tflite.check.schema import Buffer, Model, SubGraph, Tensor
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activation, Concat, Conv, Dense, GlobalPool, Pool, PoolKind, Reshape


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small network with most kinds of operators."""
    same = ((1, 1), (1, 1))
    conv = Conv(kernel=_weights(3, 3, 3, 8), padding=same, strides=(2, 2), activation=Activation.RELU)
    pool = Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2))
    steps = (
        ("conv", conv, ("input",)),
        ("dw", Conv(kernel=_weights(3, 3, 1, 8), groups=8, padding=same), ("conv",)),
        ("join", Concat(), ("conv", "dw")),
        ("pool", pool, ("join",)),
        ("flat", Reshape(shape=(1, 4, 64)), ("pool",)),
        ("mean", GlobalPool(kind=PoolKind.AVERAGE), ("flat",)),
        ("top", Dense(kernel=_weights(64, 5), bias=_weights(5)), ("mean",)),
    )
    inputs = (TensorSpec(name="input", shape=(None, 16, 16, 3)),)
    shapes = {"input": inputs[0].shape}
    nodes = []
    for name, operation, sources in steps:
        shapes[name] = operation.infer(*(shapes[source] for source in sources))
        nodes.append(Node(name=name, operation=operation, inputs=sources, shape=shapes[name]))
    path = tmp_path_factory.mktemp("sound") / "model.tflite"
    tflite.write(Graph(name="g", inputs=inputs, nodes=tuple(nodes), outputs={"output": "top"}), path)
    return path.read_bytes()


def check(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    tflite.verify_structure(path)


def refuses(data: bytes, path: Path) -> bool:
    """Whether ArtifactError is raised; any other exception is the test's failure."""
    try:
        check(data, path)
    except ArtifactError:
        return True
    return False


def tensor_shapes(data: bytes) -> dict[str, int]:
    """Tensor name -> position of the first number of its shape."""
    reader = Reader(data)
    subgraph = reader.table(reader.number("I", 0), "model").tables(Model.SUBGRAPHS, "subgraphs")[0]
    return {
        each.text(Tensor.NAME, "name"): each.vector(Tensor.SHAPE, 4, "shape")[0]
        for each in subgraph.tables(SubGraph.TENSORS, "tensors")
    }


def test_a_sound_file_passes_and_its_buffers_are_aligned(sound: bytes, tmp_path: Path) -> None:
    check(sound, tmp_path / "m")
    reader = Reader(sound)
    buffers = reader.table(reader.number("I", 0), "model").tables(Model.BUFFERS, "buffers")
    starts = [buffer.vector(Buffer.DATA, 1, "data")[0] for buffer in buffers[1:]]
    assert starts
    assert all(start % 16 == 0 for start in starts)


def test_every_truncation_is_refused(sound: bytes, tmp_path: Path) -> None:
    last = max(index for index, byte in enumerate(sound) if byte)
    for length in (*range(200), *range(200, last, 97), last):
        with pytest.raises(ArtifactError):
            check(sound[:length], tmp_path / "m")


FLIPS = 3000 if os.environ.get("KEXPORT_LONG") else 1000


def test_byte_flips_raise_nothing_else(sound: bytes, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(FLIPS):
        data = bytearray(sound)
        for _ in range(random.integers(1, 4)):
            data[random.integers(min(len(data), 4000))] ^= 1 << random.integers(8)
        refused += refuses(bytes(data), tmp_path / "m")
    assert refused > FLIPS / 3


def test_every_bit_of_every_shape_counts(sound: bytes, tmp_path: Path) -> None:
    for name, position in tensor_shapes(sound).items():
        for bit in range(32):
            data = bytearray(sound)
            data[position + bit // 8] ^= 1 << bit % 8
            assert refuses(bytes(data), tmp_path / "m"), f"bit {bit} of the shape of {name}"


def test_messages(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(ArtifactError, match="identifier b'ONNX', expected b'TFL3'"):
        check(sound[:4] + b"ONNX" + sound[8:], path)
    with pytest.raises(ArtifactError, match="3 bytes, a TFLite file has at least 16"):
        check(b"abc", path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        tflite.verify_structure(tmp_path / "missing.tflite")


def test_buffer_offset_behind_the_file_is_refused(sound: bytes, tmp_path: Path) -> None:
    reader = Reader(sound)
    buffer = reader.table(reader.number("I", 0), "model").tables(Model.BUFFERS, "buffers")[1]
    place = buffer.field(Buffer.DATA, 4)
    assert place is not None
    for offset in (len(sound), 2**31, 2**32 - 1):
        data = bytearray(sound)
        struct.pack_into("<I", data, place, offset)
        with pytest.raises(ArtifactError, match="lie outside of the file"):
            check(bytes(data), tmp_path / "m")


def test_constant_whose_buffer_is_gone_is_refused(sound: bytes, tmp_path: Path) -> None:
    reader = Reader(sound)
    subgraph = reader.table(reader.number("I", 0), "model").tables(Model.SUBGRAPHS, "subgraphs")[0]
    kernel = next(
        each for each in subgraph.tables(SubGraph.TENSORS, "tensors") if each.text(Tensor.NAME, "name") == "top/kernel"
    )
    place = kernel.field(Tensor.BUFFER, 4)
    assert place is not None
    data = bytearray(sound)
    struct.pack_into("<I", data, place, 0)
    with pytest.raises(ArtifactError, match="reads tensor 'top/kernel', which nothing before it computes"):
        check(bytes(data), tmp_path / "m")


def test_a_signature_of_a_subgraph_that_does_not_exist_is_refused(sound: bytes, tmp_path: Path) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as generated

    model = generated.ModelT.InitFromPackedBuf(sound)
    for index in (0, 1):
        model.signatureDefs[0].subgraphIndex = index
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        if index == 0:
            check(bytes(builder.Output()), tmp_path / "m")
            continue
        with pytest.raises(ArtifactError, match="signature of subgraph 1, there are 1"):
            check(bytes(builder.Output()), tmp_path / "m")


def test_a_dense_layer_without_bias_as_the_converter_writes_it_is_sound(tmp_path: Path) -> None:
    import keras

    from kexport.formats.tflite.engines import converter as tflite_converter

    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(5, use_bias=False)])
    tflite_converter.convert(model, tmp_path / "model.tflite", batch=1, scheme="float32")
    tflite.verify_structure(tmp_path / "model.tflite")
    truncated = tmp_path / "short.tflite"
    truncated.write_bytes((tmp_path / "model.tflite").read_bytes()[:-40])
    assert refuses(truncated.read_bytes(), truncated)
