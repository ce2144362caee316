"""Kernels in int8: symmetric, one scale per output channel.

Scales have 11 significant bits, as many as a float16: files hold them in half the bytes, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kexport.operations import Conv, Dense
from kexport.quantization import Array
from kexport.quantization.kernels.pairs import Pairs, fitted, widened
from kexport.quantization.observe.moments import Moments, matrices
from kexport.quantization.observe.positions import groups_of
from kexport.quantization.plan import KERNEL_LARGEST, Affine, Kernel

LARGEST_BIAS = 2**30
SIGNIFICANT_BITS = 11
SMALLEST_RATIO = 2.0**-24  # of a kernel's step to what one output step is worth: below, it changes nothing


def scales_of(operation: Conv | Dense, *, read: Affine | None = None, made: Affine | None = None) -> Array:
    """The scale of every output channel: the largest weight becomes 127, and the int32 bias fits."""
    kernel = operation.kernel
    scales = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(KERNEL_LARGEST)
    least = np.full_like(scales, max(float(scales.max(initial=0.0)) * 2.0**-20, 1e-20))
    if read is not None and operation.bias is not None:
        least = np.maximum(least, np.abs(operation.bias) / (read.scale * LARGEST_BIAS))
    if read is not None and made is not None:
        least = np.maximum(least, SMALLEST_RATIO * made.scale / read.scale)
    return coarse(np.maximum(scales, least).astype(np.float32))


def coarse(scales: Array) -> Array:
    """The nearest numbers of 11 significant bits: the largest weight is at most a sixteenth of a step beyond 127."""
    fraction, exponent = np.frexp(scales)
    result: Array = np.ldexp(np.rint(fraction * 2**SIGNIFICANT_BITS), exponent - SIGNIFICANT_BITS)
    return result


def scales_in_pairs(
    operation: Conv | Dense, scales: Array, pairs: Sequence[Pairs], moments: Moments | None = None
) -> Array:
    """The scales, larger where ``pairs`` of weights would not fit otherwise and that costs less than cutting them."""
    wanted = matrices(operation)
    variances = None if moments is None else np.einsum("fgtt->gt", moments.covariance) / moments.windows
    ratios = widened(wanted / scales.reshape(len(wanted), 1, -1), pairs, variances)
    return coarse((scales * ratios.reshape(-1)).astype(np.float32))


def nearest(operation: Conv | Dense, scales: Array, pairs: Sequence[Pairs] = ()) -> npt.NDArray[np.int8]:
    """Every weight rounded to the nearest number, or to one with which ``pairs`` fit."""
    numbers = rounded(operation.kernel / scales)
    if not pairs:
        return numbers
    groups, out = groups_of(operation), numbers.shape[-1]
    by_group = numbers.reshape(-1, groups, out // groups).transpose(1, 0, 2)
    return fitted(by_group, pairs).transpose(1, 0, 2).reshape(numbers.shape)


def rounded(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """Round and saturate to -127..127."""
    result: npt.NDArray[np.int8] = np.clip(np.rint(numbers), -KERNEL_LARGEST, KERNEL_LARGEST).astype(np.int8)
    return result


def with_bias(numbers: npt.NDArray[np.int8], scales: Array, bias: Array | None, read: Affine) -> Kernel:
    """The kernel with its bias in int32 at ``read.scale * scales``."""
    wanted = np.zeros(len(scales)) if bias is None else np.asarray(bias, np.float64)
    stored = np.rint(wanted / (np.float64(read.scale) * scales))
    limit = 2**31 - 1
    return Kernel(numbers=numbers, scales=scales, bias=np.clip(stored, -limit, limit).astype(np.int32))


def bias_of(kernel: Kernel, read: Affine) -> Array:
    """The real bias that the int32 bias stands for."""
    if kernel.bias is None:
        raise ValueError("the kernel has no int32 bias")
    result: Array = (kernel.bias * (np.float64(read.scale) * kernel.scales)).astype(np.float32)
    return result
