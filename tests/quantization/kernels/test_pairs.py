"""Neighbours in a sum: which they are, that they fit, and what that costs beside the other ways of making them fit."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Conv, Dense, Reshape
from kexport.quantization.kernels import pairs
from kexport.quantization.kernels.int8 import nearest, scales_in_pairs, scales_of
from kexport.quantization.kernels.pairs import LARGEST_SUM, largest_sum, pairs_of
from kexport.quantization.kernels.rounding import round_kernel
from kexport.quantization.observe.moments import Moments, gather
from kexport.quantization.quantize import quantize, weights_only
from tests.formats.plans import Sketch
from tests.quantization.kernels_and_inputs import OPERATIONS, correlated, inputs, linear, size_of
from tests.quantization.networks import batches_of, compile_, conv, dense, feeds_of, mobile

FIT_NOTHING = {"depthwise"}


def alone(operation: Conv | Dense, shape: tuple[int, ...]) -> Graph:
    net = Sketch(shape)
    net("linear", operation, "in0")
    return net.graph()


def pairs_in(operation: Conv | Dense, shape: tuple[int, ...]) -> list[list[list[int]]]:
    graph = alone(operation, shape)
    return [each.tolist() for each in pairs_of(graph, graph.producers["linear"])]


def extreme(operation: Conv | Dense) -> Conv | Dense:
    """Its largest weights stand beside each other, in all groups and outputs."""
    kernel = operation.kernel.copy()
    flat = kernel.reshape(-1, kernel.shape[-1])
    flat[:2] = 1.1 * np.abs(flat).max(axis=0)
    return type(operation)(**{**vars(operation), "kernel": kernel})


def moments_of(operation: Conv | Dense, data: np.ndarray) -> Moments:
    return gather(operation, inputs(data), size_of(operation, data))


def noise(operation: Conv | Dense, numbers: np.ndarray, scales: np.ndarray, data: np.ndarray) -> float:
    made = linear(type(operation)(**{**vars(operation), "kernel": operation.kernel - numbers * scales}), data)
    return float(made.reshape(-1, made.shape[-1]).var(axis=0).sum())


def sum_of(operation: Conv | Dense, numbers: np.ndarray, shape: tuple[int, ...]) -> int:
    graph = alone(operation, shape)
    groups, out = getattr(operation, "groups", 1), numbers.shape[-1]
    by_group = numbers.reshape(-1, groups, out // groups).transpose(1, 0, 2)
    return largest_sum(by_group, pairs_of(graph, graph.producers["linear"]))


def test_pairs_are_neighbours_along_the_sum():
    assert pairs_in(conv(4, 8), (6, 6, 4)) == [[[0, 1], [2, 3]]]
    assert pairs_in(dense(5, 8), (5,)) == [[[0, 1], [2, 3]]], "an odd last weight stands alone"
    assert pairs_in(conv(2, 8, 2), (6, 6, 2)) == [[[0, 1], [2, 3], [4, 5], [6, 7]]]
    assert pairs_in(conv(4, 6, groups=3), (6, 6, 12)) == [[[0, 1], [2, 3]]], "of a group's own channels"


def test_odd_channels_of_several_taps_may_be_laid_out_from_either():
    assert pairs_in(conv(1, 8, 2, groups=4), (6, 6, 4)) == [[[0, 1], [2, 3]], [[1, 2]]]
    assert pairs_in(conv(3, 8), (6, 6, 3)) == [[[0, 1]]], "one tap: the same channels in every layout"


def test_depthwise_kernels_have_none():
    assert pairs_in(conv(1, 6, 3, groups=6), (6, 6, 6)) == []


def test_a_dense_layer_behind_an_image_has_those_of_either_layout():
    net = Sketch((2, 1, 3))
    net("flat", Reshape(shape=(6,)), "in0")
    net("linear", dense(6, 4), "flat")
    graph = net.graph()
    found = [each.tolist() for each in pairs_of(graph, graph.producers["linear"])]
    assert found == [[[0, 1], [2, 3], [4, 5]], [[0, 3], [1, 4], [2, 5]]]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("change", [lambda each: each, extreme], ids=["as it is", "extreme"])
def test_every_pair_fits(name, change):
    operation, shape = OPERATIONS[name]
    operation = change(operation)
    graph, data = alone(operation, shape), correlated(*shape)
    found, moments = pairs_of(graph, graph.producers["linear"]), moments_of(operation, data)
    scales = scales_in_pairs(operation, scales_of(operation), found, moments) if found else scales_of(operation)
    for numbers in (round_kernel(operation, scales, moments, found), nearest(operation, scales, found)):
        assert sum_of(operation, numbers, shape) <= LARGEST_SUM
    full = round_kernel(operation, scales_of(operation), moments)
    if change is extreme and name not in FIT_NOTHING:
        assert sum_of(operation, full, shape) > LARGEST_SUM


@pytest.mark.parametrize("name", ["pointwise", "3x3", "grouped", "dense"])
def test_the_scale_is_the_cheapest_of_the_trials(name):
    """Neither cutting what is too much nor a scale at which all fits is better, but for what rounding leaves open."""
    operation, shape = OPERATIONS[name]
    operation = extreme(operation)
    graph, data = alone(operation, shape), correlated(*shape)
    found, moments, scales = (
        pairs_of(graph, graph.producers["linear"]),
        moments_of(operation, data),
        scales_of(operation),
    )
    full = round_kernel(operation, scales, moments)
    need = np.float32(max(1.0, sum_of(operation, full, shape) / LARGEST_SUM))
    ways = {"cut": scales, "wide": scales * need, "chosen": scales_in_pairs(operation, scales, found, moments)}
    lost = {
        way: noise(operation, round_kernel(operation, each, moments, found), each, data) for way, each in ways.items()
    }
    assert lost["chosen"] <= 1.05 * min(lost["cut"], lost["wide"])
    assert lost["chosen"] < 0.5 * lost["cut"]


def test_channels_without_extreme_neighbours_pay_nothing():
    operation = conv(8, 2)
    operation.kernel[..., :] = 0.001
    operation.kernel[0, 0, :2, 1] = 1.0
    operation.kernel[0, 0, 0, 0] = 1.0
    graph, plain = alone(operation, (6, 6, 8)), scales_of(operation)
    found = pairs_of(graph, graph.producers["linear"])
    scales = scales_in_pairs(operation, plain, found)
    assert scales[0] == plain[0]
    assert plain[1] < scales[1] <= plain[1] * 2


def test_scales_keep_eleven_bits():
    operation = extreme(conv(6, 16, 3))
    graph = alone(operation, (8, 8, 6))
    scales = scales_in_pairs(operation, scales_of(operation), pairs_of(graph, graph.producers["linear"]))
    fraction = np.frexp(scales)[0] * 2**11
    np.testing.assert_array_equal(fraction, np.rint(fraction))


def test_a_plan_is_portable_unless_it_need_not_be():
    graph = mobile(excite=True)
    feeds = feeds_of(graph)
    portable = quantize(graph, batches_of(feeds), compile_)
    assert max(pairs.sums_of(portable).values()) <= LARGEST_SUM
    assert not [note for note in portable.notes if "VNNI" in note]
    full = quantize(graph, batches_of(feeds), compile_, portable=False)
    wide = [name for name, largest in pairs.sums_of(full).items() if largest > LARGEST_SUM]
    (note,) = [note for note in full.notes if "VNNI" in note]
    assert wide
    assert note.endswith(f"in {', '.join(wide)}")
    assert set(pairs.sums_of(full)) == set(pairs.sums_of(portable))


def test_float_arithmetic_adds_nothing_in_int16():
    assert pairs.sums_of(weights_only(mobile())) == {}
