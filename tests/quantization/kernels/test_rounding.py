"""Second-order rounding against rounding to the nearest, on the very data that it was made for."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.operations import Conv, Dense
from kexport.quantization.kernels.int8 import nearest, scales_of
from kexport.quantization.kernels.rounding import round_kernel
from kexport.quantization.observe.moments import gather
from tests.quantization.kernels_and_inputs import OPERATIONS, correlated, inputs, linear, size_of
from tests.quantization.networks import conv, dense, images


def rounded(operation: Conv | Dense, data: np.ndarray) -> np.ndarray:
    """The numbers for what the kernel reads."""
    return round_kernel(operation, scales_of(operation), gather(operation, inputs(data), size_of(operation, data)))


def damage(operation: Conv | Dense, numbers: np.ndarray, scales: np.ndarray, data: np.ndarray) -> float:
    """The mean square of ``X (W - Q)`` without its mean, which goes into the bias."""
    made = linear(type(operation)(**{**vars(operation), "kernel": operation.kernel - numbers * scales}), data)
    return float(made.reshape(-1, made.shape[-1]).var(axis=0).sum())


@pytest.mark.parametrize("name", OPERATIONS)
def test_never_worse_than_the_nearest(name):
    operation, shape = OPERATIONS[name]
    data, scales = correlated(*shape), scales_of(operation)
    found = rounded(operation, data)
    assert (found.shape, found.dtype) == (operation.kernel.shape, np.int8)
    plain = damage(operation, nearest(operation, scales), scales, data)
    assert damage(operation, found, scales, data) < 0.9 * plain


def test_the_same_numbers_every_time():
    operation, shape = OPERATIONS["3x3"]
    np.testing.assert_array_equal(rounded(operation, correlated(*shape)), rounded(operation, correlated(*shape)))


@pytest.mark.parametrize("power", [-30, 60])
def test_any_magnitude(power):
    """In finite numbers; inputs so small that nothing can be told apart are as good as constants."""
    operation, shape = OPERATIONS["padded_strided"]
    found = rounded(operation, correlated(*shape) * np.float32(2.0**power))
    assert np.abs(found - operation.kernel / scales_of(operation)).max() < 20


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_inputs(value):
    """No covariance at all: every rounding is as good, and the numbers are near the weights."""
    operation = conv(6, 8, 3)
    scales = scales_of(operation)
    found = rounded(operation, np.full((4, 8, 8, 6), value, np.float32))
    assert np.abs(found - operation.kernel / scales).max() <= 1.0


def test_dead_channels_do_not_disturb_the_others():
    operation = conv(6, 8)
    data, scales = correlated(6, 6, 6), scales_of(operation)
    data[..., 2:4] = 0
    found = rounded(operation, data)
    assert damage(operation, found, scales, data) <= damage(operation, nearest(operation, scales), scales, data)
    assert np.abs(found[0, 0, 2:4] - (operation.kernel / scales)[0, 0, 2:4]).max() <= 1.0


def test_one_tap_is_rounded_to_the_nearest():
    operation = conv(1, 8, groups=8)
    scales = scales_of(operation)
    found = rounded(operation, correlated(4, 4, 8))
    np.testing.assert_array_equal(found, nearest(operation, scales))


def test_one_image_and_one_position():
    operation = dense(6, 4)
    found = rounded(operation, images(6, count=1))
    assert np.abs(found.astype(int)).max() <= 127
