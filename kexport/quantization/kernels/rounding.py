"""Kernels rounded so that what they compute changes least, not each weight.

Second-order rounding (Frantar et al. 2022, "GPTQ"; after Hassibi & Stork 1993): weights are rounded in turn, and
the error of each is taken up by those not rounded yet, along the covariance of what the quantized network feeds
the kernel. The covariance is central because a mean shift goes into the bias.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import Array
from kexport.quantization.observe.moments import Matrix, Moments, matrices
from kexport.quantization.plan import KERNEL_LARGEST

DAMPING = 0.01  # of the mean variance, added to every variance
SMALLEST_VARIANCE = 1e-6  # of the largest mean square about the first images' mean
BLOCK = 64


def round_kernel(operation: Conv | Dense, scales: Array, moments: Moments) -> npt.NDArray[np.int8]:
    """The int8 kernel of ``operation`` for what it reads."""
    wanted = matrices(operation)
    steps = scales.astype(np.float64).reshape(len(wanted), 1, -1)
    numbers = _solve(wanted / steps, _covariance(moments))
    return numbers.transpose(1, 0, 2).reshape(operation.kernel.shape).astype(np.int8)


def _covariance(moments: Moments) -> Matrix:
    """``(groups, taps, taps)``, damped."""
    covariance: Matrix = moments.covariance.sum(axis=0) / moments.windows
    variance = np.einsum("gtt->gt", covariance)
    variance += DAMPING * np.abs(variance).mean(axis=1, keepdims=True)
    variance += SMALLEST_VARIANCE * moments.power.max(axis=1, keepdims=True) + 1e-12
    return covariance


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
