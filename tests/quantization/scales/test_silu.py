"""The range of what a silu reads, judged by what the silu makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, GlobalPool, Multiply, PoolKind, Reshape
from kexport.quantization import sequence, survey
from kexport.quantization.observe import statistics
from kexport.quantization.plan import Affine, Precision
from kexport.quantization.prepare import assign, factors, rewrites
from kexport.quantization.prepare.layer_groups import layer_groups
from kexport.quantization.quantize import quantize
from kexport.quantization.scales import ranges, silu
from kexport.quantization.sequence import Network
from tests.formats.plans import Sketch, emulate
from tests.quantization.networks import (
    activate,
    assert_same_function,
    batches_of,
    compile_,
    conv,
    dense,
    feeds_of,
    outputs,
    same,
)

ARGUMENT = "silu/sigmoid/argument"


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


def error(real: np.ndarray, affine: Affine) -> float:
    """The mean squared error of the silu of numbers that are stored so."""
    stored = affine.dequantize(affine.quantize(real))
    return float(np.square(silu_of(stored) - silu_of(real)).mean())


def silu_of(real: np.ndarray) -> np.ndarray:
    return real / (1 + np.exp(-np.clip(real.astype(np.float64), -60, 60)))


@pytest.mark.parametrize("spread", [1.0, 6.0, 30.0])
def test_the_product_gains_and_nothing_is_lost(spread, monkeypatch):
    _, seen, values = chosen(network(spread))
    monkeypatch.setattr(ranges, "_at_silu", lambda *_: None)
    _, _, before = chosen(network(spread))
    real = seen["wide"].samples.reshape(-1)
    assert error(real, values["wide"]) <= error(real, before["wide"])
    if spread >= 6.0:
        assert error(real, values["wide"]) < 0.6 * error(real, before["wide"])
        assert values["wide"].low >= -12.5, "where a silu is flat, no numbers are spent"


def test_a_value_that_something_else_reads_keeps_its_range():
    graph, seen, values = chosen(network(30.0, spied=True))
    assert silu.find(graph, "wide") is None
    assert values["wide"].low < 0.25 * seen["wide"].extremes[0] < -12.5


def test_a_product_of_two_others_is_no_silu():
    net = Sketch((8, 8, 6))
    net("one", conv(6, 6), "in0")
    net("gate", activate(Activation.SIGMOID), "one")
    net("product", Multiply(), "in0", "gate")
    net("last", conv(6, 8), "product")
    assert silu.find(net.graph(), "one") is None


def squeezed(spread: float, *, gate: Activation = Activation.SIGMOID, spied: bool = False) -> Graph:
    """Squeeze and excite, the argument of its gate from about ``-3 spread`` to ``3 spread``."""
    net = Sketch((8, 8, 6))
    net("wide", conv(6, 12, activation=Activation.RELU), "in0")
    net("squeeze", GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), "wide")
    excite = conv(12, 12, seed=2)
    net("argument", replace(excite, kernel=excite.kernel * np.float32(spread)), "squeeze")
    net("gate", activate(gate), "argument")
    net("gated", Multiply(), "wide", "gate")
    net("last", conv(12, 8, seed=3), "gated")
    if spied:
        net("spy", dense(12, 8, seed=4), net("flat", Reshape(shape=(12,)), "argument"))
        return net.graph(last="last", spy="spy")
    return net.graph(last="last")


def gated_error(seen: dict, affine: Affine) -> float:
    """The mean squared error of what is gated, if the argument of the gate is stored so."""
    real = seen["argument"].samples.astype(np.float64)
    stored = affine.dequantize(affine.quantize(real))
    return float((np.square(sigmoid_of(stored) - sigmoid_of(real)) * seen["wide"].power).mean())


def sigmoid_of(real: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(real.astype(np.float64), -60, 60)))


@pytest.mark.parametrize("spread", [1.0, 8.0, 60.0])
def test_the_argument_of_a_gate_is_judged_by_what_it_gates(spread, monkeypatch):
    _, seen, values = chosen(squeezed(spread))
    monkeypatch.setattr(ranges, "_at_silu", lambda *_: None)
    _, _, before = chosen(squeezed(spread))
    assert gated_error(seen, values["argument"]) <= gated_error(seen, before["argument"])
    if spread >= 60.0:
        assert gated_error(seen, values["argument"]) < 0.5 * gated_error(seen, before["argument"])
        assert -10.5 < values["argument"].low < values["argument"].high < 10.5


@pytest.mark.parametrize("other", [{"gate": Activation.TANH}, {"spied": True}])
def test_other_gates_keep_the_range_of_their_argument(other, monkeypatch):
    _, _, values = chosen(squeezed(8.0, **other))
    monkeypatch.setattr(ranges, "_at_silu", lambda *_: None)
    assert values["argument"] == chosen(squeezed(8.0, **other))[2]["argument"]


def drowned(activation: Activation = Activation.SILU) -> Graph:
    """A silu of channels from large to tiny, and a depthwise convolution that makes them all alike."""
    net = Sketch((8, 8, 6))
    spread = np.geomspace(30.0, 0.05, 12).astype(np.float32)
    wide = conv(6, 12)
    net("first", conv(6, 6, 3, padding=same(), seed=9), "in0")
    net("wide", replace(wide, kernel=wide.kernel * spread), "first")
    net("silu", activate(activation), "wide")
    each = conv(1, 12, 3, groups=12, padding=same())
    net("depthwise", replace(each, kernel=each.kernel / spread), "silu")
    net("last", conv(12, 8, seed=3), "depthwise")
    return net.graph(last="last")


def surveyed(graph: Graph) -> tuple[Graph, Network]:
    rewritten = rewrites.rewrite(graph)
    return rewritten, survey.survey(rewritten, batches_of(feeds_of(rewritten)), compile_)


def test_tiny_channels_of_a_silu_are_not_drowned():
    graph, found = surveyed(drowned())
    assert [node.name for node in found.graph if silu.undoes(found.graph, node)] == [ARGUMENT]
    assert found.precisions[ARGUMENT] is Precision.INT8
    assert_same_function(graph, found.graph, feeds_of(graph))
    assert -10.5 < found.values[ARGUMENT].low < -2.9, "a sigmoid is open or shut beyond"
    assert found.values[ARGUMENT].high < 10.5
    assert sequence.reads_cut(found.graph, found.graph.producers[ARGUMENT])
    assert all(group[0] != ARGUMENT for group in layer_groups(found.graph, found.precisions))


def test_what_no_noise_drowns_is_left_as_it_is():
    graph, found = surveyed(network(1.0))
    assert [node.name for node in found.graph] == [node.name for node in graph]


def test_what_noise_drowned_comes_back(monkeypatch):
    graph = drowned()
    feeds = feeds_of(graph)
    (wanted,) = outputs(graph, feeds).values()

    def noise() -> float:
        plan = quantize(graph, batches_of(feeds), compile_)
        made = emulate(plan, feeds)["last"]
        made = plan.values["last"].dequantize(made) if made.dtype == np.int8 else made
        return float(np.square(made - wanted).mean() / wanted.var())

    equalised = noise()
    monkeypatch.setattr(factors, "DROWNED", np.inf)
    assert equalised < 0.25 * noise()
