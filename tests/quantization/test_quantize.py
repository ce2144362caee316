"""From a float graph and images to a plan that loses little, the same one every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from kexport.errors import SourceError, UnsupportedError
from kexport.graph import Graph
from kexport.operations import (
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Function,
    GlobalPool,
    LayerNorm,
    Multiply,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)
from kexport.quantization import sequence
from kexport.quantization.plan import Precision, QuantPlan
from kexport.quantization.quantize import quantize, weights_only
from kexport.quantization.scales.limits import scale_limits
from tests.formats.plans import Sketch, emulate
from tests.quantization.networks import (
    AVERAGE,
    AVERAGE_IMAGE,
    RELU,
    RELU6,
    activate,
    batches_of,
    compile_,
    conv,
    dense,
    feeds_of,
    mobile,
    outputs,
    same,
)


def with_concat() -> Graph:
    """DenseNet's kind: joins, scales in between, pools; a sigmoid among the joined."""
    net = Sketch((12, 12, 3))
    net("a", conv(3, 8, 3, padding=same(), activation=RELU), "in0")
    net("b", conv(8, 8, 3, padding=same(), seed=2), "a")
    net("ab", Concat(), "a", "b")
    numbers = np.linspace(0.5, 2, 16).astype(np.float32)
    net("scale", ScaleShift(scale=numbers, offset=-numbers / 4), "ab")
    net("relu", activate(RELU), "scale")
    net("gate", activate(Activation.SIGMOID), net("c", conv(16, 4, seed=4), "relu"))
    net("abg", Concat(), "relu", "gate")
    net("mean", Pool(kind=PoolKind.AVERAGE, size=(2, 2), strides=(2, 2)), "abg")
    net("d", conv(20, 8, 3, seed=5, activation=RELU), "mean")
    net("logits", dense(8, 5), net("pool", AVERAGE, "d"))
    return net.graph()


def with_vgg_head() -> Graph:
    net = Sketch((8, 8, 3))
    net("a", conv(3, 8, 3, padding=same(), activation=RELU), "in0")
    net("most", Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), "a")
    net("flat", Reshape(shape=(128,)), "most")
    net("hidden", dense(128, 16, activation=RELU), "flat")
    net("logits", dense(16, 5, seed=3), "hidden")
    return net.graph()


def with_dense_on_images() -> Graph:
    """ConvNeXt's kind: depthwise 7x7, layer norm, dense over channels, gelu, residual sum."""
    net = Sketch((8, 8, 3))
    net("stem", conv(3, 8, 2, strides=(2, 2)), "in0")
    net("depth", conv(1, 8, 3, groups=8, padding=same()), "stem")
    norm = LayerNorm(gamma=np.ones(8, np.float32), beta=np.zeros(8, np.float32), epsilon=1e-6)
    net("norm", norm, "depth")
    net("up", dense(8, 32), "norm")
    net("gelu", activate(Activation.GELU), "up")
    net("down", dense(32, 8, seed=3), "gelu")
    net("sum", Add(), "stem", "down")
    net("logits", dense(8, 5), net("pool", AVERAGE, "sum"))
    return net.graph()


def two_in_two_out() -> Graph:
    """No convolution first, an output read inside, an input read twice and one shown as it is."""
    net = Sketch((8, 8, 4), (8, 8, 4))
    net("sum", Add(), "in0", "in1")
    net("a", conv(4, 8, 3, padding=same(), activation=RELU6), "sum")
    net("b", conv(4, 8, seed=3), "in0")
    net("both", Add(activation=RELU), "a", "b")
    net("most", GlobalPool(kind=PoolKind.MAX), "both")
    net("logits", dense(8, 5), "most")
    return net.graph(features="both", logits="logits", same="in1")


def attention() -> Graph:
    """Spatial and channel gates, a product of a value with itself, a clip beside its own input."""
    net = Sketch((8, 8, 4))
    net("a", conv(4, 8), "in0")
    net("where", activate(Activation.HARD_SIGMOID), net("line", conv(8, 8, 3, padding=same()), "a"))
    net("seen", Multiply(), "a", "where")
    net("square", Multiply(), "seen", "seen")
    net("clip", Clip(minimum=-0.5, maximum=0.8), "seen")
    net("sum", Add(), net("part", Add(), "square", "clip"), "seen")
    net("gate", activate(Activation.SIGMOID), net("up", conv(8, 8, seed=3), net("mean", AVERAGE_IMAGE, "sum")))
    net("gated", Multiply(), "sum", "gate")
    net("padded", Pad(padding=((0, 1), (1, 0))), "gated")
    net("last", conv(8, 6, 3, seed=4), "padded")
    return net.graph()


