"""Operators shared and fused: fewer of them, the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, Add, Operation, ScaleShift

ROW = (None, 4)
RELU = Activate(function=Activation.RELU)
SCALED = ScaleShift(scale=np.full(4, 2, np.float32), offset=np.arange(4, dtype=np.float32))


def graph_of(*steps: tuple[str, Operation, tuple[str, ...]], outputs: dict[str, str]) -> Graph:
    nodes = tuple(Node(name=name, operation=op, inputs=inputs, shape=ROW) for name, op, inputs in steps)
    return Graph(name="g", inputs=(TensorSpec(name="x", shape=ROW),), nodes=nodes, outputs=outputs)


def run(path: Path) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(x=np.float32([[-3, -0.5, 1, 2]]))


def test_equal_operators_run_once(tmp_path: Path) -> None:
    steps = (("a", RELU, ("x",)), ("b", Activate(function=Activation.RELU), ("x",)), ("sum", Add(), ("a", "b")))
    written = tflite.write(graph_of(*steps, outputs={"y": "sum", "b": "b"}), tmp_path / "m")
    assert written.operations == {"ADD": 1, "RELU": 1}
    found = run(tmp_path / "m")
    np.testing.assert_array_equal(found["y"], [[0, 0, 2, 4]])
    np.testing.assert_array_equal(found["b"], [[0, 0, 1, 2]])


@pytest.mark.parametrize(
    ("shown", "operations"), [(False, {"ADD": 1, "MUL": 1}), (True, {"ADD": 1, "MUL": 1, "RELU": 1})]
)
def test_relu_is_fused_unless_its_input_is_shown(shown: bool, operations: dict[str, int], tmp_path: Path) -> None:
    steps = (("scaled", SCALED, ("x",)), ("relu", RELU, ("scaled",)))
    outputs = {"y": "relu"} | ({"before": "scaled"} if shown else {})
    written = tflite.write(graph_of(*steps, outputs=outputs), tmp_path / "m")
    assert written.operations == operations
    found = run(tmp_path / "m")
    np.testing.assert_array_equal(found["y"], [[0, 0, 4, 7]])
    if shown:
        np.testing.assert_array_equal(found["before"], [[-6, 0, 4, 7]])


def test_relu_with_two_readers_of_its_input_stays(tmp_path: Path) -> None:
    steps = (("scaled", SCALED, ("x",)), ("relu", RELU, ("scaled",)), ("sum", Add(), ("scaled", "relu")))
    written = tflite.write(graph_of(*steps, outputs={"y": "sum"}), tmp_path / "m")
    assert written.operations == {"ADD": 2, "MUL": 1, "RELU": 1}
    np.testing.assert_array_equal(run(tmp_path / "m")["y"], [[-6, 0, 8, 14]])


def test_unused_tensors_and_constants_are_not_in_the_program() -> None:
    steps = (("scaled", SCALED, ("x",)), ("relu", RELU, ("scaled",)))
    program = tflite.program(graph_of(*steps, outputs={"y": "relu"}))
    assert sorted(tensor.name for tensor in program.tensors) == [
        "relu",
        "scaled/offset",
        "scaled/scale",
        "scaled/scaled",
        "x",
    ]
    assert len(program.constants) == 2
