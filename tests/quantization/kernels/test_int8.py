"""int8 kernels: 127 is the largest weight, biases fit 32 bits, dead channels have a legal scale."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.operations import Conv, Dense
from kexport.quantization.kernels.int8 import bias_of, nearest, scales_of, with_bias
from kexport.quantization.plan import Affine
from tests.quantization.networks import conv, dense

READ, MADE = Affine(scale=0.5, zero_point=3), Affine(scale=0.25)


@pytest.mark.parametrize("operation", [conv(4, 6, 3), dense(5, 7), conv(1, 8, 3, groups=8)])
def test_the_largest_weight_of_every_channel_is_127(operation):
    scales = scales_of(operation, read=READ, made=MADE)
    numbers = nearest(operation, scales)
    flat = np.abs(numbers.reshape(-1, numbers.shape[-1]).astype(int))
    assert (flat.max(axis=0) == 127).all()
    assert np.abs(numbers * scales - operation.kernel).max(axis=tuple(range(numbers.ndim - 1))) == pytest.approx(
        scales / 2, rel=1.0
    )


@pytest.mark.parametrize("operation", [conv(4, 60, 3), dense(5, 70)])
def test_scales_have_eleven_significant_bits(operation):
    """So a float16 holds them, times a power of two, and they are the finest ones but for a two-thousandth."""
    scales = scales_of(operation)
    halves = (scales * np.float32(2**12)).astype(np.float16)
    assert halves.min() >= np.finfo(np.float16).smallest_normal
    np.testing.assert_array_equal(halves.astype(np.float32) / 2**12, scales)
    largest = np.abs(operation.kernel).reshape(-1, len(scales)).max(axis=0)
    np.testing.assert_allclose(127 * scales, largest, rtol=2.0**-11)
    assert (127 * scales != largest).any()


def test_a_bias_far_above_the_weights_still_fits_and_stays():
    kernel = np.array([[1e-9, 1.0, 0.0]], np.float32)
    operation = Dense(kernel=kernel, bias=np.array([1e4, -2.0, 1e-3], np.float32))
    scales = scales_of(operation, read=READ, made=MADE)
    made = with_bias(nearest(operation, scales), scales, operation.bias, READ)
    assert made.bias is not None
    assert np.abs(made.bias.astype(np.int64)).max() <= 2**30
    np.testing.assert_allclose(bias_of(made, READ), operation.bias, rtol=1e-4)


def test_a_dead_channel_and_a_dead_kernel_have_positive_scales():
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    for number in (0.0, 1.0):
        kernel[0, 0, 0, 0] = number
        scales = scales_of(Conv(kernel=kernel), read=READ, made=MADE)
        assert (scales * READ.scale / MADE.scale >= 2.0**-25).all()
        assert np.isfinite(scales).all()
