"""A float32 stem whose bits are the same in every runtime, whatever the order of its sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph, TensorSpec
from kexport.operations import Activation, Add, Concat, Conv, Dense, Elementwise, ScaleShift
from kexport.quantization import survey
from kexport.quantization.plan import QuantPlan
from kexport.quantization.prepare import rewrites, stem
from kexport.quantization.quantize import quantize
from kexport.quantization.recipe import Wishes
from tests.formats.plans import Sketch, emulate, float_values
from tests.quantization.networks import (
    AVERAGE,
    RELU,
    RELU6,
    activate,
    batches_of,
    compile_,
    conv,
    dense,
    outputs,
    same,
    squeeze_excite,
)

HARD_SWISH = Activation.HARD_SWISH


def small_v3(*, rescaling: bool = True, depthwise_activation: Activation | None = RELU) -> Graph:
    """A hard swish behind the first convolution, then a depthwise one; images in [0, 255] or in [-1, 1]."""
    net = Sketch((24, 24, 3))
    value = "in0"
    if rescaling:
        value = net("rescaling", ScaleShift(scale=np.full(3, 1 / 127.5, "f4"), offset=np.full(3, -1, "f4")), value)
    net("stem", conv(3, 8, 3, strides=(2, 2), padding=((0, 1), (0, 1)), seed=1), value)
    net("swish", activate(HARD_SWISH), "stem")
    depth = conv(1, 8, 3, groups=8, padding=same(), seed=3, activation=depthwise_activation)
    net("depth", depth, "swish")
    gated = squeeze_excite(net, "depth", 8)
    net("project", conv(8, 8, seed=4), gated)
    net("logits", dense(8, 10, seed=7), net("pool", AVERAGE, "project"))
    return net.graph()


def photographs(count: int = 24, *, low: float = 0.0, high: float = 255.0) -> dict[str, np.ndarray]:
    """Whole pixels, smooth enough to look like something, scaled to ``[low, high]``."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0, 255, (count, 6, 6, 3)).repeat(4, axis=1).repeat(4, axis=2)
    pixels = np.clip(np.rint(coarse + rng.normal(0, 12, (count, 24, 24, 3))), 0, 255)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    return {"in0": (pixels / 255 * (high - low) + low).astype(np.float32)}


def surveyed(graph: Graph, feeds: dict[str, np.ndarray]) -> tuple[survey.Network, stem.Stem]:
    rewritten = rewrites.rewrite(graph)
    found = stem.find(rewritten)
    assert found is not None
    return survey.survey(rewritten, batches_of(feeds), compile_), found


def hostile(count: int, conv: Conv) -> np.ndarray:
    """Images of black and white pixels: at random, and such that each channel of the first convolution is extreme."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 2, (count, 24, 24, 3)) * 255
    for index, kernel in enumerate(np.moveaxis(conv.kernel, -1, 0)[: count // 2]):
        images[index] = np.tile(kernel > 0, (8, 8, 1)) * 255
    return images.astype(np.float32)


def sums(operation: Conv, read: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a convolution makes of windows of its own size, summed up in float32 in an order, and in float64."""
    assert operation.bias is not None
    rows, columns = operation.kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(read, (rows, columns), axis=(1, 2))  # n, y, x, c, rows, columns
    if operation.groups > 1:
        taps = np.moveaxis(windows, 3, -1).reshape(-1, rows * columns, read.shape[-1])
        products = taps * operation.kernel.reshape(rows * columns, -1)
    else:
        flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, operation.kernel[..., 0].size)
        products = flat[..., np.newaxis] * operation.kernel.reshape(flat.shape[1], -1)
    single = np.broadcast_to(operation.bias.astype(np.float32), products[:, 0].shape).copy()
    for tap in order[: products.shape[1]]:
        single += products[:, tap].astype(np.float32)
    return single, products.sum(axis=1, dtype=np.float64) + operation.bias.astype(np.float64)


