"""The factors with which the readers of a value hear least noise: the trials, and what each of them costs.

Rounding of the value and of the readers' weights counts: factors that suit one may hurt the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.prepare.reach import Reach, Reader
from kexport.quantization.scales.bounds import useful_range

Factors = npt.NDArray[np.float64]
ALPHAS = (0.25, 0.5, 0.75, 1.0)
DEPTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
LARGEST_FACTOR = 64.0
WORTH = 0.7  # of the noise: what an equalised hard swish, which costs more time, has to come down to


def least_noise(graph: Graph, node: Node, reach: Reach, seen: Mapping[str, Observed]) -> Factors | None:
    """The factors with the least noise, or None if leaving the channels alone is as good."""
    here = seen[node.name]
    lowest, highest = useful_range(graph, node.name, here)
    low = np.clip(here.low, lowest, highest).astype(np.float64)
    high = np.clip(here.high, lowest, highest).astype(np.float64)
    if not max(-low.min(), high.max()) > 0:
        return None
    trials = _trials(low, high)
    readers = [(Weights.of(reader.node), reader.share, _again(reader, seen)) for reader in reach.readers]
    noises = [noise_of(readers, factors, low, high, here.power) for factors in trials]
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


def noise_of(readers: Sequence[Heard], factors: Factors, low: Factors, high: Factors, power: Factors) -> float:
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
