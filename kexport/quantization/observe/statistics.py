"""What flows through the float network on the calibration images, in bounded memory.

The network is run once over the images with statistics as its outputs: extremes, mean and mean square of every
channel, and a few positions of every image. So ONNX Runtime frees a value once its statistics are made, and what is
kept does not grow with the size of the images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import SourceError
from kexport.graph import Graph, Node
from kexport.operations import Activate, Conv, Dense, Multiply, Operation, Pool, PoolKind, Reduce, ReduceKind
from kexport.quantization import Array, Batches, Compile, Feeds

SAMPLED = 2048  # numbers of one value that are kept per image, about
FOLDS = 8  # of the images, at most: how each would be treated without its fold is asked of the others
LINEAR = ":linear"
_LOW, _HIGH, _MEAN, _POWER, _SAMPLE, _LINEAR = "low", "high", "mean", "power", "sample", "linear"


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """One value over all calibration images.

    ``mean`` and ``power`` (the mean square) are ``(C,)``, per channel; ``samples`` is ``(n, C)``, of every one of the
    ``images`` as many, in their order; ``linear`` is the mean before the fused activation of a linear node, the same as
    ``mean`` where there is none. ``lows`` and ``highs`` are extremes, ``(folds, C)``: image i belongs to fold i modulo
    their number (where an image has several rows, each of them counts as one). ``stretch``, ``(folds, C)``, is how many
    times larger a channel would have been made had the images of the fold not been seen.
    """

    lows: Array
    highs: Array
    mean: npt.NDArray[np.float64]
    power: npt.NDArray[np.float64]
    samples: Array
    linear: npt.NDArray[np.float64]
    images: int
    stretch: npt.NDArray[np.float64] | None = None

    @property
    def low(self) -> Array:
        """The smallest number of every channel, (C,)."""
        lowest: Array = self.lows.min(axis=0)
        return lowest

    @property
    def high(self) -> Array:
        """The largest number of every channel, (C,)."""
        highest: Array = self.highs.max(axis=0)
        return highest

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest number seen."""
        return float(self.low.min()), float(self.high.max())

    def scaled(self, factors: npt.NDArray[np.floating]) -> Observed:
        """What would have been seen with every channel times its positive factor."""
        single = np.asarray(factors, np.float32)
        return Observed(
            lows=self.lows * single,
            highs=self.highs * single,
            mean=self.mean * factors,
            power=self.power * np.square(factors, dtype=np.float64),
            samples=self.samples * single,
            linear=self.linear * factors,
            images=self.images,
            stretch=self.stretch,
        )

    def held_out(self) -> Observed:
        """The numbers of every image as they are where nothing was made to suit it: other images will be like that."""
        if self.stretch is None:
            return self
        each = self.stretch.astype(np.float32)
        return replace(
            self,
            lows=self.lows * each,
            highs=self.highs * each,
            samples=self.samples * each[self._folds()],
            stretch=None,
        )

    def heard(self) -> npt.NDArray[np.float64]:
        """What the error of a `held_out` sample weighs, as the samples: readers would have undone the stretch, too."""
        if self.stretch is None:
            return np.ones(self.samples.shape)
        weights: npt.NDArray[np.float64] = 1 / np.square(self.stretch[self._folds()])
        return weights

    def _folds(self) -> npt.NDArray[np.intp]:
        """Of every row of the samples."""
        return np.arange(len(self.samples)) // (len(self.samples) // self.images) % len(self.lows)


def observe(graph: Graph, batches: Batches, compile_: Compile, *, values: Collection[str]) -> dict[str, Observed]:
    """Statistics of ``values`` and of what linear nodes make.

    Raises SourceError if a value is not finite: int8 cannot hold what float cannot.
    """
    return observed(graph, batches, compile_, names=wanted(graph, values))[0]


def wanted(graph: Graph, values: Collection[str]) -> list[str]:
    """What `observe` looks at, in the order of the graph: an error names where it began."""
    asked = {*values, *_linear(graph)}
    return [name for name in graph.shapes if name in asked]


def observed(
    graph: Graph, batches: Batches, compile_: Compile, *, names: Sequence[str], shown: str | None = None
) -> tuple[dict[str, Observed], list[Array]]:
    """Statistics of the values ``names``, and what the network makes of ``shown``, batch by batch."""
    measured, read = _with_statistics(apart(graph), names)
    if shown is not None:
        measured = replace(measured, outputs={**measured.outputs, shown: shown})
    run = compile_(measured)
    rows: dict[str, dict[str, list[Array]]] = {name: {} for name in names}
    crossed: list[Array] = []
    for feeds in batches():
        made = run(feeds) if measured.outputs else {}
        crossed += [] if shown is None else [made[shown]]
        for name in names:
            for kind, array in _of(name, read, made, feeds):
                rows[name].setdefault(kind, []).append(array)
    return {name: _joined(name, kinds) for name, kinds in rows.items()}, crossed


def _with_statistics(graph: Graph, values: Collection[str]) -> tuple[Graph, dict[str, dict[str, str]]]:
    """The graph with nodes that make the statistics as its only outputs, and their names by value and kind.

    Each stands right behind what it looks at, so that a large value can go before the next one is there.
    """
    nodes: list[Node] = []
    names: dict[str, dict[str, str]] = {}
    asked = set(values)
    for node in graph.nodes:
        nodes.append(node)
        if node.name in asked:
            added = list(_statistics(graph, node))
            nodes += [extra for _, extra in added]
            names[node.name] = {kind: extra.name for kind, extra in added if kind} or _whole(graph, node.name)
    outputs = {name: name for value in values for name in names.get(value, {}).values()}
    return replace(graph, nodes=tuple(nodes), outputs=outputs), names


