"""From what was observed to scales: which reals the 256 numbers of a value stand for.

The range of a value is the one with the least mean squared error over its histogram: rounding costs
``scale^2 / 12`` everywhere, clipping costs what lies outside. Values that share a scale are judged together. What a
silu reads is judged by what it makes (`silu`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import HIGHEST, LOWEST, PROBABILITY, Affine, Precision, shares_scale
from kexport.quantization.scales import silu
from kexport.quantization.scales.bounds import clips_to_unit, is_sigmoid, split_product, useful_range, within_unit
from kexport.quantization.scales.legal import legal
from kexport.quantization.scales.ties import without_ties

STEPS = 255
BINS = 2048
SHRINKS = np.linspace(1.0, 0.3, 36)
FURTHER = 12  # ends beyond what was seen
WIDTHS = np.linspace(1.0, 1.05, 51)
MOST_DISTINCT, OFTEN = 1024, 8  # of a lattice, and how often each number occurs on average at least
SMALLEST_RANGE = 1e-6
UNIT = Affine(scale=float(np.float32(1 / 255)), zero_point=LOWEST)  # [0, 1] exactly
FIXED = (PROBABILITY, UNIT)
Real = npt.NDArray[np.float64]


class Histogram(NamedTuple):
    """Centres and counts of bins."""

    centres: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]


def choose(
    graph: Graph,
    precisions: Mapping[str, Precision],
    observed: Mapping[str, Observed],
    *,
    search: bool = True,
    extremes: Collection[str] = (),
) -> dict[str, Affine]:
    """The `Affine` of every value that an int8 node reads or makes.

    ``search`` False takes the extremes; the values ``extremes``, and what shares a scale with them, have them anyway.
    """
    chosen: dict[str, Affine] = {}
    free = []
    for group in groups(graph, precisions):
        fixed = _fixed(graph, group)
        fits = search and not any(name in extremes for name in group)
        chosen |= dict.fromkeys(group, fixed or _fitted(graph, group, observed, search=fits))
        free += [] if fixed else [group]
    return without_ties(graph, precisions, legal(graph, precisions, chosen, free), free)


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
    return UNIT if any(clips_to_unit(operation) for operation in made) else None


def _fitted(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed], *, search: bool) -> Affine:
    """What was seen bounds a range, and where channels are equalised, what held-out images would have been."""
    lowest, highest = _ends(graph, group, observed)
    if lowest == highest:
        return affine(0.0, max(_unseen(observed[name]) for name in group))
    if not search:
        return affine(lowest, highest)
    at_silu = _at_silu(graph, group, observed)
    if at_silu is not None:
        return at_silu
    lattice = _lattice(group, observed)
    if lattice is not None:
        wider = [affine(lowest * width, highest * width) for width in WIDTHS]
        return wider[int(np.argmin([_lattice_error(lattice, trial) for trial in wider]))]
    others = {name: observed[name].held_out() for name in group}
    least, most = _ends(graph, group, others)
    tried = np.meshgrid(_shrunk(lowest, least), _shrunk(highest, most), indexing="ij")
    ends = np.stack(tried).reshape(2, -1)
    weights = {name: observed[name].heard() for name in group}
    histogram = _together(graph, others, weights, (least, most))
    low, high = ends[:, int(np.argmin(_errors(histogram, *_affines(*ends))))]
    return affine(low, high)


def _at_silu(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed]) -> Affine | None:
    """For a value that a silu alone reads: what makes the least error of its product."""
    judge = silu.judge(graph, group[0], observed) if len(group) == 1 else None
    if judge is None:
        return None
    tried = [affine(low, high) for low, high in judge.ends]
    return tried[int(np.argmin([judge.error(trial) for trial in tried]))]


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


def _shrunk(end: float, beyond: float) -> npt.NDArray[np.float64]:
    """The ends that are tried: parts of what was seen, and from there to what lies ``beyond``."""
    if not end:
        return np.zeros(1)
    further = np.geomspace(end, beyond, FURTHER)[1:] if abs(beyond) > abs(end) else np.empty(0)
    return np.concatenate([end * SHRINKS, further])


def _ends(graph: Graph, group: Sequence[str], observed: Mapping[str, Observed]) -> tuple[float, float]:
    limits = [useful_range(graph, name, observed[name]) for name in group]
    return min(0.0, *(low for low, _ in limits)), max(0.0, *(high for _, high in limits))


def _together(
    graph: Graph, observed: Mapping[str, Observed], weights: Mapping[str, Real], ends: tuple[float, float]
) -> Histogram:
    """Every value of the group weighs the same, but for what of a sample's error is heard."""
    lowest, highest = ends[0], max(ends[1], ends[0] + SMALLEST_RANGE)
    counts = np.zeros(BINS)
    for name, each in observed.items():
        cut = np.clip(each.samples.reshape(-1), *useful_range(graph, name, each))
        heard = weights[name].reshape(-1)
        counts += np.histogram(cut, BINS, (lowest, highest), weights=heard)[0] / len(cut)
    edges = np.linspace(lowest, highest, BINS + 1)
    return Histogram((edges[1:] + edges[:-1]) / 2, counts)


def _unseen(observed: Observed) -> float:
    """The upper end for a value that was always zero: as far as what its activation cut off lies below."""
    return float(np.abs(observed.linear).max()) or 1.0


def affine(low: float, high: float) -> Affine:
    """The `Affine` that covers ``[low, high]`` and holds zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < SMALLEST_RANGE:
        high = low + SMALLEST_RANGE
    scale = float(np.float32((high - low) / STEPS))
    return Affine(scale=scale, zero_point=int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST)))


def _affines(low: Real, high: Real) -> tuple[Real, Real]:
    """Scales and zero points of `affine`, of many ranges that hold zero at once."""
    high = np.where(high - low < SMALLEST_RANGE, low + SMALLEST_RANGE, high)
    scales = ((high - low) / STEPS).astype(np.float32).astype(np.float64)
    return scales, np.clip(np.rint(LOWEST - low / scales), LOWEST, HIGHEST)


def _errors(histogram: Histogram, steps: Real, zero_points: Real) -> Real:
    """The mean squared error of every trial, from running sums of the histogram's moments."""
    centres, counts = histogram
    none, first, second = (np.append(0.0, np.cumsum(counts * centres**power)) for power in (0, 1, 2))
    low, high = steps * (LOWEST - zero_points), steps * (HIGHEST - zero_points)
    begin, end = np.searchsorted(centres, low, "left"), np.searchsorted(centres, high, "right")
    below = second[begin] - 2 * low * first[begin] + np.square(low) * none[begin]
    above = (second[-1] - second[end]) - 2 * high * (first[-1] - first[end]) + np.square(high) * (none[-1] - none[end])
    errors: Real = below + above + (none[end] - none[begin]) * np.square(steps) / 12
    return errors
