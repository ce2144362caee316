"""Constants that XNNPACK broadcasts fast: other shapes, the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import ScaleShift

ROWS, COLUMNS = 3, 5


def shifted(*offsets: np.ndarray) -> Graph:
    """One image, read by one shift for each of ``offsets``."""
    shape = (None, ROWS, COLUMNS, offsets[0].size)
    nodes = tuple(
        Node(
            name=f"n{index}",
            operation=ScaleShift(scale=np.ones_like(offset), offset=offset),
            inputs=("x",),
            shape=shape,
        )
        for index, offset in enumerate(offsets)
    )
    image = TensorSpec(name="x", shape=shape)
    return Graph(name="g", inputs=(image,), nodes=nodes, outputs={f"y{node.name}": node.name for node in nodes})


@pytest.fixture(autouse=True)
def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As int8 files have images scaled: by operators whose float numbers are the same bits in every runtime."""
    monkeypatch.setattr(tflite, "prepare", lambda graph, **_: graph)


def constants(graph: Graph) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in tflite.program(graph).tensors if tensor.buffer]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ([1, 2, 3], (COLUMNS, 3)),
        ([-1, -1, -1], (1,)),
        ([-1], (1,)),
        (range(15), (COLUMNS, 15)),
        (range(16), (16,)),
        ([7] * 16, (1,)),
    ],
    ids=["few", "equal", "one", "fifteen", "sixteen", "sixteen_equal"],
)
def test_shape_and_numbers(offset: list[int], expected: tuple[int, ...], tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    vector = np.asarray(offset, np.float32)
    graph = shifted(vector)
    assert constants(graph) == [expected]
    tflite.write(graph, tmp_path / "m", batch=2)
    interpreter = Interpreter(model_path=str(tmp_path / "m"))
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).normal(size=(2, ROWS, COLUMNS, vector.size)).astype(np.float32)
    found = interpreter.get_signature_runner("serving_default")(x=image)["yn0"]
    np.testing.assert_array_equal(found, image + vector)


def test_equal_constants_are_kept_once() -> None:
    first, second = np.full(3, 2, np.float32), np.float32([1, 2, 3])
    assert constants(shifted(first, second, first, second + 0)) == [(1,), (COLUMNS, 3)]


def test_a_row_of_features_keeps_its_vector() -> None:
    operation = ScaleShift(scale=np.ones(3, np.float32), offset=np.float32([1, 2, 3]))
    node = Node(name="n", operation=operation, inputs=("x",), shape=(None, 3))
    graph = Graph(name="g", inputs=(TensorSpec(name="x", shape=(None, 3)),), nodes=(node,), outputs={"y": "n"})
    assert constants(graph) == [(3,)]
