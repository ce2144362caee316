"""Scales: zero is exact, values that share a scale share one, fixed ones are fixed, ratios are legal."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Add, Clip, Concat, Conv, Multiply, Pool, PoolKind, ScaleShift
from kexport.quantization.kernels.int8 import nearest, scales_of, with_bias
from kexport.quantization.observe import statistics as observe
from kexport.quantization.plan import PROBABILITY, Affine, Kernel, Precision, QuantPlan
from kexport.quantization.prepare import assign, rewrites
from kexport.quantization.scales import bounds, ranges
from kexport.quantization.scales.limits import scale_limits
from tests.formats.plans import Sketch
from tests.quantization.networks import RELU, RELU6, activate, batches_of, compile_, conv, dense, feeds_of, mobile

HALF = np.full(4, 0.5, np.float32)
ONES = np.ones(4, np.float32)


def chosen(graph: Graph, *, search: bool = True) -> tuple[dict[str, Affine], dict[str, observe.Observed]]:
    precisions = assign.assign(graph)
    seen = observe.observe(graph, batches_of(feeds_of(graph)), compile_, values=ranges.needed(graph, precisions))
    return ranges.choose(graph, precisions, seen, search=search), seen


def group_of(graph: Graph, name: str) -> set[str]:
    (found,) = [group for group in ranges.groups(graph, assign.assign(graph)) if name in group]
    return set(found)


def observed(samples: np.ndarray) -> observe.Observed:
    rows = samples.reshape(-1, 1).astype(np.float32)
    mean = rows.mean(axis=0, dtype=np.float64)
    return observe.Observed(
        lows=rows.min(axis=0, keepdims=True), highs=rows.max(axis=0, keepdims=True), mean=mean,
        power=np.square(rows).mean(axis=0, dtype=np.float64), samples=rows, linear=mean, images=1,
    )  # fmt: skip


def test_zero_is_exact_and_rectified_values_use_all_numbers():
    scales, _ = chosen(rewrites.rewrite(mobile(Activation.HARD_SWISH, excite=True)))
    for name, affine in scales.items():
        assert affine.dequantize(affine.quantize(np.zeros(1, np.float32))) == 0.0, name
        assert affine.low <= 0 <= affine.high, name
    scales, _ = chosen(mobile(RELU6))
    assert {scales[name].zero_point for name in ("stem", "expand", "depth", "last", "pool")} == {-128}
    assert all(scales[name].high <= 6 for name in ("stem", "expand", "depth", "last"))


def test_extremes_without_a_search_and_never_more_with_it():
    graph = mobile(RELU)
    wide, seen = chosen(graph, search=False)
    best, _ = chosen(graph)
    low, high = seen["project"].extremes
    assert wide["project"].low == pytest.approx(low, abs=wide["project"].scale)
    assert wide["project"].high == pytest.approx(high, abs=wide["project"].scale)
    assert all(best[name].scale <= wide[name].scale * 1.0001 for name in wide)


@pytest.mark.parametrize("tail", [1.0, 3.0, 10.0])
def test_the_search_beats_the_extremes(tail):
    """On a long tail, and it never loses: measured on the samples themselves, not on a histogram."""
    rng = np.random.default_rng(3)
    samples = np.append(rng.normal(size=20000), tail * rng.normal(size=20)).astype(np.float32)
    net = Sketch((1,))
    net("a", dense(1, 2), "in0")
    graph, seen = net.graph(), {"in0": observed(samples), "a": observed(samples)}
    errors = []
    for search in (True, False):
        affine = ranges.choose(graph, {"a": Precision.INT8}, seen, search=search)["in0"]
        errors.append(float(np.square(affine.dequantize(affine.quantize(samples)) - samples).mean()))
    assert errors[0] <= errors[1] * 1.01
    if tail == 10.0:
        assert errors[0] < 0.98 * errors[1]


def test_pools_and_concatenations_share_one_scale():
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4, activation=RELU), "in0")
    net("b", conv(3, 4, seed=2), "in0")
    net("most", Pool(kind=PoolKind.MAX, size=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1))), "a")
    net("joined", Concat(), "most", "b")
    net("c", conv(8, 2), "joined")
    graph = net.graph()
    assert group_of(graph, "a") == {"a", "most", "b", "joined"}
    scales, _ = chosen(graph)
    assert len({scales[name] for name in ("a", "most", "b", "joined")}) == 1
    assert scales["joined"].low < 0


def test_a_sigmoid_has_the_runtimes_scale():
    net = Sketch((8, 8, 3))
    net("gate", activate(Activation.SIGMOID), net("a", conv(3, 4), "in0"))
    net("b", conv(4, 2), "gate")
    assert chosen(net.graph())[0]["gate"] == PROBABILITY


def test_a_sigmoid_joined_with_wider_values_does_not_cut_them():
    net = Sketch((8, 8, 3))
    net("gate", activate(Activation.SIGMOID), net("a", conv(3, 4), "in0"))
    net("b", conv(3, 4, seed=2), "in0")
    net("c", conv(8, 2), net("joined", Concat(), "gate", "b"))
    scales, seen = chosen(net.graph())
    assert scales["b"].low < 0.7 * seen["b"].extremes[0]
    assert scales["b"].high > 0.7 * seen["b"].extremes[1]


def test_what_is_clipped_to_the_unit_interval_uses_just_that():
    net = Sketch((8, 8, 3))
    net("clip", Clip(minimum=0.0, maximum=1.0), net("a", conv(3, 4), "in0"))
    net("b", conv(4, 2), "clip")
    scales, _ = chosen(net.graph())
    assert scales["a"] == scales["clip"] == ranges.UNIT


def test_a_clip_does_not_cut_another_reader():
    net = Sketch((8, 8, 3))
    net("clip", Clip(minimum=0.0, maximum=1.0), net("a", conv(3, 4), "in0"))
    net("sum", Add(), "clip", "a")
    net("b", conv(4, 2), "sum")
    scales, seen = chosen(net.graph())
    assert scales["a"].low < 0.7 * seen["a"].extremes[0]


@pytest.mark.parametrize("activation", [RELU, RELU6])
def test_what_only_a_rectifier_reads_is_stored_rectified(activation):
    net = Sketch((8, 8, 3))
    net("product", Multiply(), net("a", conv(3, 4), "in0"), net("b", conv(3, 4, seed=4), "in0"))
    net("relu", activate(activation), "product")
    net("c", conv(4, 2), "relu")
    scales, _ = chosen(net.graph())
    assert scales["product"].zero_point == -128
    assert scales["product"].high <= (6.0 if activation is RELU6 else np.inf)


def half_swish(offset: float, *, shown: bool = False) -> Graph:
    net = Sketch((8, 8, 3))
    net("u", conv(3, 4), "in0")
    net("line", ScaleShift(scale=ONES, offset=np.full(4, offset, np.float32)), "u")
    net("gate", Clip(minimum=0.0, maximum=1.0), "line")
    net("product", Multiply(), "u", "gate")
    net("b", conv(4, 2), "product")
    return net.graph(**({"u": "u"} if shown else {}), output="b")


def test_a_split_hard_swish_stores_what_opens_its_gate():
    scales, seen = chosen(half_swish(0.5))
    assert seen["u"].extremes[0] < -1
    assert scales["u"].low >= -0.51
    assert scales["product"] == scales["u"]


@pytest.mark.parametrize("graph", [half_swish(2.0), half_swish(0.5, shown=True)], ids=["other gate", "output"])
def test_nothing_else_is_cut(graph):
    scales, seen = chosen(graph)
    assert scales["u"].low < 0.7 * seen["u"].extremes[0]


def attention(kernel: np.ndarray) -> Graph:
    """``x * clip(conv(x), 0, 1)``: looks like a hard swish, but is none."""
    net = Sketch((8, 8, 3))
    net("u", conv(3, 4), "in0")
    net("line", Conv(kernel=kernel, bias=HALF, padding=((kernel.shape[0] // 2,) * 2,) * 2), "u")
    net("gate", Clip(minimum=0.0, maximum=1.0), "line")
    net("product", Multiply(), "u", "gate")
    net("b", conv(4, 2), "product")
    return net.graph()


@pytest.mark.parametrize("size", [1, 3])
def test_a_gate_that_mixes_channels_is_no_hard_swish(size):
    graph = attention(conv(4, 4, size).kernel)
    assert bounds.split_gate(graph, "u") is None
    scales, seen = chosen(graph)
    assert scales["u"].low < 0.7 * seen["u"].extremes[0]


def constant(bias: float, activation: Activation | None) -> Graph:
    net = Sketch((8, 8, 3))
    numbers = np.full(4, bias, np.float32)
    net("a", Conv(kernel=np.zeros((1, 1, 3, 4), np.float32), bias=numbers, activation=activation), "in0")
    net("b", conv(4, 2), "a")
    return net.graph()


@pytest.mark.parametrize(("bias", "high"), [(0.0, 1.0), (-3.0, 3.0), (2.5, 2.5)])
def test_a_constant_value(bias, high):
    """What was always cut off gets a scale of the size of what was cut off, in case another image shows more."""
    scales, _ = chosen(constant(bias, RELU))
    assert scales["a"].zero_point == -128
    assert scales["a"].high == pytest.approx(high, rel=1e-5)


def plan_of(graph: Graph) -> QuantPlan:
    """A plan with chosen scales and kernels rounded to the nearest."""
    precisions = assign.assign(graph)
    scales, _ = chosen(graph)
    kernels: dict[str, Kernel] = {}
    for node in graph:
        if isinstance(node.operation, Conv) and node.name in precisions:
            read, made = scales[node.inputs[0]], scales[node.name]
            steps = scales_of(node.operation, read=read, made=made)
            kernels[node.name] = with_bias(nearest(node.operation, steps), steps, node.operation.bias, read)
    return QuantPlan(graph=graph, values=scales, kernels=kernels, precisions=precisions)


def nearly_dead(size: float) -> Graph:
    """A strong input that the bias cuts off nearly always, by a hair."""
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4), "in0")
    kernel = np.zeros((1, 1, 4, 4), np.float32)
    kernel[0, 0, :, 0] = size
    net("b", Conv(kernel=kernel, bias=np.full(4, 1e-7, np.float32), activation=RELU6), "a")
    net("c", Conv(kernel=-np.abs(conv(4, 4).kernel), bias=np.full(4, 1e-5, np.float32), activation=RELU), "b")
    net("d", conv(4, 4, seed=3), "c")
    net("sum", Add(), "d", "c")
    net("product", Multiply(), "c", "c")
    net("last", conv(4, 2), net("both", Add(), "sum", "product"))
    return net.graph()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_scales_of_nearly_dead_values_are_legal(size):
    assert scale_limits(plan_of(nearly_dead(size))) == ()


@pytest.mark.parametrize("bias", [0.0, -3.0, -1e-9, 1e-9])
def test_scales_of_constants_are_legal(bias):
    assert scale_limits(plan_of(constant(bias, RELU))) == ()


def test_needed_are_the_borders_and_what_int8_nodes_touch():
    graph = mobile(RELU)
    found = ranges.needed(graph, {"expand": Precision.INT8, "logits": Precision.WEIGHTS})
    assert set(found) == {"in0", "softmax", "logits", "stem", "expand"}
    assert len(found) == len(set(found))


def test_pixels_do_not_lie_between_two_numbers():
    """In [-1, 1], each pixel is a half step from two numbers if 255 steps cover just that: then noise would decide."""
    pixels = np.arange(256, dtype=np.float32).repeat(20).reshape(-1, 1) / np.float32(127.5) - 1
    sketch = Sketch((4, 4, 1))
    sketch("conv", Conv(kernel=np.ones((1, 1, 1, 2), np.float32)), "in0")
    seen = {"in0": observed(pixels), "conv": observed(np.linspace(-1, 1, 99))}
    found = ranges.choose(sketch.graph(), {"conv": Precision.INT8}, seen)["in0"]
    places = pixels.astype(np.float64) / found.scale
    assert np.abs(places - np.floor(places) - 0.5).min() > 1e-4
    np.testing.assert_array_equal(found.quantize(pixels), found.quantize(pixels * np.float32(1 + 3e-7)))
    assert (found.low, found.high) == pytest.approx((-1, 1), abs=0.06)
