"""Kernels rounded so that what they compute changes least, not each weight.

Second-order rounding (Frantar et al. 2022, "GPTQ"; after Hassibi & Stork 1993): weights are rounded in turn, and
the error of each is taken up by those not rounded yet, along the covariance of what the quantized network feeds
the kernel. The covariance is central because a mean shift goes into the bias. Where two neighbours have to fit into
16 bits (`pairs`), that is one more limit, and what it takes is an error like another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import Array
from kexport.quantization.kernels.pairs import Pairs, neighbours_of, room
from kexport.quantization.observe.moments import Matrix, Moments, matrices
from kexport.quantization.plan import KERNEL_LARGEST

DAMPING = 0.01  # of the mean variance, added to every variance
SMALLEST_VARIANCE = 1e-6  # of the largest mean square about the first images' mean
BLOCK = 64


def round_kernel(
    operation: Conv | Dense, scales: Array, moments: Moments, pairs: Sequence[Pairs] = ()
) -> npt.NDArray[np.int8]:
    """The int8 kernel of ``operation`` for what it reads, in which ``pairs`` fit."""
    wanted = matrices(operation)
    steps = scales.astype(np.float64).reshape(len(wanted), 1, -1)
    numbers = _solve(wanted / steps, _covariance(moments), pairs)
    return numbers.transpose(1, 0, 2).reshape(operation.kernel.shape).astype(np.int8)


def _covariance(moments: Moments) -> Matrix:
    """``(groups, taps, taps)``, damped."""
    covariance: Matrix = moments.covariance.sum(axis=0) / moments.windows
    variance = np.einsum("gtt->gt", covariance)
    variance += DAMPING * np.abs(variance).mean(axis=1, keepdims=True)
    variance += SMALLEST_VARIANCE * moments.power.max(axis=1, keepdims=True) + 1e-12
    return covariance


def _solve(wanted: Matrix, covariance: Matrix, pairs: Sequence[Pairs]) -> Matrix:
    """Rounded numbers for ``wanted``, in units of the scale: ``(groups, taps, outputs)``."""
    variance = np.einsum("gtt->gt", covariance)
    order = np.argsort(-variance, axis=1, kind="stable")
    group = np.arange(len(order))[:, np.newaxis]
    sorted_ = covariance[group[:, :, np.newaxis], order[:, :, np.newaxis], order[:, np.newaxis, :]]
    upper = np.linalg.inv(np.linalg.cholesky(sorted_[:, ::-1, ::-1])[:, ::-1, ::-1])
    left = wanted[group, order].copy()
    beside = _Beside.of(order, variance, pairs)
    taps = left.shape[1]
    for start in range(0, taps, BLOCK):
        end = min(start + BLOCK, taps)
        errors = np.empty_like(left[:, start:end])
        for tap in range(start, end):
            most = beside.room(left, tap)
            number = np.clip(np.rint(left[:, tap]), -most, most)
            errors[:, tap - start] = (left[:, tap] - number) / upper[:, tap, tap, np.newaxis]
            left[:, tap] = number
            left[:, tap + 1 : end] -= upper[:, tap, tap + 1 : end, np.newaxis] * errors[:, np.newaxis, tap - start]
        left[:, end:] -= np.matmul(upper[:, start:end, end:].transpose(0, 2, 1), errors)
    result = np.empty_like(left)
    result[group, order] = left
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class _Beside:
    """Where the neighbours of each tap stand, all in the order of rounding: ``places`` ``(groups, taps, n)``.

    ``shares`` are what the tap takes of an excess, so that it costs least.
    """

    places: npt.NDArray[np.int64]
    shares: Matrix

    @classmethod
    def of(cls, order: npt.NDArray[np.int64], variance: Matrix, pairs: Sequence[Pairs]) -> _Beside:
        """Those of ``pairs``; a tap without a neighbour is its own, which binds nothing."""
        groups, taps = order.shape
        place = np.empty((groups, taps + 1), np.int64)
        np.put_along_axis(place, order, np.arange(taps)[np.newaxis], axis=1)
        place[:, taps] = -1
        found = place[np.arange(groups)[:, np.newaxis, np.newaxis], neighbours_of(taps, pairs)[order]]
        own = np.take_along_axis(variance, order, axis=1)[:, :, np.newaxis]
        other = own[np.arange(groups)[:, np.newaxis, np.newaxis], found, 0]
        decided = found < np.arange(taps)[:, np.newaxis]
        return cls(places=found, shares=np.where(decided, 1.0, other / (own + other)))

    def room(self, left: Matrix, tap: int) -> Matrix | float:
        """How large the numbers of a tap may become; of its neighbours those before it are decided."""
        most: Matrix | float = KERNEL_LARGEST
        for place, share in zip(self.places[:, tap].T, self.shares[:, tap].T, strict=True):
            beside = left[np.arange(len(left)), place] * (place >= 0)[:, np.newaxis]
            most = np.minimum(most, room(left[:, tap], beside, share[:, np.newaxis]))
        return most
