"""Kernels fitted to what the quantized network feeds them, so that they make what the float network makes.

What a kernel reads carries the rounding errors of everything before it. With ``X`` what it reads and ``Y`` what the
float kernel makes of exact inputs, the kernel that comes nearest is ``W + (X'X + r I)^-1 X' (Y - X W)``: a Wiener
filter, as rounding errors are about equally large in all inputs and the signal is not. (Nagel et al. 2020, "Up or
Down? Adaptive Rounding for Post-Training Quantization", reconstruct the same target by rounding.) How far to go,
``r``, is what does best on images that the fit has not seen; where nothing does better by `WORTH`, or there is one
image only, or too few windows to tell, the kernel stays.
"""

from __future__ import annotations

import numpy as np

from kexport.operations import Conv, Dense
from kexport.quantization import Array
from kexport.quantization.observe.moments import Matrix, Moments, matrices

RIDGES = (0.01, 0.1, 1.0, 10.0)  # of the mean variance of what the kernel reads
WORTH = 0.01  # of the mean squared error on unseen images that a fit has to remove
LEAST_WINDOWS = 16  # that a fit is judged on: with fewer, what looks better on unseen images is chance


def refit(operation: Conv | Dense, moments: Moments) -> Array:
    """The fitted kernel, float32 in the shape of the operation's; its own where fitting does not help."""
    if len(moments.lack) < 2 or moments.windows < LEAST_WINDOWS:
        return operation.kernel
    covariance, cross = moments.covariance.sum(axis=0), moments.cross.sum(axis=0)
    errors = [_unseen_error(moments, covariance, cross, ridge) for ridge in RIDGES]
    best = int(np.argmin(errors))
    if not errors[best] < (1.0 - WORTH) * moments.lack.sum():
        return operation.kernel
    change = np.linalg.solve(covariance + RIDGES[best] * _unit(covariance), cross)
    fitted = (matrices(operation) + change).transpose(1, 0, 2).reshape(operation.kernel.shape)
    result: Array = fitted.astype(np.float32)
    return result


def _unseen_error(moments: Moments, covariance: Matrix, cross: Matrix, ridge: float) -> float:
    """The sum of squares over all folds, each with what was learnt on the others."""
    left = 1.0 - 1.0 / len(moments.lack)  # of the images, with every fold as large
    damping, error = left * ridge * _unit(covariance), 0.0
    for fold, lack in enumerate(moments.lack):
        unseen, wanted = moments.covariance[fold], moments.cross[fold]
        change = np.linalg.solve(covariance - unseen + damping, cross - wanted)
        error += float(lack - 2 * (change * wanted).sum() + (change * np.matmul(unseen, change)).sum())
    return error


def _unit(covariance: Matrix) -> Matrix:
    """What ridges count in, ``(groups, taps, taps)``: the mean variance; 1 for groups that read only constants."""
    taps = covariance.shape[-1]
    mean = np.einsum("gtt->g", covariance) / taps
    return np.where(mean > 0.0, mean, 1.0)[:, np.newaxis, np.newaxis] * np.eye(taps)
