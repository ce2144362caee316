"""Small networks with seeded weights, and how the tests of the quantizers run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kexport.graph import Graph
from kexport.operations import Activate, Activation, Add, Conv, Dense, GlobalPool, Multiply, Operation, PoolKind
from kexport.quantization import Batches, Run
from tests.formats.plans import Sketch, float_values

RELU, RELU6 = Activation.RELU, Activation.RELU6
AVERAGE = GlobalPool(kind=PoolKind.AVERAGE)
AVERAGE_IMAGE = GlobalPool(kind=PoolKind.AVERAGE, keepdims=True)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded numbers that keep the size of what they multiply."""
    taps = int(np.prod(shape[:-1])) or 1
    return (np.random.default_rng([seed, *shape]).normal(size=shape) / np.sqrt(taps)).astype(np.float32)


def conv(inside: int, out: int, size: int = 1, *, seed: int = 0, **options: Any) -> Conv:
    """A convolution with a bias; ``inside`` counts the channels of a group."""
    bias = (0.3 * np.random.default_rng(seed + 1).normal(size=out)).astype(np.float32)
    return Conv(kernel=weights(size, size, inside, out, seed=seed), bias=bias, **options)


def dense(inside: int, out: int, *, seed: int = 0, **options: Any) -> Dense:
    """A dense layer with a bias."""
    bias = (0.3 * np.random.default_rng(seed + 1).normal(size=out)).astype(np.float32)
    return Dense(kernel=weights(inside, out, seed=seed), bias=bias, **options)


def same(size: int = 3) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding that keeps the size of an image."""
    return ((size // 2, size // 2), (size // 2, size // 2))


def images(*shape: int, count: int = 12, seed: int = 5) -> np.ndarray:
    """Seeded, smooth along the channels' brightness: not all images are alike."""
    rng = np.random.default_rng([seed, count, *shape])
    brightness = rng.uniform(0.3, 1.5, (count, *(1 for _ in shape)))
    return (brightness * rng.normal(size=(count, *shape))).astype(np.float32)


def feeds_of(graph: Graph, *, count: int = 12, seed: int = 5) -> dict[str, np.ndarray]:
    return {
        spec.name: images(*(axis or 1 for axis in spec.shape[1:]), count=count, seed=seed + index)
        for index, spec in enumerate(graph.inputs)
    }


def batches_of(feeds: Mapping[str, np.ndarray], *, size: int = 5) -> Batches:
    """The feeds a few at a time; the last batch is smaller."""
    count = len(next(iter(feeds.values())))

    def stream() -> Iterable[dict[str, np.ndarray]]:
        return ({name: array[start : start + size] for name, array in feeds.items()} for start in range(0, count, size))

    return stream


def compile_(graph: Graph) -> Run:
    """The real Compile: ONNX Runtime, one thread."""
    from kexport.runtimes.ort_graph import GraphSession

    return GraphSession(graph, threads=1).run


def outputs(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every output in float64, by numpy."""
    values = float_values(graph, feeds)
    return {public: values[name] for public, name in graph.outputs.items()}


def assert_same_function(
    left: Graph, right: Graph, feeds: Mapping[str, np.ndarray], *, tolerance: float = 1e-5
) -> None:
    """Both graphs compute the same outputs."""
    expected, found = outputs(left, feeds), outputs(right, feeds)
    assert list(expected) == list(found)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=tolerance * max(1.0, np.abs(array).max()), err_msg=name)


def kinds(graph: Graph) -> list[str]:
    """The operations in order, by their classes' names."""
    return [type(node.operation).__name__ for node in graph]


def activate(function: Activation) -> Operation:
    return Activate(function=function)


def squeeze_excite(net: Sketch, value: str, channels: int, gate: Activation = Activation.HARD_SIGMOID) -> str:
    """``value * gate(conv(relu(conv(mean(value)))))``, as MobileNetV3 has it."""
    net("squeeze", AVERAGE_IMAGE, value)
    net("down", conv(channels, channels // 2, seed=21, activation=RELU), "squeeze")
    net("up", conv(channels // 2, channels, seed=22), "down")
    net("excite", activate(gate), "up")
    return net("gated", Multiply(), value, "excite")


def mobile(function: Activation | None = RELU6, *, excite: bool = False, residual: bool = True) -> Graph:
    """Convolution, depthwise convolution, projection, optional squeeze-and-excite and residual sum, head, softmax."""
    net = Sketch((12, 12, 3))
    fused = function if function in (None, RELU, RELU6) else None

    def act(name: str) -> str:
        return net(f"{name}_act", activate(function), name) if function and not fused else name

    net("stem", conv(3, 8, 3, strides=(2, 2), padding=((0, 1), (0, 1)), seed=1, activation=fused), "in0")
    stem = act("stem")
    net("expand", conv(8, 16, seed=2, activation=fused), stem)
    net("depth", conv(1, 16, 3, groups=16, padding=same(), seed=3, activation=fused), act("expand"))
    value = act("depth")
    if excite:
        value = squeeze_excite(net, value, 16)
    net("project", conv(16, 8, seed=4), value)
    if residual:
        net("sum", Add(), "project", stem)
    net("last", conv(8, 24, seed=6, activation=fused), net.nodes[-1].name)
    net("pool", AVERAGE, act("last"))
    net("logits", dense(24, 10, seed=7), "pool")
    net("softmax", activate(Activation.SOFTMAX), "logits")
    return net.graph(probabilities="softmax", logits="logits")
