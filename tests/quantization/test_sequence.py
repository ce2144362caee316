"""The walk along the quantized network: corrected means, bounded storage, every kind of reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest

from kexport.graph import Graph, Node
from kexport.operations import Activation, Add, Conv, Dense, Multiply
from kexport.quantization import sequence, survey
from kexport.quantization.kernels.int8 import nearest, scales_in_pairs, scales_of
from kexport.quantization.kernels.pairs import pairs_of
from kexport.quantization.observe import statistics as observe
from kexport.quantization.plan import Precision, QuantPlan
from kexport.quantization.prepare import assign, rewrites
from kexport.quantization.scales import bounds, ranges
from tests.formats.plans import Sketch, emulate, float_values
from tests.numpy_reference import compute
from tests.quantization.networks import RELU, activate, batches_of, compile_, conv, dense, feeds_of, mobile

Found = tuple[sequence.Network, sequence.Decided, dict[str, np.ndarray]]


def decided(graph: Graph, precisions: Mapping[str, Precision] | None = None) -> Found:
    chosen = assign.assign(graph) if precisions is None else precisions
    feeds = feeds_of(graph, count=24)
    seen = observe.observe(graph, batches_of(feeds), compile_, values=ranges.needed(graph, chosen))
    scales = ranges.choose(graph, chosen, seen)
    network = sequence.Network(graph=graph, precisions=chosen, values=scales, observed=seen)
    return network, sequence.decide(network, batches_of(feeds), compile_), feeds


def before_activation(found: Found, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Channel means of a linear node before its activation: in float, and with int8 inputs, kernel and bias."""
    network, made, feeds = found
    plan = QuantPlan(graph=network.graph, values=network.values, kernels=made.kernels, precisions=network.precisions)
    operation = network.graph.producers[name].operation
    assert isinstance(operation, (Conv, Dense))
    (source,) = network.graph.producers[name].inputs
    stored = emulate(plan, feeds)[source]
    stored = stored if stored.dtype == np.int8 else network.values[source].quantize(stored)
    kernel = made.kernels[name].dequantize()
    rough = type(operation)(**{**vars(operation), "kernel": kernel, "bias": made.biases[name], "activation": None})
    plain = type(operation)(**{**vars(operation), "activation": None})
    wanted = compute(plain, float_values(network.graph, feeds)[source])
    found_ = compute(rough, network.values[source].dequantize(stored))
    return wanted.reshape(-1, wanted.shape[-1]).mean(axis=0), found_.reshape(-1, wanted.shape[-1]).mean(axis=0)


@pytest.mark.parametrize("name", ["stem", "expand", "depth", "project", "last"])
def test_the_means_of_every_channel_are_those_of_the_float_network(name):
    found = decided(mobile(RELU))
    wanted, means = before_activation(found, name)
    network, made, _ = found
    step = network.values[network.graph.producers[name].inputs[0]].scale * made.kernels[name].scales
    spread = found[0].observed[name].power.max() ** 0.5
    np.testing.assert_allclose(means, wanted, atol=float(step.max()) + 2e-3 * spread)


def test_without_correction_the_means_differ():
    """What the test above measures is not there by itself."""
    found = decided(mobile(RELU))
    network, made, _ = found

    def largest_gap() -> float:
        return max(float(np.abs(np.subtract(*before_activation(found, name))).max()) for name in ("project", "last"))

    corrected = largest_gap()
    made.biases.update({node.name: node.operation.bias for node in network.graph if node.name in made.biases})
    assert largest_gap() > 3 * corrected


def test_biases_are_what_the_int32_numbers_stand_for():
    network, made, _ = decided(mobile(RELU))
    for node in network.graph:
        if network.int8(node.name) and isinstance(node.operation, Conv):
            kernel, read = made.kernels[node.name], network.values[node.inputs[0]]
            assert kernel.bias is not None
            np.testing.assert_allclose(made.biases[node.name], kernel.bias * (read.scale * kernel.scales), rtol=1e-6)
    assert made.kernels["logits"].bias is None


def test_the_gate_of_a_hard_swish_keeps_its_half():
    """It reads u cut at -1/2, whose mean differs from float's, and rightly so."""
    graph = rewrites.rewrite(mobile(Activation.HARD_SWISH))
    _, made, _ = decided(graph)
    gates = [gate.name for node in graph if (gate := bounds.split_gate(graph, node.name)) is not None]
    assert gates
    for name in gates:
        if name in made.biases:
            np.testing.assert_allclose(made.biases[name], 0.5, atol=1e-6)


def branching() -> Graph:
    """An output read inside, a value read twice by one node and by others, inputs read by several nodes."""
    net = Sketch((8, 8, 3), (8, 8, 4))
    net("a", conv(3, 4, 3, padding=((1, 1), (1, 1)), activation=RELU), "in0")
    net("b", conv(4, 4, seed=2), "in1")
    net("sum", Add(), "a", "b")
    net("twice", Add(), "sum", "sum")
    net("square", Multiply(), "sum", "sum")
    net("tanh", activate(Activation.TANH), "sum")
    net("again", conv(3, 4, seed=5), "in0")
    net("mix", Add(), net("left", conv(4, 4, seed=6), "square"), net("right", conv(4, 4, seed=7), "tanh"))
    net("end", Add(), net("more", Add(), "mix", "twice"), "again")
    net("unread", conv(4, 2, seed=8), "sum")
    return net.graph(middle="sum", end="end", other="unread")


