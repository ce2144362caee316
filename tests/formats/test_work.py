"""Work: multiply-accumulates and bytes are those of the network, in every kind of file."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.formats.onnx import work as onnx_work
from kexport.formats.onnx import writer as onnx_float
from kexport.formats.onnx.qdq import writer as onnx_int8
from kexport.formats.tflite import parts
from kexport.formats.tflite import work as tflite_work
from kexport.formats.tflite import writer as tflite_float
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.formats.work import Step, repeated, works
from kexport.graph import Graph
from kexport.operations import Add, Conv
from kexport.records import Work
from kexport.runtimes import litert_profile
from tests.formats.plans import Sketch
from tests.formats.tflite.quantized.test_writer import block_plan, hard_swish_block
from tests.formats.tflite.test_writer import numbers


def of(path: Path, rows: int = 1) -> dict[str, Work]:
    if path.suffix == ".tflite":
        shapes, times = litert_profile._shapes(path, rows)
        found = repeated(tflite_work.work(parts.read(path), shapes), times)
    else:
        import onnx

        model = onnx.load(str(path))
        found = onnx_work.work(model, {"in0": (rows, *_sizes(model))})
    return {each.place: each for each in found}


def _sizes(model: Any) -> tuple[int, ...]:
    return tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)[1:]


def network() -> Graph:
    sketch = Sketch((6, 6, 8))
    sketch("conv", Conv(kernel=numbers(3, 3, 8, 16, seed=1), bias=numbers(16, seed=2)), "in0")
    sketch("deep", Conv(kernel=numbers(3, 3, 1, 16, seed=3), groups=16), "conv")
    sketch("again", Conv(kernel=numbers(1, 1, 16, 16, seed=4)), "deep")
    sketch("sum", Add(), "deep", "again")
    return sketch.graph(output="sum")


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_network_by_hand(tmp_path: Path, form: str, rows: int) -> None:
    path = tmp_path / f"m.{form}"
    (onnx_float if form == "onnx" else tflite_float).write(network(), path)
    found = of(path, rows)
    assert (found["conv"].macs, found["deep"].macs) == (rows * 16 * 16 * 72, rows * 4 * 16 * 9)
    assert sum(each.macs for each in found.values()) == rows * (16 * 16 * 72 + 4 * 16 * 9 + 4 * 16 * 16)
    weights, values = 4 * 72 * 16 + 4 * 16, 4 * 36 * 8 + 4 * 16 * 16
    times = rows if form == "tflite" else 1  # this file takes one row at a time, and its weights are read each time
    assert found["conv"].moved_bytes == times * weights + rows * values
    assert not any(each.integers for each in found.values())


def test_all_four_files_compute_the_same(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("f.onnx", "i.onnx", "f.tflite", "i.tflite")]
    graph = hard_swish_block().graph()
    onnx_float.write(graph, files[0])
    onnx_int8.write(block_plan(), files[1])
    tflite_float.write(graph, files[2])
    tflite_int8.write(block_plan(), files[3], batch=1)
    found = [of(path) for path in files]
    convolved = [sum(each.macs for each in one.values()) for one in found]
    expected = sum(_macs(node.operation, node.shape) for node in graph)
    assert convolved[0] == convolved[2] == expected
    assert all(each >= expected for each in convolved[1::2]), "int8 may compute a gate in more steps"
    assert any(each.integers for each in found[1].values())
    assert any(each.integers for each in found[3].values())
    moved = [sum(each.moved_bytes for each in one.values()) for one in found]
    assert moved[1] < moved[0] / 2
    assert moved[3] < moved[2] / 2


def _macs(operation: Any, shape: tuple[int | None, ...]) -> int:
    return prod(size or 1 for size in shape) * prod(operation.kernel.shape[:-1]) if hasattr(operation, "kernel") else 0


@pytest.mark.parametrize(
    ("kind", "shapes", "macs"),
    [
        ("MatMul", ((4, 5), (5, 7)), 4 * 5 * 7), ("MatMul", ((2, 4, 5), (2, 5, 7)), 2 * 4 * 5 * 7),
        ("Gemm", ((4, 5), (5, 7)), 4 * 5 * 7), ("ConvTranspose", ((1, 3, 4, 4), (3, 6, 2, 2)), 48 * 6 * 4),
        ("Relu", ((4, 5),), 0),
    ],
)  # fmt: skip
def test_products_of_other_makers(kind: str, shapes: tuple[tuple[int, ...], ...], macs: int) -> None:
    from onnx import TensorProto, helper, numpy_helper

    names = ["x", "w"][: len(shapes)]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], name="theirs")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shapes[0][1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(shape, np.float32), "w") for shape in shapes[1:]],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (found,) = onnx_work.work(model, {"x": shapes[0]})
    assert (found.place, found.macs) == ("theirs", macs)
    assert found.moved_bytes >= 4 * prod(shapes[0])


def test_what_stays_inside_of_a_place_is_not_moved() -> None:
    steps = [
        Step(place="a", reads=("x",), makes=("a1",), constants={"w": 7}),
        Step(place="a", reads=("a1",), makes=("a2",), constants={"w": 7}, macs=5),
        Step(place="b", reads=("a2", "a2"), makes=("b1",), macs=3, integers=True),
    ]
    a, b = works(steps, {"x": 10, "a1": 100, "a2": 1000, "b1": 10_000}, {"b1"})
    assert (a.macs, a.moved_bytes, a.integers) == (5, 7 + 10 + 1000, False)
    assert (b.macs, b.moved_bytes, b.integers) == (3, 1000 + 10_000, True)
