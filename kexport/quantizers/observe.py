"""What flows through the float network on the calibration images, in bounded memory.

Two passes: the first finds the extremes and means of every channel, the second fills histograms between the
extremes. Only statistics are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError
from kexport.graph import Graph, Node
from kexport.operations import Activate, Conv, Dense
from kexport.quantizers import Array, Batches, Compile

BINS = 2048
MOST_COUNTED = 1 << 18  # numbers of one value and batch that its histogram counts, evenly spread
LINEAR = ":linear"


@dataclass(kw_only=True, eq=False)
class Observed:
    """One value over all calibration images.

    ``low``, ``high``, ``total`` and ``squares`` (sums) are ``(C,)``, per channel; ``counts`` is a histogram of all
    channels over `extremes`, filled by the second pass.
    """

    low: Array
    high: Array
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    seen: int = 0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean of every channel."""
        return self.total / self.seen

    @property
    def power(self) -> npt.NDArray[np.float64]:
        """The mean square of every channel."""
        return self.squares / self.seen

    def scaled(self, factors: npt.NDArray[np.floating]) -> Observed:
        """What would have been seen with every channel times its positive factor; without histogram."""
        single = np.asarray(factors, np.float32)
        return Observed(
            low=self.low * single,
            high=self.high * single,
            total=self.total * factors,
            squares=self.squares * np.square(factors, dtype=np.float64),
            seen=self.seen,
        )

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest number seen."""
        return float(self.low.min()), float(self.high.max())

    def add(self, rows: Array) -> None:
        """Count more numbers, ``(n, C)``, into extremes and mean."""
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)
        self.total += rows.sum(axis=0, dtype=np.float64)
        self.squares += np.einsum("nc,nc->c", rows, rows, dtype=np.float64)
        self.seen += len(rows)

    def count(self, numbers: Array) -> None:
        """Count more numbers into the histogram."""
        low, high = self.extremes
        if high > low:
            few = numbers[:: max(1, len(numbers) // MOST_COUNTED)]
            places = ((few - low) * (BINS / (high - low))).astype(np.int32)
            self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)


def observe(graph: Graph, batches: Batches, compile_: Compile, *, values: Collection[str]) -> dict[str, Observed]:
    """Statistics of ``values``, and of what linear nodes make before activation, as ``<name>:linear``.

    Histograms are still empty. Raises GraphError if a value is not finite: int8 cannot hold what float cannot.
    """
    unfused = apart(graph)
    found: dict[str, Observed] = {}
    for name, array in _made(unfused, batches, compile_, (*values, *_linear(unfused))):
        rows = array.reshape(-1, array.shape[-1])
        if not np.isfinite(rows).all():
            raise GraphError(f"value {name!r} is not finite on the calibration images")
        found.setdefault(name, _nothing(rows.shape[-1])).add(rows)
    return found


def count(graph: Graph, batches: Batches, compile_: Compile, observed: Mapping[str, Observed]) -> None:
    """Fill the histograms of what was observed."""
    for name, array in _made(graph, batches, compile_, observed):
        observed[name].count(array.reshape(-1))


def _made(graph: Graph, batches: Batches, compile_: Compile, values: Collection[str]) -> Iterator[tuple[str, Array]]:
    run = compile_(with_taps(graph, values))
    for feeds in batches():
        yield from run(feeds).items()
        yield from ((name, np.asarray(array, np.float32)) for name, array in feeds.items() if name in values)


def _nothing(channels: int) -> Observed:
    return Observed(
        low=np.full(channels, np.inf, np.float32),
        high=np.full(channels, -np.inf, np.float32),
        total=np.zeros(channels, np.float64),
        squares=np.zeros(channels, np.float64),
    )


def apart(graph: Graph) -> Graph:
    """The graph with every fused activation of a linear operation as a node of its own."""
    return replace(graph, nodes=tuple(new for node in graph for new in _apart(node)))


def _apart(node: Node) -> tuple[Node, ...]:
    operation = node.operation
    if not isinstance(operation, (Conv, Dense)) or operation.activation is None:
        return (node,)
    linear = replace(node, name=f"{node.name}{LINEAR}", operation=replace(operation, activation=None))
    return linear, replace(node, operation=Activate(function=operation.activation), inputs=(linear.name,))


def with_taps(graph: Graph, values: Collection[str]) -> Graph:
    """The graph with ``values`` as its outputs, under their own names; its inputs are left out."""
    wanted = [name for name in values if name in graph.producers]
    return replace(graph, outputs={name: name for name in dict.fromkeys(wanted)})


def _linear(graph: Graph) -> list[str]:
    return [node.name for node in graph if isinstance(node.operation, (Conv, Dense))]
