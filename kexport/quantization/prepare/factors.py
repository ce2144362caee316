"""The factors with which the readers of a value hear least noise: the trials, and what each of them costs.

Rounding of the value and of the readers' weights counts: factors that suit one may hurt the other.

Factors bring every channel just to where the range ends, on the images that they are made from; of what other images
make, a little of many channels lies beyond. So each factor is also made without the images of a fold, and their numbers
are held against the range at that one (`Observed.stretch`), as far as readers hear what is cut: they would have undone
the larger factor, too. (Trained MobileNetV3Small on a third of a hundred photographs: `parity/older-cpu.md`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.prepare.reach import Reach, Reader
from kexport.quantization.scales.bounds import useful_range
from kexport.quantization.scales.silu import FLAT

Factors = npt.NDArray[np.float64]
ALPHAS = (0.25, 0.5, 0.75, 1.0)
DEPTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
Trial = tuple[float, float]
TRIALS: tuple[Trial, ...] = ((1.0, 0.0), *((depth, alpha) for depth in DEPTHS for alpha in ALPHAS))
LARGEST_FACTOR = 64.0
MOST_STRETCH = 4.0  # a channel that few images show must not take the range from all others
WORTH = 0.7  # of the noise: what an equalised hard swish, which costs more time, has to come down to
DROWNED = 0.03  # of the signal: what an equalised silu, which costs more time still, has to bring back
ROUNDING = 12.0  # a step's square by the noise of rounding to it


class Chosen(NamedTuple):
    """Factors, (C,), and how much larger those are that are made without the images of a fold, (folds, C)."""

    factors: Factors
    stretch: Factors | None


def least_noise(graph: Graph, node: Node, reach: Reach, seen: Mapping[str, Observed]) -> Chosen | None:
    """The factors with the least noise, or None if leaving the channels alone is as good."""
    here = seen[node.name]
    lowest, highest = useful_range(graph, node.name, here)
    lows = np.clip(here.lows, lowest, highest).astype(np.float64)
    highs = np.clip(here.highs, lowest, highest).astype(np.float64)
    if not max(-lows.min(), highs.max()) > 0:
        return None
    power, cost = here.power, noise_of
    if reach.silu:
        lows, power, cost = np.maximum(lows, FLAT), seen[reach.silu.product.name].power, lost_of
    low, high = lows.min(axis=0), highs.max(axis=0)
    readers = [(Weights.of(reader.node), reader.share, _again(reader, seen)) for reader in reach.readers]
    trials = TRIALS if low.min() < 0 else TRIALS[: 1 + len(ALPHAS)]
    costs = [cost(readers, _factors(low, high, *trial), low, high, power) for trial in trials]
    best = int(np.argmin(costs))
    if not _pays(reach, costs[0], costs[best]):
        return None
    factors = _factors(low, high, *trials[best])
    return Chosen(factors, _stretch(lows, highs, factors, trials[best]))


def _stretch(lows: Factors, highs: Factors, factors: Factors, trial: Trial) -> Factors | None:
    """By fold, as `Chosen` has it; None where there is one image."""
    folds = range(len(lows))
    if len(folds) < 2:
        return None
    rest = [[other for other in folds if other != fold] for fold in folds]
    without = [_factors(lows[others].min(axis=0), highs[others].max(axis=0), *trial) for others in rest]
    stretch: Factors = np.clip(np.stack(without) / factors, 1.0, MOST_STRETCH)
    return stretch


def _pays(reach: Reach, before: float, after: float) -> bool:
    """Whether the factors are worth the time that they cost."""
    if reach.silu:
        return before - after > DROWNED
    return after < (WORTH if reach.gate else 1.0) * before


def _factors(low: Factors, high: Factors, depth: float, alpha: float) -> Factors:
    """Those that bring channels towards the largest positive and ``depth`` times the largest negative number."""
    above = high.max() / np.maximum(high, high.max() / LARGEST_FACTOR) if high.max() > 0 else np.inf
    below = depth * low.min() / np.minimum(low, low.min() / LARGEST_FACTOR) if low.min() < 0 else np.inf
    full: Factors = np.clip(np.minimum(above, below), 1.0, LARGEST_FACTOR) ** alpha
    return np.broadcast_to(full, low.shape)


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
    """The mean of `noises` over channels, all readers together."""
    return sum(float(each.mean()) for each in noises(readers, factors, low, high, power))


def lost_of(readers: Sequence[Heard], factors: Factors, low: Factors, high: Factors, power: Factors) -> float:
    """The part of the channels' signal that noise drowns: a channel of noise alone is lost, and no more than that."""
    ratios = [each / ROUNDING for each in noises(readers, factors, low, high, power)]
    return float(np.mean([(ratio / (1 + ratio)).mean() for ratio in ratios]))


def noises(
    readers: Sequence[Heard], factors: Factors, low: Factors, high: Factors, power: Factors
) -> Iterator[Factors]:
    """By reader, the inverse signal-to-noise ratio of its channels, activations' and weights' rounding together.

    The noise of a rounding counts as the square of its step, which is `ROUNDING` times as much.
    """
    step = _step(low * factors, high * factors)
    for weights, share, again in readers:
        shape = (len(weights.squares), 1, -1)
        scale, energy = factors.reshape(shape), power.reshape(shape)
        steps = (weights.largest / scale.transpose(0, 2, 1)).max(axis=1, keepdims=True) / 127
        signal = energy @ weights.squares
        own = 0.0 if again is None else _step(again[0] * factors, again[1] * factors)
        values = (share * step**2 + own**2) * (np.square(1 / scale) @ weights.squares)
        rounding = ((energy * np.square(scale)) @ weights.used) * np.square(steps)
        yield (values + rounding) / np.maximum(signal, 1e-30)


def _step(low: Factors, high: Factors) -> float:
    return (max(0.0, float(high.max())) - min(0.0, float(low.min()))) / 255


def _again(reader: Reader, seen: Mapping[str, Observed]) -> Factors | None:
    """The range, per channel, of what the reader reads, if that is rounded again; lowest and highest in two rows."""
    if not reader.stored or reader.value not in seen:
        return None
    return np.stack([seen[reader.value].low, seen[reader.value].high]).astype(np.float64)
