"""Kernels fitted to what the quantized network feeds them, so that they make what the float network makes.

What a kernel reads carries the rounding errors of everything before it. With ``X`` what it reads and ``Y`` what the
float kernel makes of exact inputs, the kernel that comes nearest is ``W + (X'X + r I)^-1 X' (Y - X W)``: a Wiener
filter, as rounding errors are about equally large in all inputs and the signal is not. (Nagel et al. 2020, "Up or
Down?", 4.2 and Li et al. 2025, "GPTAQ", reconstruct the same target by rounding.) How far to go, ``r``, is what
does best on images that the fit has not seen; where nothing does better by `WORTH`, the kernel stays.
"""

from __future__ import annotations

import numpy as np

from kexport.operations import Conv, Dense
from kexport.quantizers import Array
from kexport.quantizers.moments import Matrix, Moments, matrices

RIDGES = (0.01, 0.1, 1.0, 10.0)  # of the mean variance of what the kernel reads
WORTH = 0.01  # of the mean squared error on unseen images that a fit has to remove


def refit(operation: Conv | Dense, moments: Moments) -> Array:
    """The fitted kernel, in the shape of the operation's; its own where fitting does not help."""
    errors = [_unseen_error(moments, ridge) for ridge in RIDGES]
    best = int(np.argmin(errors))
    if len(moments.lack) < 2 or errors[best] >= (1.0 - WORTH) * moments.lack.sum():
        return operation.kernel
    change = _solve(moments.covariance.sum(axis=0), moments.cross.sum(axis=0), RIDGES[best])
    fitted = (matrices(operation) + change).transpose(1, 0, 2).reshape(operation.kernel.shape)
    result: Array = fitted.astype(np.float32)
    return result


def _unseen_error(moments: Moments, ridge: float) -> float:
    """The sum of squares over all folds, each with what was learnt on the others."""
    covariance, cross = moments.covariance.sum(axis=0), moments.cross.sum(axis=0)
    error = 0.0
    for fold, lack in enumerate(moments.lack):
        unseen, wanted = moments.covariance[fold], moments.cross[fold]
        change = _solve(covariance - unseen, cross - wanted, ridge)
        error += float(lack - 2 * (change * wanted).sum() + (change * np.matmul(unseen, change)).sum())
    return error


def _solve(covariance: Matrix, cross: Matrix, ridge: float) -> Matrix:
    """The change of the kernel, ``(groups, taps, outputs)``."""
    taps = covariance.shape[-1]
    mean = np.einsum("gtt->g", covariance) / taps
    damped = covariance + (ridge * mean + 1e-12)[:, np.newaxis, np.newaxis] * np.eye(taps)
    return np.linalg.solve(damped, cross)