@pytest.mark.parametrize("keep_float", [(), ("a", "square"), ("mix", "b", "unread")])
def test_values_with_several_readers(keep_float):
    graph = branching()
    network, made, feeds = decided(graph, assign.assign(graph, keep_float=keep_float))
    plan = QuantPlan(graph=graph, values=network.values, kernels=made.kernels, precisions=network.precisions)
    values, wanted = emulate(plan, feeds), float_values(graph, feeds)
    for name in ("sum", "end", "unread"):
        found = values[name]
        real = network.values[name].dequantize(found) if found.dtype == np.int8 else found
        assert np.square(real - wanted[name]).mean() < 3e-3 * np.square(wanted[name]).mean(), name


def test_a_fixed_batch_and_small_runs_give_the_same_numbers(monkeypatch):
    graph = mobile(RELU)
    _, one, _ = decided(graph)
    _, two, _ = decided(graph.with_batch(1))
    monkeypatch.setattr(sequence, "BATCH_NUMBERS", 3000)
    _, three, _ = decided(graph)
    for other in (two, three):
        for name, kernel in one.kernels.items():
            np.testing.assert_array_equal(kernel.scales, other.kernels[name].scales)
            assert np.abs(kernel.numbers.astype(int) - other.kernels[name].numbers).max() <= 1


def test_what_nobody_reads_any_more_is_forgotten(monkeypatch):
    most = 0
    visit = sequence.Walk.visit

    def counting(walk: sequence.Walk, node: object, *, last: bool) -> None:
        nonlocal most
        visit(walk, node, last=last)
        most = max(most, len(walk.stored))

    monkeypatch.setattr(sequence.Walk, "visit", counting)
    decided(mobile(RELU))
    assert most <= 4


def test_a_network_of_rows():
    net = Sketch((5, 6))
    net("a", dense(6, 8, activation=RELU), "in0")
    net("b", dense(8, 8, seed=2), "a")
    net("sum", Add(), "b", "a")
    net("c", dense(8, 4, seed=3), "sum")
    found = decided(net.graph())
    wanted, means = before_activation(found, "b")
    np.testing.assert_allclose(means, wanted, atol=5e-3)


def test_too_many_taps_are_rounded_to_the_nearest(monkeypatch):
    """The 3x3 stem has 27 weights per output, the expansion 8."""
    monkeypatch.setattr(sequence, "MOST_TAPS", 26)
    network, made, _ = decided(mobile(RELU))
    same = {}
    for name in ("stem", "expand"):
        node = network.graph.producers[name]
        assert isinstance(node.operation, Conv)
        pairs = pairs_of(network.graph, node)
        scales = scales_in_pairs(node.operation, scales_of(node.operation), pairs)
        same[name] = np.array_equal(nearest(node.operation, scales, pairs), made.kernels[name].numbers)
    assert same == {"stem": True, "expand": False}


def test_targets_are_forgotten_when_they_were_used(monkeypatch):
    left: list[set[str]] = []
    visit = sequence.Walk.visit

    def watching(walk: sequence.Walk, node: Node, *, last: bool) -> None:
        visit(walk, node, last=last)
        left.append(set(walk.targets))

    monkeypatch.setattr(sequence.Walk, "visit", watching)
    network, made, _ = decided(mobile(RELU))
    linear = [name for name in network.graph.producers if name in made.kernels]
    assert left[0] == set(linear[1:])
    assert left[-1] == set()


def test_gates_and_float_nodes_have_no_target(monkeypatch):
    asked: list[str] = []
    targets = sequence.targets

    def watching(*arguments: Any, names: Collection[str], **options: Any) -> Any:
        asked.extend(names)
        return targets(*arguments, names=names, **options)

    monkeypatch.setattr(sequence, "targets", watching)
    graph = rewrites.rewrite(mobile(Activation.HARD_SWISH))
    batches = batches_of(feeds_of(graph))
    kept = next(node.name for node in graph if node.name.startswith("project"))
    network = survey.survey(graph, batches, compile_, keep_float=[kept])
    made = sequence.decide(network, batches, compile_)
    gates = [gate.name for node in graph if (gate := bounds.split_gate(network.graph, node.name)) is not None]
    assert set(gates) & set(made.kernels), "equalisation makes convolutions of gates"
    linear = [node.name for node in network.graph if isinstance(node.operation, (Conv, Dense))]
    assert asked == [name for name in linear if name != kept and name not in gates]


def test_kernels_whose_inputs_stay_float_are_only_rounded(monkeypatch):
    """Nothing is wrong with what they read: nothing is to be fitted."""
    fitted: dict[str, bool] = {}
    refit = sequence.refit

    def watching(operation: Conv | Dense, moments: Any) -> np.ndarray:
        kernel = refit(operation, moments)
        fitted[str(operation.kernel.shape)] = not np.array_equal(kernel, operation.kernel)
        return kernel

    monkeypatch.setattr(sequence, "refit", watching)
    graph = mobile(RELU)
    _, made, _ = decided(graph, dict.fromkeys(("stem", "expand"), Precision.WEIGHTS))
    assert set(fitted) == {"(3, 3, 3, 8)", "(1, 1, 8, 16)"}
    assert not fitted["(3, 3, 3, 8)"]
    assert set(made.kernels) == {"stem", "expand"}
