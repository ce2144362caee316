"""Float gates of a plan are clips of a folded line: OpenCV takes a hard sigmoid times anything for a hard swish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kexport.formats.onnx.qdq import writer
from kexport.formats.onnx.qdq.gates import clipped
from kexport.graph import Graph
from kexport.quantization.plan import Precision, QuantPlan
from tests.formats.gated import behind_dense, excited, read_twice
from tests.formats.plans import float_values, plan_of
from tests.quantization.networks import feeds_of


def plan(graph: Graph, precision: Precision) -> QuantPlan:
    weighted = {node.name for node in graph if getattr(node.operation, "kernel", None) is not None}
    chosen = {node.name: precision if node.name in weighted else Precision.FLOAT32 for node in graph}
    return plan_of(graph, feeds_of(graph), chosen)


def written(whole: QuantPlan, path: Path) -> tuple[list[str], np.ndarray]:
    writer.write(whole, path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return kinds, session.run(None, feeds_of(whole.graph))[0]


@pytest.mark.parametrize("precision", [Precision.WEIGHTS, Precision.FLOAT32])
@pytest.mark.parametrize("network", [excited, behind_dense])
def test_a_float_gate_is_a_clip(network, precision: Precision, tmp_path: Path) -> None:
    graph = network()
    kinds, found = written(plan(graph, precision), tmp_path / "a.onnx")
    assert "Clip" in kinds
    assert "HardSigmoid" not in kinds
    (expected,) = (float_values(graph, feeds_of(graph))[value] for value in graph.outputs.values())
    assert np.abs(found - expected).max() <= (1e-5 if precision is Precision.FLOAT32 else 0.05) * np.abs(expected).max()


def test_int8_kernels_keep_their_numbers(tmp_path: Path) -> None:
    before = plan(behind_dense(), Precision.WEIGHTS)
    after = clipped(before)
    np.testing.assert_array_equal(after.kernels["rows/line"].numbers, before.kernels["rows"].numbers)
    np.testing.assert_allclose(after.kernels["rows/line"].scales * 6, before.kernels["rows"].scales, rtol=1e-6)
    assert after.precision("rows/line") is Precision.WEIGHTS


def test_what_may_not_be_folded_stays() -> None:
    for whole in (plan(read_twice(), Precision.WEIGHTS), plan(excited(), Precision.INT8)):
        assert clipped(whole) is whole
