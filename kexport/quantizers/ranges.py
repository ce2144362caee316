"""From what was observed to scales: which reals the 256 numbers of a value stand for.

The range of a value is the one with the least mean squared error over its histogram: rounding costs
``scale^2 / 12`` everywhere, clipping costs what lies outside. Values that share a scale are judged together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Clip, Conv, Multiply, ScaleShift
from kexport.quantization import HIGHEST, LOWEST, PROBABILITY, Affine, Precision, bounds_of, shares_scale
from kexport.quantizers.observe import Observed

STEPS = 255
BINS = 2048
SHRINKS = np.linspace(1.0, 0.3, 36)
SMALLEST_RANGE = 1e-6
UNIT = Affine(scale=float(np.float32(1 / 255)), zero_point=LOWEST)  # [0, 1] exactly


class Histogram(NamedTuple):
    """Centres and counts of bins."""

    centres: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]


def choose(
    graph: Graph, precisions: Mapping[str, Precision], observed: Mapping[str, Observed], *, search: bool = True
) -> dict[str, Affine]:
    """The `Affine` of every value that an int8 node reads or makes. ``search`` False takes the extremes."""
    chosen: dict[str, Affine] = {}
    for group in groups(graph, precisions):
        affine = _fixed(graph, group) or _fitted(graph, group, observed, search=search)
        chosen |= dict.fromkeys(group, affine)
    return chosen


def needed(graph: Graph, precisions: Mapping[str, Precision]) -> tuple[str, ...]:
    """The values that need an `Affine`: all that int8 nodes read or make, and the boundary for integer files."""
    borders = (*(spec.name for spec in graph.inputs), *graph.outputs.values())
    names = list(borders) + [
        name for node in graph if precisions.get(node.name) is Precision.INT8 for name in (*node.inputs, node.name)
    ]
    return tuple(dict.fromkeys(names))


def groups(graph: Graph, precisions: Mapping[str, Precision]) -> list[tuple[str, ...]]:
    """The needed values, those that must share a scale together."""
    leader = {name: name for name in needed(graph, precisions)}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph:
        if precisions.get(node.name) is Precision.INT8 and shares_scale(node.operation):
            for value in node.inputs:
                leader[find(value)] = find(node.name)
    for name in list(leader):
        product = split_product(graph, name)
        if product is not None and product.name in leader:
            leader[find(product.name)] = find(name)
    joined: dict[str, list[str]] = {}
    for name in leader:
        joined.setdefault(find(name), []).append(name)
    return [tuple(names) for names in joined.values()]


def _fixed(graph: Graph, group: Sequence[str]) -> Affine | None:
    """A sigmoid's scale is LiteRT's; what is clipped to [0, 1] uses just that."""
    made = [graph.producers[name].operation for name in group if name in graph.producers]
    if any(isinstance(operation, Activate) and operation.function is Activation.SIGMOID for operation in made):
        return PROBABILITY
    if any(isinstance(operation, Clip) and (operation.minimum, operation.maximum) == (0, 1) for operation in made):
        return UNIT
    return None


def _fitted(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed], *, search: bool) -> Affine:
    histogram, lowest, highest = _together(graph, group, observed)
    if not search:
        return affine(lowest, highest)
    best, least = (lowest, highest), np.inf
    for low in _shrunk(lowest):
        for high in _shrunk(highest):
            error = _error(histogram, affine(low, high))
            if error < least:
                best, least = (low, high), error
    return affine(*best)


def _shrunk(end: float) -> npt.NDArray[np.float64]:
    return end * SHRINKS if end else np.zeros(1)


def _together(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed]) -> tuple[Histogram, float, float]:
    """Every value of the group weighs the same."""
    limits = {name: useful_range(graph, name, observed[name]) for name in group}
    lowest = min(0.0, *(low for low, _ in limits.values()))
    highest = max(0.0, *(high for _, high in limits.values()))
    counts = np.zeros(BINS)
    for name, (low, high) in limits.items():
        cut = np.clip(observed[name].samples.reshape(-1), low, high)
        counts += np.histogram(cut, BINS, (lowest, max(highest, lowest + SMALLEST_RANGE)))[0] / len(cut)
    edges = np.linspace(lowest, max(highest, lowest + SMALLEST_RANGE), BINS + 1)
    return Histogram((edges[1:] + edges[:-1]) / 2, counts), lowest, highest


def useful_range(graph: Graph, name: str, observed: Observed) -> tuple[float, float]:
    """The observed range, cut to what the activation of the value's node, and its readers, can tell apart."""
    low, high = observed.extremes
    node = graph.producers.get(name)
    least, most = bounds_of(node.operation) if node else (-np.inf, np.inf)
    gate = split_gate(graph, name)
    if gate is not None and isinstance(gate.operation, ScaleShift):
        least = max(least, -0.5)
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


def split_gate(graph: Graph, name: str) -> Node | None:
    """If the value is the u of a split hard swish, ``6 u * clip(u + 1/2, 0, 1)``: the node that makes the sum.

    Below -1/2 the gate is closed, so that nothing below has to be stored.
    """
    product = split_product(graph, name)
    if product is None:
        return None
    clip = graph.producers[product.inputs[1]]
    return graph.producers[clip.inputs[0]]


def split_product(graph: Graph, name: str) -> Node | None:
    """The product of a split hard swish. It shares the scale of u: where the gate is one, nothing is rounded."""
    readers = graph.consumers.get(name, ())
    products = [node for node in readers if isinstance(node.operation, Multiply) and node.inputs[0] == name]
    if len(readers) != 2 or len(products) != 1:
        return None
    clip = graph.producers.get(products[0].inputs[1])
    if (
        clip is None
        or not isinstance(clip.operation, Clip)
        or (clip.operation.minimum, clip.operation.maximum) != (0, 1)
    ):
        return None
    line = graph.producers.get(clip.inputs[0])
    one_tap = line is not None and isinstance(line.operation, (ScaleShift, Conv))
    return products[0] if line is not None and one_tap and line.inputs == (name,) else None


def affine(low: float, high: float) -> Affine:
    """The `Affine` that covers ``[low, high]`` and holds zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < SMALLEST_RANGE:
        high = low + SMALLEST_RANGE
    scale = float(np.float32((high - low) / STEPS))
    return Affine(scale=scale, zero_point=int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST)))


def _error(histogram: Histogram, affine_: Affine) -> float:
    clipped = np.clip(histogram.centres, affine_.low, affine_.high) - histogram.centres
    inside = clipped == 0.0
    return float((histogram.counts * (np.square(clipped) + inside * affine_.scale**2 / 12)).sum())
