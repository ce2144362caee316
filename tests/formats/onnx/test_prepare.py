"""What is rewritten for readers of ONNX computes the same, and only where it may."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.formats.onnx.prepare import prepare
from kexport.graph import Graph
from kexport.operations import Activation, Add
from tests.formats.gated import GATE, behind_dense, excited, read_twice
from tests.formats.plans import Sketch, float_values
from tests.quantization.networks import feeds_of, kinds


def behind_a_sum() -> Graph:
    net = Sketch((6, 6, 4))
    net("sum", Add(), "in0", "in0")
    net("gate", GATE, "sum")
    return net.graph()


@pytest.mark.parametrize("network", [excited, behind_dense])
def test_a_gate_is_a_clip_of_a_folded_line(network) -> None:
    before, after = network(), prepare(network())
    assert "Clip" in kinds(after)
    assert "Activate" not in kinds(after) or network is excited, "the relu of the squeeze stays"
    assert not any(getattr(node.operation, "function", None) is Activation.HARD_SIGMOID for node in after)
    feeds = {name: 4 * array for name, array in feeds_of(before).items()}
    expected, found = float_values(before, feeds), float_values(after, feeds)
    for value in before.outputs.values():
        np.testing.assert_allclose(found[value], expected[value], atol=1e-5)


@pytest.mark.parametrize("network", [read_twice, behind_a_sum])
def test_what_cannot_be_folded_stays(network) -> None:
    graph = network()
    assert prepare(graph) is graph
