"""Kernels rounded so that what they compute changes least, not each weight.

Second-order rounding (Frantar et al. 2022, "GPTQ"; after Hassibi & Stork 1993): weights are rounded in turn, and
the error of each is taken up by those not rounded yet, along the covariance of what the quantized network feeds
the kernel. The covariance is central because a mean shift goes into the bias.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import KERNEL_LARGEST
from kexport.quantizers import Array
from kexport.quantizers.kernels import nearest

Matrix = npt.NDArray[np.float64]
DAMPING = 0.01  # of the mean variance, added to every variance
SMALLEST_VARIANCE = 1e-6  # of the largest mean square about the first images' mean
POSITIONS = 48  # of the output image that are looked at, per calibration image
MOST_TAPS = 1200
BLOCK = 64


def round_kernel(operation: Conv | Dense, scales: Array, inputs: Iterable[Array], *, seed: int) -> npt.NDArray[np.int8]:
    """The int8 kernel of ``operation`` for what it reads: ``inputs`` are batches of NHWC arrays.

    Kernels with more than `MOST_TAPS` weights per output are rounded to the nearest: their errors average out,
    and the covariance would not fit in memory.
    """
    groups = operation.groups if isinstance(operation, Conv) else 1
    matrix = _matrices(operation, groups)
    if matrix.shape[1] > MOST_TAPS:
        return nearest(operation, scales)
    covariance = _covariance(operation, inputs, groups, seed=seed)
    steps = scales.astype(np.float64).reshape(groups, 1, -1)
    numbers = _solve(matrix / steps, covariance)
    return _shaped(numbers, operation, groups)


def _matrices(operation: Conv | Dense, groups: int) -> Matrix:
    """``(groups, taps, outputs of a group)``."""
    kernel = operation.kernel.astype(np.float64)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def _shaped(numbers: Matrix, operation: Conv | Dense, groups: int) -> npt.NDArray[np.int8]:
    del groups
    return numbers.transpose(1, 0, 2).reshape(operation.kernel.shape).astype(np.int8)


def _covariance(operation: Conv | Dense, inputs: Iterable[Array], groups: int, *, seed: int) -> Matrix:
    """``(groups, taps, taps)``, damped."""
    generator = np.random.default_rng(seed)
    taps = operation.kernel.size // operation.kernel.shape[-1]
    squares, total, seen = np.zeros((groups, taps, taps)), np.zeros((groups, taps)), 0
    shift: Array | None = None
    for batch in inputs:
        rows = _rows(operation, batch, groups, generator)
        if shift is None:
            shift = rows.mean(axis=1, keepdims=True)
        rows = rows - shift
        squares += np.matmul(rows.transpose(0, 2, 1), rows)
        total += rows.sum(axis=1, dtype=np.float64)
        seen += rows.shape[1]
    mean = total / seen
    covariance: Matrix = squares / seen - mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    variance = np.einsum("gtt->gt", covariance)
    variance += DAMPING * np.abs(variance).mean(axis=1, keepdims=True)
    variance += SMALLEST_VARIANCE * np.einsum("gtt->gt", squares).max(axis=1, keepdims=True) / seen + 1e-12
    return covariance


def _rows(operation: Conv | Dense, batch: Array, groups: int, generator: np.random.Generator) -> Array:
    """What single outputs see: ``(groups, rows, taps)`` at random positions, the same for all images of a batch."""
    if isinstance(operation, Dense):
        return batch.reshape(1, -1, batch.shape[-1])
    rows, columns, inside, _ = operation.kernel.shape
    padded = np.pad(batch, ((0, 0), *operation.padding, (0, 0)))
    down = _places(padded.shape[1], rows, operation.strides[0], operation.dilation[0], generator)
    across = _places(padded.shape[2], columns, operation.strides[1], operation.dilation[1], generator)
    windows = padded[:, down[:, :, np.newaxis], across[:, np.newaxis, :], :]
    split = windows.reshape(-1, rows * columns, groups, inside)
    return split.transpose(2, 0, 1, 3).reshape(groups, -1, rows * columns * inside)


def _places(
    size: int, window: int, stride: int, dilation: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The rows (or columns) of the padded image under `POSITIONS` windows: ``(POSITIONS, window)``."""
    count = (size - (window - 1) * dilation - 1) // stride + 1
    starts = generator.integers(0, count, POSITIONS) * stride
    return starts[:, np.newaxis] + np.arange(window)[np.newaxis, :] * dilation


def _solve(wanted: Matrix, covariance: Matrix) -> Matrix:
    """Rounded numbers for ``wanted``, in units of the scale: ``(groups, taps, outputs)``."""
    order = np.argsort(-np.einsum("gtt->gt", covariance), axis=1, kind="stable")
    group = np.arange(len(order))[:, np.newaxis]
    sorted_ = covariance[group[:, :, np.newaxis], order[:, :, np.newaxis], order[:, np.newaxis, :]]
    upper = np.linalg.inv(np.linalg.cholesky(sorted_[:, ::-1, ::-1])[:, ::-1, ::-1])
    left = wanted[group, order].copy()
    numbers = np.empty_like(left)
    taps = left.shape[1]
    for start in range(0, taps, BLOCK):
        end = min(start + BLOCK, taps)
        errors = np.empty_like(left[:, start:end])
        for tap in range(start, end):
            numbers[:, tap] = np.clip(np.rint(left[:, tap]), -KERNEL_LARGEST, KERNEL_LARGEST)
            errors[:, tap - start] = (left[:, tap] - numbers[:, tap]) / upper[:, tap, tap, np.newaxis]
            left[:, tap + 1 : end] -= upper[:, tap, tap + 1 : end, np.newaxis] * errors[:, np.newaxis, tap - start]
        left[:, end:] -= np.matmul(upper[:, start:end, end:].transpose(0, 2, 1), errors)
    result = np.empty_like(numbers)
    result[group, order] = numbers
    return result
