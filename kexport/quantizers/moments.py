"""What a kernel reads on the calibration images, and how far it is from what it should make, as second moments.

Images are dealt out to folds, so that what was learnt on some can be judged on the others without being run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantizers import Array
from kexport.quantizers.positions import Inputs, groups_of, taps_of, windows

Matrix = npt.NDArray[np.float64]
FOLDS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over the windows of each fold, about the mean of all windows, which goes into the bias.

    ``covariance`` is ``(folds, groups, taps, taps)``, of what the kernel reads; ``cross`` ``(folds, groups, taps,
    outputs)``, of that and of what the kernel lacks; ``lack`` ``(folds,)``, the sum of squares of what it lacks.
    ``power`` ``(groups, taps)`` is the mean square of what it reads about the first images' mean.
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
    should make before its activation. Without one it lacks nothing.
    """
    sums = _Sums(operation, folds=min(FOLDS, len(inputs.stored)))
    for part, rows in windows(operation, inputs, size):
        sums.add(part.start, rows, None if target is None else target[part])
    return sums.central()


class _Sums:
    """Running sums over windows, fold by fold."""

    def __init__(self, operation: Conv | Dense, *, folds: int) -> None:
        groups, taps = groups_of(operation), taps_of(operation)
        outputs = operation.kernel.shape[-1] // groups
        self.kernel = matrices(operation).astype(np.float32)
        self.shift: Array | None = None
        self.squares = np.zeros((folds, groups, taps, taps))
        self.cross = np.zeros((folds, groups, taps, outputs))
        self.lack = np.zeros(folds)
        self.read = np.zeros((folds, groups, taps))
        self.lacked = np.zeros((folds, groups, outputs))
        self.seen = np.zeros(folds)

    def add(self, start: int, rows: Array, target: Array | None) -> None:
        """Rows ``(groups, images, positions, taps)`` of the images from ``start`` on."""
        if self.shift is None:
            self.shift = rows.mean(axis=(1, 2))[:, np.newaxis]
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
        self.read[fold] += centred.sum(axis=1, dtype=np.float64)
        self.seen[fold] += read.shape[1]
        if target is None:
            return
        lack = target.reshape(-1, groups, outputs).transpose(1, 0, 2) - np.matmul(read, self.kernel)
        self.cross[fold] += np.matmul(turned, lack)
        self.lacked[fold] += lack.sum(axis=1, dtype=np.float64)
        self.lack[fold] += np.square(lack, dtype=np.float64).sum()

    def central(self) -> Moments:
        """About the mean of all windows."""
        count = self.seen.sum()
        read, lacked = self.read.sum(axis=0) / count, self.lacked.sum(axis=0) / count
        seen = self.seen[:, np.newaxis, np.newaxis, np.newaxis]
        return Moments(
            covariance=self.squares
            - _outer(self.read, read)
            - _outer(read[np.newaxis], self.read)
            + seen * _outer(read, read),
            cross=self.cross
            - _outer(self.read, lacked)
            - _outer(read[np.newaxis], self.lacked)
            + seen * _outer(read, lacked),
            lack=self.lack - 2 * (self.lacked * lacked).sum(axis=(1, 2)) + self.seen * np.square(lacked).sum(),
            power=np.einsum("fgtt->gt", self.squares) / count,
            windows=int(count),
        )


def _outer(left: Matrix, right: Matrix) -> Matrix:
    result: Matrix = left[..., :, np.newaxis] * right[..., np.newaxis, :]
    return result
