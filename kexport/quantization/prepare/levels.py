"""Convolutions of whole numbers whose sums are exact in float32, in any order.

Every product and every partial sum is a multiple of one step and below 2^24 of them, which a float32 holds. How many
bits are left for the kernel depends on how large its sums can become: that is bounded channel by channel by interval
arithmetic, for every image of pixels between the darkest and the brightest that were seen. Beyond them a sum may be
rounded, as any float32 sum is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv

EXACT = 2.0**24  # up to which a float32 holds every whole number
MOST_STEPS = 2.0**12  # of what a hard swish makes, on either side of zero
SMALLEST = 1e-20
DEEPEST_SWISH = 1 / 16  # of u clip(u + 1/2, 0, 1), below zero: at u = -1/4
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """The whole numbers that a convolution reads, ``(channels,)``: from ``low`` to ``high``, ``mean`` on average."""

    low: Numbers
    high: Numbers
    mean: Numbers

    @classmethod
    def pixels(cls, mean: Numbers, *, low: float, high: float) -> Levels:
        """Of an image whose channels have the same range."""
        return cls(low=np.full(len(mean), low), high=np.full(len(mean), high), mean=mean)


def swish_bounds(conv: Conv, read: Levels) -> tuple[Numbers, Numbers]:
    """The smallest and the largest u clip(u + 1/2, 0, 1) by channel, of all that ``conv`` can make."""
    below, above = _sums(conv, read)
    bias = _bias(conv)
    return np.where(bias - below < 0.0, -DEEPEST_SWISH, 0.0), np.maximum(bias + above, 0.0)


def grids_of(low: Numbers, high: Numbers) -> Numbers:
    """By channel, the power of two of which nothing between two ends is more than `MOST_STEPS`."""
    largest = np.maximum(np.maximum(-low, high), SMALLEST)
    grids: Numbers = 2.0 ** np.ceil(np.log2(largest / MOST_STEPS))
    return grids


def exact(conv: Conv, read: Levels) -> Conv:
    """The convolution with each output channel's numbers on a grid of a power of two, as fine as sums allow.

    What rounding the kernel adds on average goes into the bias.
    """
    kernel, bias = conv.kernel.astype(np.float64), _bias(conv)
    below, above = _sums(conv, read)
    largest = np.maximum(below, above) + np.abs(bias)
    most = np.maximum(-read.low, read.high)
    taps = kernel.shape[0] * kernel.shape[1] * (most if conv.groups > 1 else np.full_like(bias, most.sum()))
    step = 2.0 ** np.ceil(np.log2(np.maximum(largest, SMALLEST) / (EXACT - (taps + 1))))
    on_grid = np.rint(kernel / step) * step
    moved = bias - _heard(on_grid - kernel, read.mean, conv)
    rounded = np.rint(moved / step) * step
    return replace(conv, kernel=on_grid.astype(np.float32), bias=rounded.astype(np.float32))


def _bias(conv: Conv) -> Numbers:
    return np.zeros(conv.kernel.shape[-1]) if conv.bias is None else conv.bias.astype(np.float64)


def _sums(conv: Conv, read: Levels) -> tuple[Numbers, Numbers]:
    """How far partial sums of products can fall below zero and rise above it, by output channel, without the bias."""
    low, high = (_beside(each, conv) for each in (read.low, read.high))
    kernel = conv.kernel.astype(np.float64)
    least, most = np.minimum(kernel * low, kernel * high), np.maximum(kernel * low, kernel * high)
    return -np.minimum(least, 0.0).sum(axis=(0, 1, 2)), np.maximum(most, 0.0).sum(axis=(0, 1, 2))


def _heard(kernel: Numbers, mean: Numbers, conv: Conv) -> Numbers:
    """What a kernel makes of the mean, by output channel."""
    result: Numbers = (kernel * _beside(mean, conv)).sum(axis=(0, 1, 2))
    return result


def _beside(channels: Numbers, conv: Conv) -> Numbers:
    """Numbers of input channels along the axis of the kernel that reads them: of a depthwise one, the last."""
    return channels if conv.groups > 1 else channels[:, np.newaxis]