def generic() -> Graph:
    net = Sketch((8, 8, 4))
    net("a", conv(4, 8), "in0")
    net("b", conv(8, 4, seed=2), net("absolute", Elementwise(function=Function.ABSOLUTE), "a"))
    return net.graph()


# With the least SQNR of the outputs, dB, on the images of calibration.
GRAPHS: dict[str, tuple[Callable[[], Graph], float]] = {
    "linear": (lambda: mobile(None), 30),
    "relu": (lambda: mobile(RELU), 30),
    "relu6_excite": (lambda: mobile(RELU6, excite=True), 30),
    "hard_swish_excite": (lambda: mobile(Activation.HARD_SWISH, excite=True), 26),
    "silu_excite": (lambda: mobile(Activation.SILU, excite=True), 26),
    "gelu": (lambda: mobile(Activation.GELU), 30),
    "concat": (with_concat, 28),
    "vgg_head": (with_vgg_head, 30),
    "dense_on_images": (with_dense_on_images, 30),
    "two_in_two_out": (two_in_two_out, 27),
    "attention": (attention, 20),
    "generic": (generic, 25),
}


SEEDS = (5, 6, 7, 8)


def planned(graph: Graph, **options: object) -> QuantPlan:
    return quantize(graph, batches_of(feeds_of(graph, count=24)), compile_, **options)


def signal_to_noise(graph: Graph, plan: QuantPlan) -> dict[str, float]:
    """dB of every output, centred by channel, on the calibration images."""
    feeds = feeds_of(graph, count=24)
    found, wanted = emulate(plan, feeds), outputs(graph, feeds)
    result = {}
    for public, value in plan.graph.outputs.items():
        real = plan.values[value].dequantize(found[value]) if found[value].dtype == np.int8 else found[value]
        signal = wanted[public] - wanted[public].mean(axis=0)
        noise = np.square(real - wanted[public]).mean()
        result[public] = float(10 * np.log10(np.square(signal).mean() / noise)) if noise else np.inf
    return result


@pytest.mark.parametrize("name", GRAPHS)
def test_the_outputs_lose_little(name):
    make, least = GRAPHS[name]
    graph = make()
    plan = planned(graph)
    found = signal_to_noise(graph, plan)
    assert min(found.values()) >= least, found
    assert Precision.INT8 in plan.precisions.values()
    assert scale_limits(plan) == ()


def uneven() -> Graph:
    """Four numbers in sixteen channels, from large to a hundredth of it; a sum keeps them from being equalised."""
    sizes = np.logspace(0, -2, 16).astype(np.float32)
    net = Sketch((8, 8, 4))
    for name, operation in (("left", conv(4, 16)), ("right", conv(4, 16, seed=2))):
        net(name, replace(operation, kernel=operation.kernel * sizes, bias=operation.bias * sizes), "in0")
    net("sum", Add(), "left", "right")
    last = conv(16, 16, seed=3, activation=RELU)
    net("last", replace(last, kernel=last.kernel / sizes[:, np.newaxis]), "sum")
    net("logits", dense(16, 8), net("pool", AVERAGE, "last"))
    return net.graph(logits="logits")


def test_kernels_that_must_not_be_fitted_are_not(monkeypatch):
    def called(*_: object) -> None:
        raise AssertionError("fitted")

    fitted = planned(mobile(RELU))
    monkeypatch.setattr(sequence, "refit", called)
    with pytest.raises(AssertionError, match="fitted"):
        planned(mobile(RELU))
    plain = planned(mobile(RELU), fit=False)
    assert plain.kernels.keys() == fitted.kernels.keys()


def error_on_unseen_images(make: Callable[[], Graph], seeds: Sequence[int]) -> float:
    """The mean error of plans from one or more sets of images: where little changes, that of a single one is chance."""
    return float(np.mean([_error_on_unseen_images(make(), seed) for seed in seeds]))


def _error_on_unseen_images(graph: Graph, seed: int) -> float:
    """The mean squared error of the logits, over their variance, on images that the plan was not made with."""
    plan = quantize(graph, batches_of(feeds_of(graph, count=24, seed=seed)), compile_)
    feeds = feeds_of(graph, count=64, seed=91)
    value = plan.graph.outputs["logits"]
    found, wanted = emulate(plan, feeds)[value], outputs(graph, feeds)["logits"]
    real = plan.values[value].dequantize(found) if found.dtype == np.int8 else found
    return float(np.square(real - wanted).mean() / wanted.var(axis=0).mean())


@pytest.mark.parametrize(
    ("make", "most", "seeds"),
    [
        (uneven, 0.7, SEEDS[:1]),
        (lambda: mobile(Activation.HARD_SWISH, excite=True), 1.05, SEEDS),
        (lambda: mobile(RELU6), 1.05, SEEDS),
    ],
    ids=["much_to_gain", "nothing_with_gates", "nothing"],
)
def test_fitted_kernels_on_unseen_images(make, most, seeds, monkeypatch):
    fitted = error_on_unseen_images(make, seeds)
    monkeypatch.setattr(sequence, "refit", lambda operation, moments: operation.kernel)
    plain = error_on_unseen_images(make, seeds)
    assert fitted < most * plain, (fitted, plain)


