"""Kernels rounded so that what they compute changes least, not each weight.

Second-order rounding (Frantar et al. 2022, "GPTQ"; after Hassibi & Stork 1993): weights are rounded in turn, and
the error of each is taken up by those not rounded yet, along the covariance of what the quantized network feeds
the kernel. The covariance is central because a mean shift goes into the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import KERNEL_LARGEST
from kexport.quantizers import Array, Stored
from kexport.quantizers.kernels import nearest

Matrix = npt.NDArray[np.float64]
DAMPING = 0.01  # of the mean variance, added to every variance
SMALLEST_VARIANCE = 1e-6  # of the largest mean square about the first images' mean
LEAST_ROWS, ROWS_PER_TAP, MOST_ROWS = 2048, 8, 4800  # of all images together, that a covariance is made of
MOST_TAPS = 1200
BLOCK = 64
BATCH_NUMBERS = 1 << 23  # of rows that are made at a time, about


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a kernel reads on all images: NHWC numbers as they are stored, and how to make some of them real."""

    stored: Stored
    real: Callable[[Stored], Array]


def round_kernel(operation: Conv | Dense, scales: Array, inputs: Inputs, *, seed: int) -> npt.NDArray[np.int8]:
    """The int8 kernel of ``operation`` for what it reads.

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
    return numbers.transpose(1, 0, 2).reshape(operation.kernel.shape).astype(np.int8)


def _matrices(operation: Conv | Dense, groups: int) -> Matrix:
    """``(groups, taps, outputs of a group)``."""
    kernel = operation.kernel.astype(np.float64)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def _covariance(operation: Conv | Dense, inputs: Inputs, groups: int, *, seed: int) -> Matrix:
    """``(groups, taps, taps)``, damped."""
    taps = operation.kernel.size // operation.kernel.shape[-1]
    squares, total, seen = np.zeros((groups, taps, taps)), np.zeros((groups, taps)), 0
    shift: Array | None = None
    for real in _rows(operation, inputs, groups, np.random.default_rng(seed)):
        if shift is None:
            shift = real.mean(axis=1, keepdims=True)
        rows = real - shift
        squares += np.matmul(rows.transpose(0, 2, 1), rows)
        total += rows.sum(axis=1, dtype=np.float64)
        seen += rows.shape[1]
    mean = total / seen
    covariance: Matrix = squares / seen - mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    variance = np.einsum("gtt->gt", covariance)
    variance += DAMPING * np.abs(variance).mean(axis=1, keepdims=True)
    variance += SMALLEST_VARIANCE * np.einsum("gtt->gt", squares).max(axis=1, keepdims=True) / seen + 1e-12
    return covariance


def _rows(operation: Conv | Dense, inputs: Inputs, groups: int, generator: np.random.Generator) -> Iterator[Array]:
    """What single outputs see, ``(groups, rows, taps)``, at random positions of every image, some images at a time."""
    taps = operation.kernel.size // operation.kernel.shape[-1]
    images = len(inputs.stored)
    positions = -(-min(max(LEAST_ROWS, ROWS_PER_TAP * taps), MOST_ROWS) // images)
    step = max(1, BATCH_NUMBERS // (positions * taps * groups))
    for start in range(0, images, step):
        part = inputs.stored[start : start + step]
        if isinstance(operation, Dense):
            rows = inputs.real(_vectors(part, positions, generator))
        else:
            rows = _windows(operation, part, inputs.real, positions, generator)
        inside = operation.kernel.shape[-2]
        by_group = rows.reshape(-1, taps // inside, groups, inside).transpose(2, 0, 1, 3)
        yield by_group.reshape(groups, -1, taps)


def _vectors(part: Stored, positions: int, generator: np.random.Generator) -> Stored:
    """``(rows, C)``: all that an image has, or as many as there are ``positions``."""
    rows = part.reshape(len(part), -1, part.shape[-1])
    if rows.shape[1] > positions:
        rows = rows[np.arange(len(part))[:, np.newaxis], generator.integers(0, rows.shape[1], (len(part), positions))]
    return rows.reshape(-1, part.shape[-1])


def _windows(
    operation: Conv, part: Stored, real: Callable[[Stored], Array], positions: int, generator: np.random.Generator
) -> Array:
    """``(images, positions, rows, columns, C)``, zero in the padding."""
    places = [_places(operation, axis, part.shape, positions, generator) for axis in (0, 1)]
    down, across = places[0][:, :, :, np.newaxis], places[1][:, :, np.newaxis, :]
    height, width = part.shape[1:3]
    image = np.arange(len(part)).reshape(-1, 1, 1, 1)
    windows = real(part[image, np.clip(down, 0, height - 1), np.clip(across, 0, width - 1)])
    outside = (down < 0) | (down >= height) | (across < 0) | (across >= width)
    windows[outside] = 0.0
    return windows


def _places(
    operation: Conv, axis: int, shape: tuple[int, ...], positions: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The rows (axis 0) or columns of the image under random windows: ``(images, positions, window)``."""
    window, dilation, stride = operation.kernel.shape[axis], operation.dilation[axis], operation.strides[axis]
    before, after = operation.padding[axis]
    count = (before + shape[1 + axis] + after - (window - 1) * dilation - 1) // stride + 1
    starts = generator.integers(0, count, (shape[0], positions, 1)) * stride - before
    return starts + np.arange(window) * dilation


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
