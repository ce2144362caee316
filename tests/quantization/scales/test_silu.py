"""The range of what a silu reads, judged by what the silu makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Multiply
from kexport.quantization.observe import statistics
from kexport.quantization.prepare import assign, rewrites
from kexport.quantization.scales import ranges, silu
from tests.formats.plans import Sketch
from tests.quantization.networks import activate, batches_of, compile_, conv, feeds_of


def network(spread: float, *, spied: bool = False) -> Graph:
    """A silu between two convolutions, of numbers from about ``-3 spread`` to ``3 spread``."""
    net = Sketch((8, 8, 6))
    wide = conv(6, 12)
    net("wide", replace(wide, kernel=wide.kernel * np.float32(spread)), "in0")
    net("silu", activate(Activation.SILU), "wide")
    net("last", conv(12, 8, seed=3), "silu")
    if spied:
        net("spy", conv(12, 8, seed=4), "wide")
        return net.graph(last="last", spy="spy")
    return net.graph(last="last")


def chosen(graph: Graph) -> tuple[Graph, dict, dict]:
    rewritten = rewrites.rewrite(graph)
    precisions = assign.assign(rewritten)
    wanted = ranges.needed(rewritten, precisions)
    seen = statistics.observe(rewritten, batches_of(feeds_of(rewritten)), compile_, values=wanted)
    return rewritten, seen, ranges.choose(rewritten, precisions, seen)


@pytest.mark.parametrize("spread", [1.0, 6.0, 30.0])
def test_the_product_gains_and_nothing_is_lost(spread, monkeypatch):
    _, seen, values = chosen(network(spread))
    monkeypatch.setattr(ranges, "_at_silu", lambda *_: None)
    _, _, before = chosen(network(spread))
    real = seen["wide"].samples.reshape(-1)

    def error(affine: object) -> float:
        return float(np.square(silu.silu(affine.dequantize(affine.quantize(real))) - silu.silu(real)).mean())

    assert error(values["wide"]) <= error(before["wide"])
    if spread >= 6.0:
        assert error(values["wide"]) < 0.6 * error(before["wide"])
        assert values["wide"].low >= -12.5, "where a silu is flat, no numbers are spent"


def test_a_value_that_something_else_reads_keeps_its_range():
    graph, seen, values = chosen(network(30.0, spied=True))
    assert not silu.is_read(graph, "wide")
    assert values["wide"].low < 0.25 * seen["wide"].extremes[0] < -12.5


def test_a_product_of_two_others_is_no_silu():
    net = Sketch((8, 8, 6))
    net("one", conv(6, 6), "in0")
    net("gate", activate(Activation.SIGMOID), "one")
    net("product", Multiply(), "in0", "gate")
    net("last", conv(6, 8), "product")
    assert not silu.is_read(net.graph(), "one")