@pytest.mark.parametrize("images", ["photographs", "hostile"])
@pytest.mark.parametrize("rescaling", [True, False])
def test_sums_are_exact_in_any_order(rescaling, images):
    """Whole numbers times multiples of a power of two, of any image between the darkest and brightest pixel seen."""
    feeds = photographs() if rescaling else photographs(low=-1, high=1)
    network, found = surveyed(small_v3(rescaling=rescaling), feeds)
    if images == "hostile":
        first = network.graph.producers[found.conv].operation
        assert isinstance(first, Conv)
        pixels = hostile(16, first)
        feeds = {"in0": pixels if rescaling else pixels / np.float32(127.5) - 1}
    values = float_values(network.graph, feeds)
    rng = np.random.default_rng(7)
    for name in found.in_float:
        node = network.graph.producers[name]
        assert isinstance(node.operation, Conv)
        read = values[node.inputs[0]]
        np.testing.assert_array_equal(read, np.rint(read))
        for _ in range(4):
            order = rng.permutation(node.operation.kernel[..., 0].size)
            np.testing.assert_array_equal(*sums(node.operation, read[:4], order), err_msg=name)
        assert network.precisions.get(name) is None


def uneven_v3() -> Graph:
    """Channels of the hard swish as far apart as those of the trained MobileNetV3Small: 0.03 to 3.4."""
    graph = small_v3()
    spread = np.geomspace(1.0, 0.01, 8).astype(np.float32)
    nodes = []
    for node in graph:
        operation = node.operation
        if node.name == "stem":
            assert isinstance(operation, Conv)
            operation = replace(operation, kernel=operation.kernel * spread)
        elif node.name == "depth":
            assert isinstance(operation, Conv)
            operation = replace(operation, kernel=operation.kernel / spread)
        nodes.append(replace(node, operation=operation))
    return replace(graph, nodes=tuple(nodes))


def test_small_channels_have_as_many_steps_as_large_ones():
    """One grid for all channels cost the trained MobileNetV3Small 21 dB, more than all of int8 after it."""
    graph, feeds = uneven_v3(), photographs()
    network, found = surveyed(graph, feeds)
    wanted = float_values(rewrites.rewrite(graph), feeds)[found.depthwise]
    made = float_values(network.graph, feeds)[found.depthwise]
    gain = (made * wanted).sum(axis=(0, 1, 2)) / np.maximum(np.square(wanted).sum(axis=(0, 1, 2)), 1e-12)
    alive = gain > 0
    assert alive.sum() > 4
    noise = np.square(made[..., alive] / gain[alive] - wanted[..., alive]).mean(axis=(0, 1, 2))
    assert (noise / np.square(wanted[..., alive]).mean(axis=(0, 1, 2))).max() < 1e-4


def test_pixels_become_their_own_levels():
    """256 of them, and the line and the floor do not round two to one."""
    for low, high, rescaling in ((0, 255, True), (-1, 1, False)):
        feeds = photographs(low=low, high=high)
        network, found = surveyed(small_v3(rescaling=rescaling), feeds)
        levels = float_values(network.graph, feeds)[network.graph.producers[found.conv].inputs[0]]
        pixels = np.rint((feeds["in0"].astype(np.float64) - low) / (high - low) * 255)
        assert len(np.unique(levels - pixels)) == 1


@pytest.mark.parametrize(("low", "high"), [(100, 101), (100, 255), (-255, -100), (7, 7), (-1, -1)])
def test_levels_stay_small_where_no_pixel_is_near_zero(low, high):
    """Sums are exact only if no level is beyond 256; images of a single colour are quantized too."""
    feeds = photographs(low=low, high=high)
    for rescaling in (True, False):
        network, found = surveyed(small_v3(rescaling=rescaling), feeds)
        levels = float_values(network.graph, feeds)[network.graph.producers[found.conv].inputs[0]]
        assert np.abs(levels).max() <= stem.LEVELS + 1


def test_the_result_has_a_scale_that_is_a_power_of_two():
    network, found = surveyed(small_v3(), photographs())
    scale = network.values[found.depthwise].scale
    assert np.log2(scale) == np.rint(np.log2(scale))


def test_in_float_it_is_still_the_same_network():
    """Pixels are exact but for the padding's half level; what the hard swish makes has 12 bits of each channel."""
    graph, feeds = small_v3(), photographs()
    network, _ = surveyed(graph, feeds)
    wanted, found = outputs(graph, feeds)["output"], outputs(network.graph, feeds)["output"]
    assert np.square(found - wanted).mean() < 1e-5 * wanted.var()


def test_what_reads_the_result_reads_int8():
    """A mean in float32 would depend on the order of its sum."""
    network, found = surveyed(small_v3(), photographs())
    readers = network.graph.consumers[found.depthwise]
    assert {node.name for node in readers} == {"squeeze", "gated"}
    assert all(network.int8(node.name) for node in readers)


