"""Which values an input takes, from what its model does to them first (`kexport.sources.entry`).

Three ranges are tried: pixels in [0, 255], [0, 1] and [-1, 1]. One fits a step if the model's own layers bring it to
what networks compute with: about [0, 1], [-1, 1], normalised with a mean and a deviation, or pixels again, plain or
around zero. The last step that exactly one range fits decides. Where none does, a small factor or a large offset
means pixels, and the mean and the deviation of a Normalization layer are the range themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kexport.records import UNKNOWN
from kexport.sources.entry import Numbers, Step
from kexport.sources.scalings import SCALINGS, Scaling

RAW, UNIT, SIGNED = SCALINGS["raw"], SCALINGS["unit"], SCALINGS["tf"]
_CANDIDATES = (RAW, UNIT, SIGNED)
_SMALLEST_SCALE = 1 / 64  # a factor below it expects pixels: 255 becomes at most 4
_LARGEST_UNIT = 2.0  # a mean or deviation above it is that of pixels
_PIXELS = 255.0
_FEW = 4
_BGR_MEANS = np.array([103.7, 116.5, 123.7])  # of ImageNet, blue first; the modes differ by less than half
_BGR_SLACK = 0.6


@dataclass(frozen=True, kw_only=True)
class Found:
    """A range, the scaling that gives it from pixels if that is known, and why."""

    low: float
    high: float
    scaling: Scaling | None
    basis: str

    @property
    def mode(self) -> str:
        """The scaling's mode."""
        return UNKNOWN if self.scaling is None else self.scaling.mode


def of_steps(steps: Sequence[Step], *, images: bool) -> Found | None:
    """What the steps tell; None if they tell nothing."""
    scaling_steps = [step for step in steps if _scales(step)]
    if not scaling_steps:
        return None
    basis = f"its own {scaling_steps[0].what}"
    if not images and scaling_steps[0].kind == "Normalization":
        return statistics(*_zero_and_deviation(scaling_steps[0]), basis=basis, images=images)
    for step in reversed(scaling_steps):
        fitting = [scaling for scaling in _CANDIDATES if _lands(step, scaling.limits)]
        if len(fitting) == 1:
            return _told(_in_order(fitting[0], step), basis)
    return _by_size(scaling_steps[0], basis, images=images)


def statistics(mean: Numbers, deviation: Numbers, *, basis: str, images: bool = True) -> Found:
    """What a layer that normalises with these takes: pixels, or two deviations around the mean."""
    largest = max(float(np.abs(mean).max()), float(deviation.max()))
    if images and _LARGEST_UNIT < largest <= _PIXELS and mean.size <= _FEW:
        return _told(RAW, basis)
    low, high = float((mean - 2 * deviation).min()), float((mean + 2 * deviation).max())
    return Found(low=low, high=high, scaling=None, basis=basis)


def _told(scaling: Scaling, basis: str) -> Found:
    low, high = scaling.limits
    return Found(low=low, high=high, scaling=scaling, basis=basis)


def _scales(step: Step) -> bool:
    """Whether values are changed, not only moved to other channels; a channel that is all constant tells nothing."""
    return bool(step.scale.all()) and not (
        np.allclose(step.scale, 1, rtol=1e-4) and np.allclose(step.shift, 0, atol=1e-4)
    )


def _zero_and_deviation(step: Step) -> tuple[Numbers, Numbers]:
    return -step.shift / step.scale, 1 / np.abs(step.scale)


def _lands(step: Step, limits: tuple[float, float]) -> bool:
    """Whether values in ``limits`` become what networks compute with, in every channel."""
    ends = np.stack([limit * step.scale + step.shift for limit in limits])
    low, high = ends.min(axis=0), ends.max(axis=0)
    span, centre = high - low, (low + high) / 2
    small = (span >= 0.9) & (span <= 8.5) & (low >= -4.5) & (high <= 4.5)
    large = (span >= 200) & (span <= 300) & (low >= -160) & (high <= 260)
    placed = (np.abs(centre) <= 0.2 * span) | (np.abs(low) <= 0.05 * span)
    return bool(((small | large) & placed).all())


def _by_size(step: Step, basis: str, *, images: bool) -> Found | None:
    zero, deviation = _zero_and_deviation(step)
    if step.kind == "Normalization":
        return statistics(zero, deviation, basis=basis, images=images)
    span = float(np.abs(step.scale).max()) * _PIXELS
    if np.abs(step.scale).max() < _SMALLEST_SCALE and span < 0.2:  # of more than eight bits
        return Found(low=0.0, high=float(deviation.min()), scaling=None, basis=basis)
    if np.abs(step.scale).max() < _SMALLEST_SCALE or _LARGEST_UNIT < float(np.abs(zero).max()) <= _PIXELS:
        return _told(RAW, basis)
    return None


def _in_order(scaling: Scaling, step: Step) -> Scaling:
    """The scaling with the order of channels that the model's own means have: ImageNet's tell it."""
    if step.source is None or sorted(step.source) != [0, 1, 2] or scaling.channel_order != "RGB":
        return scaling
    zero = (-step.shift / step.scale)[np.argsort(step.source)]
    low, high = scaling.limits
    pixels = (zero - low) / (high - low) * _PIXELS
    blue_first = bool((np.abs(pixels - _BGR_MEANS) <= _BGR_SLACK).all())
    return replace(scaling, channel_order="BGR") if blue_first else scaling
