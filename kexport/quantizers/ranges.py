"""From what was observed to scales: which reals the 256 numbers of a value stand for.

The range of a value is the one with the least mean squared error over its histogram: rounding costs
``scale^2 / 12`` everywhere, clipping costs what lies outside. Values that share a scale are judged together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    Multiply,
    Operation,
    Pad,
    Pool,
    Reshape,
    ScaleShift,
)
from kexport.quantization import (
    HIGHEST,
    KERNEL_LARGEST,
    LOWEST,
    PROBABILITY,
    Affine,
    Precision,
    bounds_of,
    shares_scale,
)
from kexport.quantizers.observe import Observed

STEPS = 255
BINS = 2048
SHRINKS = np.linspace(1.0, 0.3, 36)
WIDTHS = np.linspace(1.0, 1.05, 51)
MOST_DISTINCT, OFTEN = 1024, 8  # of a lattice, and how often each number occurs on average at least
SMALLEST_RANGE = 1e-6
MOST_STEPS = 2.0**6  # of an output that one step of what makes it may be
LEAST_OF_SUM, LEAST_OF_PRODUCT = 2.0**-9, 2.0**-15  # of an output's step that an input's, or their product, must be
ROUNDS = 8
MOVES = (Concat, Crop, Pad, Pool, Reshape)
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
    together = groups(graph, precisions)
    for group in together:
        affine = _fixed(graph, group) or _fitted(graph, group, observed, search=search)
        chosen |= dict.fromkeys(group, affine)
    return legal(graph, precisions, chosen, together)


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
    """A sigmoid's scale is LiteRT's; what is clipped to [0, 1] uses just that, unless it shares with wider values."""
    if not within_unit(graph, group):
        return None
    made = [graph.producers[name].operation for name in group if name in graph.producers]
    if any(is_sigmoid(operation) for operation in made):
        return PROBABILITY
    return UNIT if any(_clips_to_unit(operation) for operation in made) else None


def within_unit(graph: Graph, group: Sequence[str]) -> bool:
    """Whether all that the values have to tell apart lies in [0, 1]; what only moves numbers adds nothing."""
    for name in group:
        node = graph.producers.get(name)
        if node is not None and isinstance(node.operation, MOVES):
            continue
        least, most = _told_apart(graph, name)
        if not (least >= 0.0 and most <= 1.0):
            return False
    return True


def is_sigmoid(operation: Operation) -> bool:
    """Whether it is a sigmoid, whose int8 scale runtimes fix."""
    return isinstance(operation, Activate) and operation.function is Activation.SIGMOID


def _clips_to_unit(operation: Operation) -> bool:
    return isinstance(operation, Clip) and (operation.minimum, operation.maximum) == (0, 1)


def _fitted(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed], *, search: bool) -> Affine:
    histogram, lowest, highest = _together(graph, group, observed)
    if lowest == highest:
        return affine(0.0, max(_unseen(observed[name]) for name in group))
    if not search:
        return affine(lowest, highest)
    lattice = _lattice(group, observed)
    if lattice is not None:
        wider = [affine(lowest * width, highest * width) for width in WIDTHS]
        return wider[int(np.argmin([_lattice_error(lattice, trial) for trial in wider]))]
    trials = [affine(low, high) for low in _shrunk(lowest) for high in _shrunk(highest)]
    return trials[int(np.argmin(_errors(histogram, trials)))]


def _lattice(group: Sequence[str], observed: Mapping[str, Observed]) -> Histogram | None:
    """The distinct numbers and their counts, if they are few: pixels are 256 in each channel, whatever scales them."""
    numbers = np.concatenate([observed[name].samples.reshape(-1) for name in group])
    distinct, counts = np.unique(numbers, return_counts=True)
    few = 1 < len(distinct) <= min(MOST_DISTINCT, len(numbers) // OFTEN)
    return Histogram(distinct.astype(np.float64), counts.astype(np.float64)) if few else None


def _lattice_error(lattice: Histogram, trial: Affine) -> float:
    """The mean squared error that rounding really makes.

    It is not spread evenly: pixels scaled to [-1, 1] lie all halfway between two numbers if 255 steps cover just
    that, and the last bit of a float then decides how each is rounded.
    """
    numbers = np.clip(np.rint(lattice.centres / trial.scale) + trial.zero_point, LOWEST, HIGHEST)
    errors = (numbers - trial.zero_point) * trial.scale - lattice.centres
    return float((lattice.counts * np.square(errors)).sum())


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
    least, most = _told_apart(graph, name)
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


def _told_apart(graph: Graph, name: str) -> tuple[float, float]:
    """Between which reals the value's own activation, and all its readers together, make a difference."""
    node = graph.producers.get(name)
    least, most = bounds_of(node.operation) if node else (-np.inf, np.inf)
    if node is not None and is_sigmoid(node.operation):
        most = 1.0
    gate = split_gate(graph, name)
    if gate is not None and isinstance(gate.operation, ScaleShift):
        least = max(least, -0.5)
    read = [bounds_of(reader.operation) for reader in graph.consumers[name] if shares_scale(reader.operation)]
    if name in graph.outputs.values() or not read or len(read) < len(graph.consumers[name]):
        return least, most
    return max(least, min(low for low, _ in read)), min(most, max(high for _, high in read))