def plans(feeds: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> tuple[QuantPlan, QuantPlan]:
    """With the stem in float32, and all in int8."""
    graph = small_v3()
    with_stem = quantize(graph, batches_of(feeds), compile_)
    monkeypatch.setattr(stem, "find", lambda graph: None)
    return with_stem, quantize(graph, batches_of(feeds), compile_)


def test_the_noise_of_the_first_layers_is_gone(monkeypatch):
    feeds = photographs()
    wanted = float_values(rewrites.rewrite(small_v3()), feeds)["depth"]

    def noise(plan: QuantPlan) -> float:
        made, affine = emulate(plan, feeds)["depth"], plan.values["depth"]
        found = affine.dequantize(made if made.dtype == np.int8 else affine.quantize(made))
        gain = (found * wanted).sum(axis=(0, 1, 2)) / np.square(wanted).sum(axis=(0, 1, 2))  # equalised channels
        relative = (found / np.maximum(gain, 1e-9) - wanted)[..., gain > 0]
        return float(np.square(relative).mean())

    with_stem, all_int8 = plans(feeds, monkeypatch)
    assert noise(with_stem) < 0.5 * noise(all_int8)
    assert with_stem.notes == ("float32 layers: swish/sixth, depth",)
    assert all_int8.notes == ()


def test_both_runtimes_make_the_same_bits(run_onnx, run_tflite):
    """Not so for the network that it came from: its sums depend on their order."""
    feeds = photographs(4)
    network, found = surveyed(small_v3(), feeds)

    def both(graph: Graph, last: str) -> tuple[np.ndarray, np.ndarray]:
        nodes = graph.nodes[: [node.name for node in graph].index(last) + 1]
        part = replace(graph, nodes=nodes, outputs={"output": last})
        images = [[image[np.newaxis]] for image in feeds["in0"]]
        left, right = ([run(part, image) for image in images] for run in (run_onnx, run_tflite))
        return np.concatenate([found[0] for found in left]), np.concatenate([found[0][0] for found in right])

    np.testing.assert_array_equal(*both(network.graph, found.depthwise))
    plain = both(rewrites.rewrite(small_v3()), found.depthwise)
    np.testing.assert_allclose(*plain, rtol=1e-3, atol=1e-3)
    assert (plain[0] != plain[1]).any()


def other_stems() -> dict[str, Graph]:
    """What must be left alone."""
    found = {}
    for name, activation in (("relu6 behind the depthwise convolution", RELU6), ("hard swish there", None)):
        net = Sketch((24, 24, 3))
        net("stem", conv(3, 8, 3, seed=1), "in0")
        net("depth", conv(1, 8, 3, groups=8, seed=3, activation=activation), net("swish", activate(HARD_SWISH), "stem"))
        value = net("more", activate(HARD_SWISH), "depth") if activation is None else "depth"
        net("project", conv(8, 8, seed=4), value)
        found[name] = net.graph()
    net = Sketch((24, 24, 3))
    net("stem", conv(3, 8, 3, seed=1), "in0")
    net("depth", conv(1, 8, 3, groups=8, seed=3, padding=same()), net("swish", activate(HARD_SWISH), "stem"))
    net("sum", Add(), "depth", "swish")
    net("project", conv(8, 8, seed=4), "sum")
    found["a residual connection around"] = net.graph()
    net = Sketch((24, 24, 3))
    net("stem", conv(3, 8, 3, seed=1), "in0")
    net("depth", conv(1, 8, 3, groups=8, seed=3, padding=same()), net("swish", activate(HARD_SWISH), "stem"))
    net("both", Concat(), "depth", net("other", conv(3, 8, 3, seed=5), "in0"))
    found["an image with two readers"] = net.graph()
    net = Sketch((24, 24, 3))
    net("stem", conv(3, 8, 3, seed=1, activation=RELU), "in0")
    net("depth", conv(1, 8, 3, groups=8, seed=3), "stem")
    found["relu"] = net.graph()
    return found


@pytest.mark.parametrize("name", other_stems())
def test_other_stems_are_left_alone(name):
    assert stem.find(rewrites.rewrite(other_stems()[name])) is None


def test_a_constant_image_is_no_error():
    feeds = {"in0": np.full((8, 24, 24, 3), 127.0, np.float32)}
    network, found = surveyed(small_v3(), feeds)
    floors = [node.name for node in network.graph if isinstance(node.operation, Elementwise)]
    assert len(floors) == 2
    assert np.isfinite(float_values(network.graph, feeds)[found.depthwise]).all()


def test_a_stem_alone_stays_float():
    """Nothing reads its result as int8: no scale is needed."""
    graph = small_v3()
    keep = {node.name for node in rewrites.rewrite(graph)}
    plan = quantize(graph, batches_of(photographs(8)), compile_, keep_float=keep)
    assert not plan.precisions


def test_other_inputs_of_the_graph_do_not_matter():
    graph = small_v3()
    more = replace(graph, inputs=(*graph.inputs, TensorSpec(name="in1", shape=(None, 4))))
    assert stem.find(rewrites.rewrite(more)) == stem.find(rewrites.rewrite(graph))


def small_b0(*, activation: Activation = Activation.SILU, before: bool = False, groups: int = 1) -> Graph:
    """A silu behind the first convolution, or ``before`` it another one."""
    net = Sketch((24, 24, 3))
    value = net("rescaling", ScaleShift(scale=np.full(3, 1 / 127.5, "f4"), offset=np.full(3, -1, "f4")), "in0")
    if before:
        value = net("before", conv(3, 3, seed=11), value)
    step = conv(3 // groups, 6, 3, strides=(2, 2), padding=((0, 1), (0, 1)), seed=1, groups=groups)
    net("stem", step, value)
    net("swish", activate(activation), "stem")
    net("depth", conv(1, 6, 3, groups=6, padding=same(), seed=3), "swish")
    net("more", activate(activation), "depth")
    net("project", conv(6, 8, seed=4), "more")
    net("logits", dense(8, 10, seed=7), net("pool", AVERAGE, "project"))
    return net.graph()


def test_a_first_layer_with_silu_is_in_float():
    plan = quantize(small_b0(), batches_of(photographs()), compile_)
    stays = {node.name for node in plan.graph if node.name not in plan.precisions}
    assert "stem" in stays
    assert {"depth", "project"}.isdisjoint(stays)
    assert "swish" in plan.values, "what it makes is rounded once, for the depthwise convolution"


def test_runtimes_of_integers_alone_get_integers():
    plan = quantize(small_b0(), batches_of(photographs()), compile_, integer_head=True)
    assert all(node.name in plan.precisions for node in plan.graph if isinstance(node.operation, (Conv, Dense)))


@pytest.mark.parametrize(("graph", "first"), [(small_b0(), "stem"), (small_v3(), "swish/sixth")])
def test_a_recipe_may_want_the_first_layer_in_int8(graph, first):
    convs = {}
    for wanted in (frozenset(), frozenset({first})):
        plan = quantize(graph, batches_of(photographs()), compile_, wishes=Wishes(in_int8=wanted))
        convs[wanted] = {node.name: node.name in plan.precisions for node in plan.graph if type(node.operation) is Conv}
    usual, wished = convs.values()
    assert not usual[first]
    assert all(wished.values())


@pytest.mark.parametrize("other", [{"activation": Activation.RELU}, {"before": True}, {"groups": 3}])
def test_other_first_layers_stay_in_int8(other):
    plan = quantize(small_b0(**other), batches_of(photographs()), compile_)
    assert all(node.name in plan.precisions for node in plan.graph if isinstance(node.operation, Conv))


def test_a_silu_in_float_is_nearer(monkeypatch):
    graph, feeds = small_b0(), photographs()
    (wanted,) = outputs(graph, feeds).values()

    def noise() -> float:
        made = emulate(quantize(graph, batches_of(feeds), compile_), feeds)["logits"]
        return float(np.square(made - wanted).mean())

    in_float = noise()
    monkeypatch.setattr(stem, "smooth", lambda *_, **__: frozenset())
    assert in_float < noise()


def test_nothing_between_the_first_convolution_and_its_silu_is_in_int8():
    """Where channels are equalised, a convolution of one tap undoes that before the sigmoid."""
    net = Sketch((24, 24, 3))
    spread = np.geomspace(30.0, 0.05, 12).astype(np.float32)
    wide = conv(3, 12, 3, padding=same())
    net("stem", replace(wide, kernel=wide.kernel * spread), "in0")
    net("swish", activate(Activation.SILU), "stem")
    each = conv(1, 12, 3, groups=12, padding=same())
    net("depth", replace(each, kernel=each.kernel / spread), "swish")
    net("last", conv(12, 8, seed=3), "depth")
    found = survey.survey(rewrites.rewrite(net.graph()), batches_of(photographs()), compile_)
    names = [node.name for node in found.graph]
    assert "swish/sigmoid/argument" in names
    assert [name for name in names if name not in found.precisions] == names[: names.index("depth")]
