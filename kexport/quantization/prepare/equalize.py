"""Channels of one value brought to like ranges, so that all of them use the int8 numbers they share.

Between a linear node and the linear nodes that read it, a channel may be multiplied by any s > 0 if the readers'
weights are divided by it: relu is positively homogeneous, and so is everything that only averages, moves or gates
(cross-layer equalisation, Nagel et al. 2019; migration of ranges into weights, Xiao et al. 2023). Towards a
depthwise convolution this is free, as each channel's kernel has its own scale; other kernels pay with weight
noise, and ``s = (largest range / range)^alpha`` takes the alpha with the least noise at the readers.

relu6 stays: the channel with the largest range keeps s = 1, so one that was seen at six still ends there; the
others end above all that was ever seen of them. A split hard swish (`rewrites`) takes
part: its gate becomes a depthwise convolution that undoes s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError
from kexport.graph import Graph, Node
from kexport.operations import Activation, Conv, Dense, GlobalPool, Multiply, Pad, Pool, Reshape, ScaleShift
from kexport.quantization import Array
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import Precision, shares_scale
from kexport.quantization.scales.bounds import split_gate, useful_range

Factors = npt.NDArray[np.float64]
ALPHAS = (0.25, 0.5, 0.75, 1.0)
DEPTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
LARGEST_FACTOR = 64.0
WORTH = 0.7  # of the noise: what an equalised hard swish, which costs more time, has to come down to


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A linear node that undoes the factors: it reads ``value``, into which ``share`` of the maker's noise comes.

    ``stored`` where the value is rounded again, at a scale of its own.
    """

    node: Node
    value: str
    share: float
    stored: bool


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Everything between a linear node and its linear readers: ``values`` scale along, ``readers`` undo it."""

    values: tuple[str, ...]
    readers: tuple[Reader, ...]
    gate: Node | None = None


def equalize(
    graph: Graph, precisions: Mapping[str, Precision], observed: Mapping[str, Observed]
) -> tuple[Graph, dict[str, Observed]]:
    """The graph with equalised channels, and what observing it would give (histograms empty where changed)."""
    seen = dict(observed)
    for name in [node.name for node in graph]:
        node = graph.producers[name]
        reach = _reach(graph, node, precisions)
        if reach is None:
            continue
        factors = _factors(graph, node, reach, seen)
        if factors is not None:
            graph = _applied(graph, node, reach, factors)
            _rescale(seen, node, reach, factors)
    return graph, seen


def scalable(graph: Graph, name: str) -> bool:
    """Whether all that reads the linear node ``name`` can undo a factor on what it makes."""
    return _every_reach(graph, name) is not None


def rescale(
    graph: Graph, name: str, observed: Mapping[str, Observed], factor: float
) -> tuple[Graph, dict[str, Observed]]:
    """The graph in which the `scalable` node ``name`` makes all numbers times ``factor``, and its readers undo it."""
    reach = _every_reach(graph, name)
    if reach is None:
        raise GraphError(f"node {name!r} cannot be scaled: not all that reads it can undo that")
    node, seen = graph.producers[name], dict(observed)
    factors = np.full(node.shape[-1] or 0, factor)
    graph = _applied(graph, node, reach, factors)
    _rescale(seen, node, reach, factors)
    return graph, seen


def _every_reach(graph: Graph, name: str) -> Reach | None:
    """The reach of a node that no hard swish reads, whatever computes in which precision."""
    reach = _reach(graph, graph.producers[name], dict.fromkeys(graph.producers, Precision.INT8))
    return None if reach is None or reach.gate else reach


def _reach(graph: Graph, node: Node, precisions: Mapping[str, Precision]) -> Reach | None:
    operation = node.operation
    if not isinstance(operation, (Conv, Dense)) or precisions.get(node.name) is not Precision.INT8:
        return None
    if operation.activation not in (None, Activation.RELU, Activation.RELU6):
        return None
    gate = _added(split_gate(graph, node.name))
    start = _product(graph, node, gate) if gate else node.name
    found = _readers(graph, start, precisions)
    if found is None or node.name in graph.outputs.values():
        return None
    values, readers = found
    return Reach(values=tuple(dict.fromkeys((node.name, *values))), readers=tuple(readers), gate=gate)


def _added(gate: Node | None) -> Node | None:
    """The gate, if an addition makes it; one that is a convolution already is a reader like any other."""
    return gate if gate is not None and isinstance(gate.operation, ScaleShift) else None


def _product(graph: Graph, node: Node, gate: Node) -> str:
    (product,) = [reader for reader in graph.consumers[node.name] if reader is not gate]
    return product.name


Found = tuple[list[str], list[Reader]]


def _readers(
    graph: Graph, value: str, precisions: Mapping[str, Precision], *, share: float = 1.0, stored: bool = False
) -> Found | None:
    if value in graph.outputs.values():
        return None
    values, readers = [value], []
    for reader in graph.consumers[value]:
        operation = reader.operation
        if reader.name not in precisions:
            return None
        if isinstance(operation, (Conv, Dense)):
            readers.append(Reader(node=reader, value=value, share=share, stored=stored))
            continue
        if not _passes_on(graph, reader, value):
            return None
        averaged = share / _positions(graph, value) if isinstance(operation, GlobalPool) else share
        again = stored or not shares_scale(operation)
        further = _readers(graph, reader.name, precisions, share=averaged, stored=again)
        if further is None:
            return None
        values += further[0]
        readers += further[1]
    return (values, readers) if len({reader.node.name for reader in readers}) == len(readers) else None


def _passes_on(graph: Graph, reader: Node, value: str) -> bool:
    """Whether the reader's channels are the value's times something that does not depend on its scale."""
    operation = reader.operation
    if isinstance(operation, Reshape):
        return graph.shapes[value][1:3] == (1, 1) and reader.shape[-1] == graph.shapes[value][-1]
    if isinstance(operation, Multiply):
        other = [each for each in reader.inputs if each != value]
        return len(other) == 1 and reader.shape == graph.shapes[value] and _behind_linear(graph, other[0])
    return isinstance(operation, (GlobalPool, Pool, Pad))


def _behind_linear(graph: Graph, value: str) -> bool:
    """Whether a linear node stands before the factor: then it undoes the scale of all that it reads."""
    node = graph.producers.get(value)
    while node is not None and not isinstance(node.operation, (Conv, Dense)):
        if len(node.inputs) != 1:
            return False
        node = graph.producers.get(node.inputs[0])
    return node is not None


def _positions(graph: Graph, value: str) -> int:
    return int(np.prod([axis or 1 for axis in graph.shapes[value][1:-1]]))


def _factors(graph: Graph, node: Node, reach: Reach, seen: Mapping[str, Observed]) -> Factors | None:
    """The factors with the least noise, or None if leaving the channels alone is as good."""
    here = seen[node.name]
    lowest, highest = useful_range(graph, node.name, here)
    low = np.clip(here.low, lowest, highest).astype(np.float64)
    high = np.clip(here.high, lowest, highest).astype(np.float64)
    if not max(-low.min(), high.max()) > 0:
        return None
    trials = _trials(low, high)
    readers = [(Weights.of(reader.node), reader.share, _again(reader, seen)) for reader in reach.readers]
    noises = [_noise(readers, factors, low, high, here.power) for factors in trials]
    best = int(np.argmin(noises))
    wanted = WORTH if reach.gate else 1.0
    return trials[best] if noises[best] < wanted * noises[0] else None


def _trials(low: Factors, high: Factors) -> list[Factors]:
    """Factors that bring channels towards the largest positive and (a multiple of) the largest negative number."""
    trials = [np.ones(len(low))]
    for depth in DEPTHS:
        above = high.max() / np.maximum(high, high.max() / LARGEST_FACTOR) if high.max() > 0 else np.inf
        below = depth * low.min() / np.minimum(low, low.min() / LARGEST_FACTOR) if low.min() < 0 else np.inf
        full = np.clip(np.minimum(above, below), 1.0, LARGEST_FACTOR)
        trials += [full**alpha for alpha in ALPHAS]
        if not low.min() < 0:
            break
    return trials


Heard = tuple["Weights", float, Factors | None]  # a reader, its share, and the range of what is rounded again


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A reader's weights, summed up over taps: ``(groups, input channels of a group, output channels of a group)``."""

    squares: Factors
    largest: Factors
    used: Factors  # how many are not zero

    @classmethod
    def of(cls, reader: Node) -> Weights:
        """Those of a convolution or dense layer."""
        operation = reader.operation
        assert isinstance(operation, (Conv, Dense))
        groups = operation.groups if isinstance(operation, Conv) else 1
        inside, out = operation.kernel.shape[-2:]
        taps = operation.kernel.reshape(-1, inside, groups, out // groups).transpose(2, 0, 1, 3)
        return cls(
            squares=np.square(taps).sum(axis=1, dtype=np.float64),
            largest=np.abs(taps).max(axis=1).astype(np.float64),
            used=(taps != 0).sum(axis=1).astype(np.float64),
        )


def _noise(readers: Sequence[Heard], factors: Factors, low: Factors, high: Factors, power: Factors) -> float:
    """The mean inverse signal-to-noise ratio at the readers' outputs, activations' and weights' rounding together."""
    step = _step(low * factors, high * factors)
    total = 0.0
    for weights, share, again in readers:
        shape = (len(weights.squares), 1, -1)
        scale, energy = factors.reshape(shape), power.reshape(shape)
        steps = (weights.largest / scale.transpose(0, 2, 1)).max(axis=1, keepdims=True) / 127
        signal = energy @ weights.squares
        own = 0.0 if again is None else _step(again[0] * factors, again[1] * factors)
        values = (share * step**2 + own**2) * (np.square(1 / scale) @ weights.squares)
        rounding = ((energy * np.square(scale)) @ weights.used) * np.square(steps)
        total += float(((values + rounding) / np.maximum(signal, 1e-30)).mean())
    return total


def _step(low: Factors, high: Factors) -> float:
    return (max(0.0, float(high.max())) - min(0.0, float(low.min()))) / 255


def _again(reader: Reader, seen: Mapping[str, Observed]) -> Factors | None:
    """The range, per channel, of what the reader reads, if that is rounded again; lowest and highest in two rows."""
    if not reader.stored or reader.value not in seen:
        return None
    return np.stack([seen[reader.value].low, seen[reader.value].high]).astype(np.float64)


def _applied(graph: Graph, node: Node, reach: Reach, factors: Factors) -> Graph:
    single: Array = factors.astype(np.float32)
    inverse: Array = np.float32(1) / single
    changed = {node.name: _scaled_maker(node, single)}
    changed |= {reader.node.name: _scaled_reader(reader.node, inverse) for reader in reach.readers}
    if reach.gate:
        changed[reach.gate.name] = _gate_conv(reach.gate, inverse)
    return replace(graph, nodes=tuple(changed.get(each.name, each) for each in graph))


def _scaled_maker(node: Node, factors: Array) -> Node:
    operation = node.operation
    assert isinstance(operation, (Conv, Dense))
    bias = None if operation.bias is None else operation.bias * factors
    return replace(node, operation=replace(operation, kernel=operation.kernel * factors, bias=bias))


def _scaled_reader(node: Node, factors: Array) -> Node:
    operation = node.operation
    if isinstance(operation, Dense):
        return replace(node, operation=replace(operation, kernel=operation.kernel * factors[:, np.newaxis]))
    assert isinstance(operation, Conv)
    inside, out = operation.kernel.shape[2:]
    groups = np.arange(out) // (out // operation.groups)
    each = factors[groups[np.newaxis, :] * inside + np.arange(inside)[:, np.newaxis]]
    return replace(node, operation=replace(operation, kernel=operation.kernel * each))


def _gate_conv(gate: Node, factors: Array) -> Node:
    """``u + 1/2`` from ``s u``: a depthwise convolution of one tap, instead of an addition."""
    operation = gate.operation
    assert isinstance(operation, ScaleShift)
    channels = len(factors)
    kernel = factors.reshape(1, 1, 1, channels)
    return replace(gate, operation=Conv(kernel=kernel, bias=operation.offset, groups=channels))


def _rescale(seen: dict[str, Observed], node: Node, reach: Reach, factors: Factors) -> None:
    if reach.gate:  # below -1/2, before scaling, the gate is closed
        seen[node.name] = replace(seen[node.name], low=np.maximum(seen[node.name].low, np.float32(-0.5)))
    for value in reach.values:
        if value in seen:
            seen[value] = seen[value].scaled(factors)