def _unseen(observed: Observed) -> float:
    """The upper end for a value that was always zero: as far as what its activation cut off lies below."""
    return float(np.abs(observed.linear).max()) or 1.0


def split_gate(graph: Graph, name: str) -> Node | None:
    """If the value is the u of a split hard swish, ``6 u * clip(u + 1/2, 0, 1)``: the node that makes the sum.

    Below -1/2 the gate is closed, so that nothing below has to be stored. After equalisation a depthwise convolution
    of one tap makes the sum.
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
    if len(readers) != 2 or len(products) != 1 or name in graph.outputs.values():
        return None
    clip = graph.producers.get(products[0].inputs[1])
    if clip is None or not _clips_to_unit(clip.operation) or graph.only_reader(clip.name) is None:
        return None
    line = graph.producers.get(clip.inputs[0])
    if line is None or line.inputs != (name,) or graph.only_reader(line.name) is None:
        return None
    return products[0] if _adds_half(line.operation) else None


def _adds_half(operation: Operation) -> bool:
    """Whether it is ``x + 1/2``, or ``s x + 1/2`` channel by channel."""
    half = np.float32(0.5)
    if isinstance(operation, ScaleShift):
        return bool(np.all(operation.scale == 1.0) and np.all(operation.offset == half))
    if not isinstance(operation, Conv) or operation.bias is None or operation.activation is not None:
        return False
    one_tap = operation.kernel.shape[:3] == (1, 1, 1) and operation.groups == operation.kernel.shape[3]
    return one_tap and operation.strides == (1, 1) and bool(np.all(operation.bias == half))


def affine(low: float, high: float) -> Affine:
    """The `Affine` that covers ``[low, high]`` and holds zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < SMALLEST_RANGE:
        high = low + SMALLEST_RANGE
    scale = float(np.float32((high - low) / STEPS))
    return Affine(scale=scale, zero_point=int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST)))


def _errors(histogram: Histogram, trials: Sequence[Affine]) -> npt.NDArray[np.float64]:
    """The mean squared error of every trial, from running sums of the histogram's moments."""
    centres, counts = histogram
    none, first, second = (np.append(0.0, np.cumsum(counts * centres**power)) for power in (0, 1, 2))
    low, high = np.array([trial.low for trial in trials]), np.array([trial.high for trial in trials])
    begin, end = np.searchsorted(centres, low, "left"), np.searchsorted(centres, high, "right")
    below = second[begin] - 2 * low * first[begin] + np.square(low) * none[begin]
    above = (second[-1] - second[end]) - 2 * high * (first[-1] - first[end]) + np.square(high) * (none[-1] - none[end])
    steps = np.array([trial.scale for trial in trials])
    errors: npt.NDArray[np.float64] = below + above + (none[end] - none[begin]) * np.square(steps) / 12
    return errors


def legal(
    graph: Graph, precisions: Mapping[str, Precision], chosen: Mapping[str, Affine], together: Sequence[tuple[str, ...]]
) -> dict[str, Affine]:
    """The scales, widened where a runtime could not compute with their ratios.

    Nothing is lost: a step was finer than what makes the value can tell apart, or than what its reader can.
    """
    result = dict(chosen)
    group_of = {name: group for group in together for name in group if not _fixed(graph, group)}
    for _ in range(ROUNDS):
        before = dict(result)
        for node in graph:
            if precisions.get(node.name) is not Precision.INT8:
                continue
            for value, least in _least_steps(node, result):
                if result[value].scale < least and value in group_of:
                    wide = replace(result[value], scale=float(np.float32(least)))
                    result |= dict.fromkeys(group_of[value], wide)
        if result == before:
            break
    return result


def _least_steps(node: Node, chosen: Mapping[str, Affine]) -> Iterator[tuple[str, float]]:
    """The finest scale of values that the node reads or makes: a factor of two inside `formats.tflite_limits`."""
    operation, made = node.operation, chosen[node.name].scale
    scales = [chosen[value].scale for value in node.inputs]
    if isinstance(operation, (Conv, Dense)):
        yield node.name, scales[0] * float(np.abs(operation.kernel).max()) / KERNEL_LARGEST / MOST_STEPS
    elif isinstance(operation, (Add, ScaleShift)):
        yield node.name, max(scales) / MOST_STEPS
        yield from ((value, made * LEAST_OF_SUM) for value in node.inputs)
    elif isinstance(operation, Multiply):
        yield node.name, scales[0] * scales[1] / MOST_STEPS
        yield from ((node.inputs[each], made * LEAST_OF_PRODUCT / scales[1 - each]) for each in (0, 1))
