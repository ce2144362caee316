"""Equalised channels: the same function, likelier ranges, and where that has to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Add, Clip, Concat, Conv, GlobalPool, Multiply, Pool, PoolKind, Reshape
from kexport.quantization.observe import statistics as observe
from kexport.quantization.prepare import assign, equalize, factors, rewrites
from kexport.quantization.prepare.reach import reach_of
from kexport.quantization.scales import bounds, ranges
from tests.formats.plans import Sketch, float_values
from tests.quantization.networks import (
    AVERAGE,
    RELU,
    RELU6,
    activate,
    assert_same_function,
    batches_of,
    compile_,
    conv,
    dense,
    feeds_of,
    mobile,
    same,
    squeeze_excite,
)

SPREAD = np.geomspace(1, 1 / 40, 16).astype(np.float32)


def uneven(operation: Conv, spread: np.ndarray = SPREAD) -> Conv:
    """The convolution with output channels of very unlike sizes."""
    assert operation.bias is not None
    factors = np.resize(spread, operation.kernel.shape[-1])
    return Conv(**{**vars(operation), "kernel": operation.kernel * factors, "bias": operation.bias * factors})


def equalized(graph: Graph) -> tuple[Graph, dict[str, observe.Observed], dict[str, observe.Observed]]:
    precisions = assign.assign(graph)
    batches = batches_of(feeds_of(graph))
    seen = observe.observe(graph, batches, compile_, values=ranges.needed(graph, precisions))
    after, predicted = equalize.equalize(graph, precisions, seen)
    return after, seen, predicted


def changed(before: Graph, after: Graph) -> set[str]:
    """The nodes whose operation is another one."""
    return {old.name for old, new in zip(before, after, strict=True) if old.operation is not new.operation}


def chain(activation: Activation | None, gain: float = 1.0, *, size: int = 8) -> Graph:
    net = Sketch((size, size, 3))
    net("a", uneven(conv(3, 16, 3, padding=same(), activation=activation), SPREAD * np.float32(gain)), "in0")
    net("b", conv(16, 6), "a")
    return net.graph()


def depthwise(multiplier: int) -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", uneven(conv(1, 16 * multiplier, 3, groups=16, padding=same(), activation=RELU)), "a")
    net("c", conv(16 * multiplier, 6), "b")
    return net.graph()


def grouped() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", uneven(conv(4, 12, 3, groups=4)), "a")
    net("c", conv(12, 6), "b")
    return net.graph()


def excited() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("c", conv(16, 6), squeeze_excite(net, "a", 16))
    return rewrites.rewrite(net.graph())


def flattened() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("pool", GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), "a")
    net("flat", Reshape(shape=(16,)), "pool")
    net("b", dense(16, 8, activation=RELU), "flat")
    net("c", dense(8, 3), "b")
    return net.graph()


def swish() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16), 20 * SPREAD), "in0")
    net("b", activate(Activation.HARD_SWISH), "a")
    net("c", conv(1, 16, 3, groups=16), "b")
    return rewrites.rewrite(net.graph())


def silu() -> Graph:
    """Channels so unlike that the small ones would drown in its rounding."""
    net = Sketch((12, 12, 3))
    spread = np.geomspace(30.0, 0.05, 12).astype(np.float32)
    wide, each = conv(3, 12, 3, padding=same()), conv(1, 12, 3, groups=12, padding=same())
    net("a", replace(wide, kernel=wide.kernel * spread), "in0")
    net("b", activate(Activation.SILU), "a")
    net("c", replace(each, kernel=each.kernel / spread), "b")
    return rewrites.rewrite(net.graph())


def two_readers() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("most", Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), "a")
    net("left", conv(16, 4), "most")
    net("right", conv(16, 4, 3, seed=2), "a")
    return net.graph(left="left", right="right")


GRAPHS: dict[str, Callable[[], Graph]] = {
    "linear": lambda: chain(None),
    "relu": lambda: chain(RELU),
    "depthwise": lambda: depthwise(1),
    "depthwise_multiplier": lambda: depthwise(2),
    "grouped": grouped,
    "excited": excited,
    "flattened": flattened,
    "swish": swish,
    "two_readers": two_readers,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_function_stays_on_what_was_seen(name):
    graph = GRAPHS[name]()
    after, _, _ = equalized(graph)
    assert changed(graph, after)
    assert_same_function(graph, after, feeds_of(graph), tolerance=1e-4)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_statistics_are_those_of_the_new_graph(name):
    graph = GRAPHS[name]()
    after, _, predicted = equalized(graph)
    found = observe.observe(
        after, batches_of(feeds_of(graph)), compile_, values=[n for n in predicted if n in after.shapes]
    )
    for value, seen in predicted.items():
        if bounds.split_gate(after, value) is None:  # there, what lies below -1/2 is forgotten
            np.testing.assert_allclose(seen.low, found[value].low, rtol=1e-3, atol=1e-4, err_msg=value)
        np.testing.assert_allclose(seen.high, found[value].high, rtol=1e-3, atol=1e-4, err_msg=value)
        np.testing.assert_allclose(seen.mean, found[value].mean, rtol=1e-3, atol=1e-4, err_msg=value)
        np.testing.assert_allclose(seen.linear, found[value].linear, rtol=1e-3, atol=1e-4, err_msg=value)


def test_towards_a_depthwise_convolution_channels_become_alike():
    """Each of its kernels has a scale of its own: there is nothing to pay."""
    _, before, after = equalized(depthwise(1))
    assert before["a"].high.max() / before["a"].high.min() > 20
    assert after["a"].high.max() / after["a"].high.min() < 1.01


def bright(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    """Images of which few are much brighter than the others, each in a channel of its own."""
    feeds = feeds_of(graph, count=count, seed=seed)
    channels = next(iter(feeds.values())).shape[-1]
    gains = np.exp(1.2 * np.random.default_rng(seed).standard_normal((count, 1, 1, channels)))
    return {name: (array * gains).astype(np.float32) for name, array in feeds.items()}


def lost_on_others(graph: Graph, name: str, *, judged: bool) -> float:
    """The part of an equalised value that its int8 numbers lose, of images that calibration has not seen."""
    lost = []
    for seed in range(6):
        precisions, feeds = assign.assign(graph), bright(graph, 20, seed)
        seen = observe.observe(graph, batches_of(feeds), compile_, values=ranges.needed(graph, precisions))
        after, predicted = equalize.equalize(graph, precisions, seen)
        if not judged:
            predicted = {value: replace(each, stretch=None) for value, each in predicted.items()}
        affine = ranges.choose(after, precisions, predicted)[name]
        real = float_values(after, bright(after, 150, 100 + seed))[name]
        apart = np.square(affine.dequantize(affine.quantize(real)) - real).sum(axis=(0, 1, 2))
        lost.append(float((apart / np.square(real).sum(axis=(0, 1, 2))).mean()))
    return float(np.median(lost))


@pytest.mark.parametrize("name", ["relu", "depthwise", "depthwise_multiplier", "grouped", "linear"])
def test_ranges_are_judged_by_images_that_the_factors_have_not_seen(name):
    graph = GRAPHS[name]()
    assert lost_on_others(graph, "a", judged=True) < 0.9 * lost_on_others(graph, "a", judged=False)


@pytest.mark.parametrize(
    ("count", "dead", "alive"), [(10, 3, [2]), (100, 0, [2]), (100, 3, [2, 2 + observe.FOLDS]), (2, 0, [0])]
)
def test_a_channel_that_few_images_show_does_not_take_the_range_from_all_others(count, dead, alive):
    """Without a bound, 14 dB; the numbers of other images, where the channel is alive once more, have as many."""
    net = Sketch((8, 8, 16))
    eye = np.eye(16, dtype=np.float32).reshape(1, 1, 16, 16)
    net("a", Conv(kernel=eye, bias=np.zeros(16, np.float32), activation=RELU), "in0")
    net("b", conv(1, 16, 3, groups=16, padding=same(), activation=RELU), "a")
    net("c", conv(16, 6), "b")
    graph, rng = net.graph(), np.random.default_rng(0)

    def shown(images: int, where: list[int]) -> dict[str, np.ndarray]:
        made = np.abs(rng.standard_normal((images, 8, 8, 16))) * np.geomspace(1, 1 / 10, 16)
        made[..., dead] = -1
        made[where, ..., dead] = np.abs(rng.standard_normal((len(where), 8, 8)))
        return {"in0": made.astype(np.float32)}

    precisions, feeds = assign.assign(graph), shown(count, alive)
    seen = observe.observe(graph, batches_of(feeds), compile_, values=ranges.needed(graph, precisions))
    after, predicted = equalize.equalize(graph, precisions, seen)
    assert predicted["a"].stretch is not None
    assert predicted["a"].stretch.max() == factors.MOST_STRETCH
    affine = ranges.choose(after, precisions, predicted)["a"]
    for images in (feeds, shown(60, [5])):
        real = float_values(after, images)["a"]
        lost = affine.dequantize(affine.quantize(real)) - real
        assert 10 * np.log10(np.square(real).sum() / np.square(lost).sum()) > 36


def test_a_product_of_two_equalised_values_is_stretched_by_both():
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", uneven(conv(3, 16, seed=2, activation=RELU), SPREAD[::-1]), "in0")
    net("both", Multiply(), "a", "b")
    net("c", conv(1, 16, 3, groups=16), "both")
    _, _, found = equalized(net.graph())
    one, other, both = found["a"].stretch, found["b"].stretch, found["both"].stretch
    assert one is not None
    assert other is not None
    assert (one > 1).any()
    assert (other > 1).any()
    np.testing.assert_allclose(both, np.minimum(one * other, factors.MOST_STRETCH))


def test_a_channel_that_one_image_alone_shows_is_stretched_by_what_that_image_adds():
    """Its largest number without the fold is half of that with it: the factor would have been twice as large."""
    highs = np.ones((observe.FOLDS, 4))
    highs[:, 0], highs[2, 1], highs[3, 3] = 8.0, 2.0, 8.0
    lows = np.zeros((observe.FOLDS, 4))
    whole = factors._factors(lows.min(axis=0), highs.max(axis=0), 1.0, 1.0)
    np.testing.assert_allclose(whole, [1, 4, 8, 1])
    stretch = factors._stretch(lows, highs, whole, (1.0, 1.0))
    wanted = np.ones((observe.FOLDS, 4))
    wanted[2, 1], wanted[3, 3] = 2.0, factors.MOST_STRETCH
    np.testing.assert_allclose(stretch, wanted)
    assert factors._stretch(lows[:1], highs[:1], whole, (1.0, 1.0)) is None


@pytest.mark.parametrize("name", [*GRAPHS, "silu"])
def test_what_an_image_stretches(name):
    """Nothing where channels stay, and not behind a silu: it does not make a number so many times larger."""
    graph = silu() if name == "silu" else GRAPHS[name]()
    after, _, predicted = equalized(graph)
    first = next(node.name for node in graph if isinstance(node.operation, Conv))
    assert any(node.name.endswith("/argument") for node in after) == (name == "silu")
    assert (predicted[first].stretch is None) == (name == "silu")
    assert predicted["in0"].stretch is None
    assert all(each.stretch is None or (each.stretch >= 1).all() for each in predicted.values())


@pytest.mark.parametrize("gain", [1, 30])
def test_relu6_of_large_images_ends_at_six_for_what_was_seen_there(gain):
    graph = chain(RELU6, gain=gain, size=64)
    after, before, predicted = equalized(graph)
    assert changed(graph, after)
    assert_same_function(graph, after, feeds_of(graph), tolerance=1e-4)
    at_six = before["a"].high == 6.0
    assert at_six.any() == (gain > 1)
    assert predicted["a"].high.max() == (6.0 if gain > 1 else before["a"].high.max())
    kernel, old = after.producers["a"].operation, graph.producers["a"].operation
    assert isinstance(kernel, Conv)
    assert isinstance(old, Conv)
    np.testing.assert_array_equal(kernel.kernel[..., at_six], old.kernel[..., at_six])


@pytest.mark.parametrize("gain", [1, 30])
@pytest.mark.parametrize("images", ["seen", "unseen"])
def test_relu6_of_small_images_is_left_alone(gain, images):
    """A factor would move its six to what was seen: other images, ten times as bright, would be cut there."""
    graph = chain(RELU6, gain=gain)
    after, _, _ = equalized(graph)
    feeds = feeds_of(graph) if images == "seen" else {name: 10 * each for name, each in feeds_of(graph).items()}
    assert not changed(graph, after)
    assert_same_function(graph, after, feeds, tolerance=1e-6)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_function_stays_on_what_was_not_seen(name):
    graph = GRAPHS[name]()
    after, _, _ = equalized(graph)
    brighter = {each: 10 * values for each, values in feeds_of(graph).items()}
    assert_same_function(graph, after, brighter, tolerance=1e-4)


def shown() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", conv(16, 6), "a")
    return net.graph(features="a", output="b")


def summed() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", uneven(conv(3, 16, seed=2, activation=RELU)), "in0")
    net("c", conv(16, 6), net("sum", Add(), "a", "b"))
    return net.graph()


def joined() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", uneven(conv(3, 16, seed=2, activation=RELU)), "in0")
    net("c", conv(32, 6), net("joined", Concat(), "a", "b"))
    return net.graph()


def squared() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("c", conv(16, 6), net("square", Multiply(), "a", "a"))
    return net.graph()


def read_in_float() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", conv(16, 6), "a")
    net("c", conv(16, 6), net("tanh", activate(Activation.TANH), "a"))
    return net.graph(b="b", c="c")


def many_positions() -> Graph:
    net = Sketch((4, 4, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("flat", Reshape(shape=(256,)), "a")
    net("b", dense(256, 4), "flat")
    return net.graph()


def clipped() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16)), "in0")
    net("b", conv(16, 6), net("clip", Clip(minimum=-0.2, maximum=0.4), "a"))
    return net.graph()


def dead() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", Conv(kernel=np.zeros((1, 1, 3, 4), np.float32), activation=RELU), "in0")
    net("b", conv(4, 6), "a")
    return net.graph()


@pytest.mark.parametrize("make", [shown, summed, joined, squared, read_in_float, many_positions, clipped, dead])
def test_where_channels_must_stay(make):
    graph = make()
    after, _, _ = equalized(graph)
    assert changed(graph, after) == set()


def test_equalising_twice_is_possible_and_keeps_the_function():
    graph = swish()
    once, _, _ = equalized(graph)
    twice, _, _ = equalized(once)
    assert_same_function(graph, twice, feeds_of(graph), tolerance=1e-4)


def test_equalised_mobile_network_loses_less():
    """Rounding every value to 256 numbers of its range does less harm afterwards."""
    graph = rewrites.rewrite(mobile(RELU))
    stem = graph.producers["depth"].operation
    assert isinstance(stem, Conv)
    nodes = tuple(
        node if node.name != "depth" else type(node)(**{**vars(node), "operation": uneven(stem)}) for node in graph
    )
    graph = Graph(name="g", inputs=graph.inputs, nodes=nodes, outputs=graph.outputs)
    after, before, predicted = equalized(graph)
    assert np.median(predicted["depth"].high) > 2 * np.median(before["depth"].high)
    feeds = feeds_of(graph)
    assert float_values(after, feeds)["depth"].max() == pytest.approx(
        float_values(graph, feeds)["depth"].max(), rel=1e-4
    )


def test_global_average_and_two_uses_in_one_reach():
    net = Sketch((8, 8, 3))
    net("a", uneven(conv(3, 16, activation=RELU)), "in0")
    net("b", dense(16, 4, activation=RELU), net("mean", AVERAGE, "a"))
    net("c", dense(4, 2), "b")
    graph = net.graph()
    after, _, _ = equalized(graph)
    assert_same_function(graph, after, feeds_of(graph), tolerance=1e-4)


def test_what_is_rounded_again_counts():
    """Averages and gated values have scales of their own; what only moves numbers has not."""

    def heard(graph: Graph) -> dict[str, bool]:
        reach = reach_of(graph, graph.producers["a"], assign.assign(graph))
        assert reach is not None
        return {reader.value: reader.stored for reader in reach.readers}

    assert heard(excited()) == {"squeeze": True, "gated": True}
    assert heard(flattened()) == {"flat": True}
    assert heard(two_readers()) == {"most": False, "a": False}


def test_the_noise_of_what_is_rounded_again():
    """A step of 1/255 of the range, uniform, through weights of one: 1/255^2 over a power of one."""
    ones = np.ones(4)
    weights = factors.Weights(squares=np.ones((1, 4, 1)), largest=np.zeros((1, 4, 1)), used=np.zeros((1, 4, 1)))
    once = factors.noise_of([(weights, 0.0, np.stack([0 * ones, ones]))], ones, -ones, ones, ones)
    assert once == pytest.approx(255**-2)
    assert factors.noise_of([(weights, 1.0, None)], ones, -ones, ones, ones) == pytest.approx(4 * 255**-2)
