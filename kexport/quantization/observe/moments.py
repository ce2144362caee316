"""What a kernel reads on the calibration images, and how far it is from what it should make, as second moments.

Images are dealt out to folds, so that what was learnt on some can be judged on the others without being run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import Array
from kexport.quantization.observe.positions import Inputs, groups_of, taps_of, windows

Matrix = npt.NDArray[np.float64]
FOLDS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over the windows of each fold, about the mean of all windows, which goes into the bias.

    ``covariance`` is ``(folds, groups, taps, taps)``, of what the kernel reads; ``cross`` ``(folds, groups, taps,
    outputs)``, of that and of what the kernel lacks; ``lack`` ``(folds,)``, the sum of squares of what it lacks.
    ``power`` ``(groups, taps)`` is the mean square of what it reads about the first images' mean; ``windows`` counts
    them, all folds together. There are `FOLDS` folds, or as many as images: every fold holds some.
    """

    covariance: Matrix
    cross: Matrix
    lack: Matrix
    power: Matrix
    windows: int


def matrices(operation: Conv | Dense) -> Matrix:
    """The kernel as ``(groups, taps, outputs of a group)``."""
    groups, kernel = groups_of(operation), operation.kernel.astype(np.float64)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def gather(operation: Conv | Dense, inputs: Inputs, size: tuple[int, int], target: Array | None = None) -> Moments:
    """The moments of what the operation reads.

    ``size`` is that of its output; ``target``, ``(images, positions, outputs)`` on the grid of `positions`, is what it
    should make before its activation, without its bias. Without a target it lacks nothing.
    """
    sums = _Sums(operation, folds=min(FOLDS, len(inputs.stored)))
    for part, rows in windows(operation, inputs, size):
        sums.add(part.start, rows, None if target is None else target[part])
    return sums.central()


class _Sums:
    """Running sums over windows, fold by fold, in float64.

    What is read is summed about the first images' mean: then little cancels, and a constant adds exactly nothing.
    """

    def __init__(self, operation: Conv | Dense, *, folds: int) -> None:
        groups, taps = groups_of(operation), taps_of(operation)
        outputs = operation.kernel.shape[-1] // groups
        self.kernel = matrices(operation).astype(np.float32)
        self.shift = np.zeros((groups, 1, taps))
        self.squares = np.zeros((folds, groups, taps, taps))
        self.cross = np.zeros((folds, groups, taps, outputs))
        self.lack = np.zeros(folds)
        self.read = np.zeros((folds, groups, taps))
        self.lacked = np.zeros((folds, groups, outputs))
        self.seen = np.zeros(folds)

    def add(self, start: int, rows: Array, target: Array | None) -> None:
        """Rows ``(groups, images, positions, taps)`` of the images from ``start`` on."""
        if not self.seen.any():
            self.shift = rows.mean(axis=(1, 2), dtype=np.float64)[:, np.newaxis]
        for fold in range(len(self.seen)):
            mine = slice((fold - start) % len(self.seen), None, len(self.seen))
            if rows[:, mine].size:
                self._add(fold, rows[:, mine], None if target is None else target[mine])

    def _add(self, fold: int, rows: Array, target: Array | None) -> None:
        groups, taps, outputs = self.kernel.shape
        read = rows.reshape(groups, -1, taps)
        centred = read - self.shift
        turned = centred.transpose(0, 2, 1)
        self.squares[fold] += np.matmul(turned, centred)
        self.read[fold] += centred.sum(axis=1)
        self.seen[fold] += read.shape[1]
        if target is None:
            return
        lack = target.reshape(-1, groups, outputs).transpose(1, 0, 2) - np.matmul(read, self.kernel)
        self.cross[fold] += np.matmul(turned, lack)
        self.lacked[fold] += lack.sum(axis=1, dtype=np.float64)
        self.lack[fold] += np.square(lack, dtype=np.float64).sum()

    def central(self) -> Moments:
        """About the mean of all windows, in the place of the sums."""
        power = np.einsum("fgtt->gt", self.squares) / self.seen.sum()
        mean = self.lacked.sum(axis=0) / self.seen.sum()
        self.lack += self.seen * np.square(mean).sum() - 2 * (self.lacked * mean).sum(axis=(1, 2))
        _centre(self.cross, self.read, self.lacked, self.seen)
        _centre(self.squares, self.read, self.read, self.seen)
        return Moments(
            covariance=self.squares, cross=self.cross, lack=self.lack, power=power, windows=int(self.seen.sum())
        )


def _centre(products: Matrix, left: Matrix, right: Matrix, seen: Matrix) -> None:
    """Sums of products become those about the means: ``sum (x - m)(y - n)' = sum xy' - x n' - m y' + m n'``."""
    left_mean, right_mean = left.sum(axis=0) / seen.sum(), right.sum(axis=0) / seen.sum()
    for fold, count in enumerate(seen):
        products[fold] -= _outer(left[fold], right_mean)
        products[fold] -= _outer(left_mean, right[fold] - count * right_mean)


def _outer(left: Matrix, right: Matrix) -> Matrix:
    result: Matrix = left[..., :, np.newaxis] * right[..., np.newaxis, :]
    return result