def test_dense_layers_on_large_images():
    """So large that not all of their positions are looked at."""
    net = Sketch((24, 24, 3))
    net("up", dense(8, 32, activation=RELU), net("stem", conv(3, 8), "in0"))
    net("logits", dense(8, 5), net("pool", AVERAGE, net("down", dense(32, 8), "up")))
    graph = net.graph()
    assert min(signal_to_noise(graph, planned(graph)).values()) > 25


def test_a_single_image_is_enough_to_calibrate():
    graph = mobile(RELU)
    feeds = feeds_of(graph, count=1)
    plan = quantize(graph, batches_of(feeds), compile_)
    assert all(np.isfinite(kernel.scales).all() for kernel in plan.kernels.values())
    found = emulate(plan, feeds)["logits"]
    real = plan.values["logits"].dequantize(found) if found.dtype == np.int8 else found
    wanted = outputs(graph, feeds)["logits"]
    assert np.square(real - wanted).mean() < 0.01 * np.square(wanted).mean()


def test_the_plan_is_the_same_every_time():
    graph = mobile(Activation.HARD_SWISH, excite=True)
    one, two = planned(graph), planned(graph)
    assert dict(one.values) == dict(two.values)
    assert dict(one.precisions) == dict(two.precisions)
    assert list(one.kernels) == list(two.kernels)
    for name, kernel in one.kernels.items():
        np.testing.assert_array_equal(kernel.numbers, two.kernels[name].numbers)
        np.testing.assert_array_equal(kernel.scales, two.kernels[name].scales)
        np.testing.assert_array_equal(kernel.bias, two.kernels[name].bias)


def test_a_weight_that_is_not_a_number_is_refused():
    graph = mobile(RELU)
    operation = graph.producers["expand"].operation
    assert isinstance(operation, Conv)
    operation.kernel[0, 0, 3, 5] = np.nan
    with pytest.raises(SourceError, match="value 'expand' is not finite on the calibration images"):
        planned(graph)


def test_refused_nodes_become_float_and_the_loop_ends():
    asked = []

    def refused(plan: QuantPlan) -> list[str]:
        asked.append(set(plan.precisions))
        return ["depth"] if len(asked) == 1 else []

    plan = planned(mobile(RELU), refused=refused)
    assert len(asked) == 2
    assert "depth" in asked[0]
    assert "depth" not in plan.precisions
    assert plan.notes == ("float32 layers: depth",)


def test_a_runtime_that_takes_nothing_is_an_error():
    names = iter(["stem", "expand", "depth", "project", "last"])
    with pytest.raises(UnsupportedError, match="no scales were found for project") as caught:
        planned(mobile(RELU), refused=lambda plan: [next(names)])
    assert caught.value.hint == "--schemes float16"


def test_what_is_refused_again_though_float_ends_the_loop():
    plan = planned(mobile(RELU), refused=lambda plan: ["depth"])
    assert "depth" not in plan.precisions


def test_layers_that_stay_float_are_named():
    plan = planned(mobile(RELU), keep_float=["project", "logits"])
    assert plan.notes == ("float32 layers: project, logits",)
    assert {"project", "logits"}.isdisjoint(plan.kernels)


def test_the_graph_of_the_plan_has_the_corrected_biases():
    graph = mobile(RELU)
    plan = planned(graph)
    for node in plan.graph:
        if isinstance(node.operation, (Conv, Dense)) and node.name in plan.kernels:
            kernel, read = plan.kernels[node.name], plan.values[node.inputs[0]]
            if kernel.bias is not None:
                np.testing.assert_allclose(node.operation.bias, kernel.bias * (read.scale * kernel.scales), rtol=1e-6)


def test_a_fixed_batch():
    graph = mobile(RELU).with_batch(2)
    plan = planned(graph)
    assert plan.graph.inputs[0].shape == (2, 12, 12, 3)
    assert min(signal_to_noise(mobile(RELU), plan).values()) > 30


def test_weights_only_needs_no_images():
    graph = with_concat()
    plan = weights_only(graph)
    linear = [node.name for node in graph if isinstance(node.operation, (Conv, Dense))]
    assert dict(plan.precisions) == dict.fromkeys(linear, Precision.WEIGHTS)
    assert plan.graph is graph
    assert not plan.values
    assert all(kernel.bias is None for kernel in plan.kernels.values())
    assert min(signal_to_noise(graph, plan).values()) > 28