def _whole(graph: Graph, value: str) -> dict[str, str]:
    linear = f"{value}{LINEAR}"
    return {_SAMPLE: value} | ({_LINEAR: linear} if linear in graph.producers else {})


def _statistics(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Nodes by kind, for images; other values are small enough to be looked at whole."""
    if len(node.shape) != 4:
        return
    value, (batch, height, width, channels) = node.name, node.shape
    flat = (batch, channels)

    def make(kind: str, operation: Operation, inputs: tuple[str, ...], shape: tuple[int | None, ...]) -> Node:
        return Node(name=f"{value}:observed:{kind}", operation=operation, inputs=inputs, shape=shape)

    yield _LOW, make(_LOW, Reduce(kind=ReduceKind.MINIMUM, axes=(1, 2)), (value,), flat)
    yield _HIGH, make(_HIGH, Reduce(kind=ReduceKind.MAXIMUM, axes=(1, 2)), (value,), flat)
    yield _MEAN, make(_MEAN, Reduce(kind=ReduceKind.MEAN, axes=(1, 2)), (value,), flat)
    if f"{value}{LINEAR}" in graph.producers:
        yield _LINEAR, make(_LINEAR, Reduce(kind=ReduceKind.MEAN, axes=(1, 2)), (f"{value}{LINEAR}",), flat)
    square = make("square", Multiply(), (value, value), node.shape)
    yield "", square
    yield _POWER, make(_POWER, Reduce(kind=ReduceKind.MEAN, axes=(1, 2)), (square.name,), flat)
    step = max(1, round(((height or 1) * (width or 1) * (channels or 1) / SAMPLED) ** 0.5))
    few = Pool(kind=PoolKind.MAX, size=(1, 1), strides=(step, step))
    yield _SAMPLE, make(_SAMPLE, few, (value,), few.infer(node.shape))


def _of(
    name: str, read: Mapping[str, Mapping[str, str]], made: Mapping[str, Array], feeds: Feeds
) -> Iterator[tuple[str, Array]]:
    """The statistics of one value and batch by kind, each ``(n, C)``."""
    if name in read and _LOW in read[name]:
        yield from ((kind, made[key].reshape(-1, made[key].shape[-1])) for kind, key in read[name].items())
        return
    images = _by_image(made[name] if name in made else feeds[name])
    yield _LOW, images.min(axis=1)
    yield _HIGH, images.max(axis=1)
    yield _MEAN, images.mean(axis=1, dtype=np.float64)
    yield _POWER, np.square(images).mean(axis=1, dtype=np.float64)
    yield _SAMPLE, images[:, :: max(1, images[0].size // SAMPLED)].reshape(-1, images.shape[-1])
    if _LINEAR in read.get(name, {}):
        yield _LINEAR, _by_image(made[read[name][_LINEAR]]).mean(axis=1, dtype=np.float64)


def _by_image(value: npt.NDArray[Any]) -> Array:
    """``(images, positions, C)``; one number per image is one channel."""
    channels = value.shape[-1] if value.ndim > 1 else 1
    return np.asarray(value, np.float32).reshape(len(value), -1, channels)


def _joined(name: str, kinds: Mapping[str, list[Array]]) -> Observed:
    """Every image weighs the same, whatever batch it came in."""
    lows, highs = np.concatenate(kinds[_LOW]), np.concatenate(kinds[_HIGH])
    folds = min(FOLDS, len(lows))
    found = Observed(
        lows=np.stack([lows[fold::folds].min(axis=0) for fold in range(folds)]),
        highs=np.stack([highs[fold::folds].max(axis=0) for fold in range(folds)]),
        mean=np.concatenate(kinds[_MEAN]).mean(axis=0, dtype=np.float64),
        power=np.concatenate(kinds[_POWER]).mean(axis=0, dtype=np.float64),
        samples=np.concatenate(kinds[_SAMPLE]),
        linear=np.concatenate(kinds.get(_LINEAR, kinds[_MEAN])).mean(axis=0, dtype=np.float64),
        images=len(lows),
    )
    if not all(np.isfinite(each).all() for each in (found.low, found.high, found.power, found.linear)):
        raise SourceError(
            f"value {name!r} is not finite on the calibration images: [{found.low.min():g}, {found.high.max():g}]",
            hint="check the weights, and that the images are in the range that the network takes",
        )
    return found


def apart(graph: Graph) -> Graph:
    """The graph with every fused activation of a linear operation as a node of its own."""
    return replace(graph, nodes=tuple(new for node in graph for new in _apart(node)))


def _apart(node: Node) -> tuple[Node, ...]:
    operation = node.operation
    if not isinstance(operation, (Conv, Dense)) or operation.activation is None:
        return (node,)
    linear = replace(node, name=f"{node.name}{LINEAR}", operation=replace(operation, activation=None))
    return linear, replace(node, operation=Activate(function=operation.activation), inputs=(linear.name,))


def _linear(graph: Graph) -> list[str]:
    return [node.name for node in graph if isinstance(node.operation, (Conv, Dense))]
