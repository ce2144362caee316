"""Second-order rounding against rounding to the nearest, on the very data that it was made for."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.operations import Conv, Dense
from kexport.quantization import Affine
from kexport.quantizers import rounding
from kexport.quantizers.kernels import nearest, scales_of
from tests.numpy_reference import compute
from tests.quantizers.networks import conv, dense, images, same


def correlated(*shape: int, count: int = 24) -> np.ndarray:
    """Images whose channels and neighbours resemble each other, as those of real networks do."""
    channels = shape[-1]
    mix = np.random.default_rng(9).normal(size=(max(2, channels // 3), channels))
    made = images(*shape[:-1], len(mix), count=count) @ mix + 0.05 * images(*shape, count=count)
    for axis in range(1, len(shape)):
        made = made + np.roll(made, 1, axis=axis) + np.roll(made, 2, axis=axis)
    return made.astype(np.float32)


def inputs(stored: np.ndarray) -> rounding.Inputs:
    return rounding.Inputs(stored=stored, real=lambda part: part)


def damage(operation: Conv | Dense, numbers: np.ndarray, scales: np.ndarray, data: np.ndarray) -> float:
    """The mean square of ``X (W - Q)`` without its mean, which goes into the bias."""
    difference = type(operation)(**{**vars(operation), "kernel": operation.kernel - numbers * scales, "bias": None})
    made = compute(difference, data)
    return float(made.reshape(-1, made.shape[-1]).var(axis=0).sum())


OPERATIONS = {
    "pointwise": (conv(12, 16), (6, 6, 12)),
    "3x3": (conv(6, 16, 3), (8, 8, 6)),
    "padded_strided": (conv(6, 16, 3, padding=same(), strides=(2, 2)), (8, 8, 6)),
    "dilated": (conv(6, 16, 3, dilation=(2, 2)), (8, 8, 6)),
    "depthwise": (conv(1, 12, 5, groups=12, padding=same(5)), (8, 8, 12)),
    "multiplier": (conv(1, 24, 3, groups=12), (8, 8, 12)),
    "grouped": (conv(4, 12, 3, groups=3), (8, 8, 12)),
    "dense": (dense(12, 16), (12,)),
    "dense_of_images": (dense(12, 16), (9, 9, 12)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_never_worse_than_the_nearest(name):
    operation, shape = OPERATIONS[name]
    data, scales = correlated(*shape), scales_of(operation)
    found = rounding.round_kernel(operation, scales, inputs(data), seed=1)
    assert (found.shape, found.dtype) == (operation.kernel.shape, np.int8)
    plain = damage(operation, nearest(operation, scales), scales, data)
    assert damage(operation, found, scales, data) < 0.9 * plain


def test_the_same_numbers_every_time():
    operation, shape = OPERATIONS["3x3"]
    data, scales = correlated(*shape), scales_of(operation)
    one, two = (rounding.round_kernel(operation, scales, inputs(data), seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_stored_numbers_are_read_as_what_they_stand_for():
    """Zero in the padding is a real zero, not the number 0."""
    operation, shape = OPERATIONS["padded_strided"]
    affine = Affine(scale=0.06, zero_point=40)
    stored = affine.quantize(correlated(*shape))
    scales = scales_of(operation)
    real = rounding.Inputs(stored=stored, real=affine.dequantize)
    one = rounding.round_kernel(operation, scales, real, seed=4)
    two = rounding.round_kernel(operation, scales, inputs(affine.dequantize(stored)), seed=4)
    np.testing.assert_array_equal(one, two)


def test_windows_are_those_of_the_convolution():
    """What a kernel sees at random positions is what it sees at some position of the padded image."""
    operation = conv(2, 3, 3, padding=((1, 2), (0, 1)), strides=(2, 1), dilation=(1, 2))
    data = images(7, 8, 2, count=2)
    (rows,) = rounding._rows(operation, inputs(data), 1, np.random.default_rng(0))
    flat = operation.kernel.reshape(-1, 3)
    whole = compute(Conv(**{**vars(operation), "bias": None}), data).reshape(-1, 3)
    seen = rows[0] @ flat
    assert all(np.abs(whole - row).max(axis=1).min() < 1e-5 for row in seen[::20])
    assert len(np.unique(seen.round(5), axis=0)) > 0.9 * len(np.unique(whole.round(5), axis=0))


def test_too_many_taps_are_rounded_to_the_nearest(monkeypatch):
    operation, shape = OPERATIONS["3x3"]
    scales = scales_of(operation)
    monkeypatch.setattr(rounding, "MOST_TAPS", operation.kernel[..., 0].size - 1)
    found = rounding.round_kernel(operation, scales, inputs(correlated(*shape)), seed=1)
    np.testing.assert_array_equal(found, nearest(operation, scales))


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_inputs(value):
    """No covariance at all: every rounding is as good, and the numbers are near the weights."""
    operation = conv(6, 8, 3)
    scales = scales_of(operation)
    found = rounding.round_kernel(operation, scales, inputs(np.full((4, 8, 8, 6), value, np.float32)), seed=1)
    assert np.abs(found - operation.kernel / scales).max() <= 1.0


def test_dead_channels_do_not_disturb_the_others():
    operation = conv(6, 8)
    data, scales = correlated(6, 6, 6), scales_of(operation)
    data[..., 2:4] = 0
    found = rounding.round_kernel(operation, scales, inputs(data), seed=1)
    assert damage(operation, found, scales, data) <= damage(operation, nearest(operation, scales), scales, data)
    assert np.abs(found[0, 0, 2:4] - (operation.kernel / scales)[0, 0, 2:4]).max() <= 1.0


def test_one_tap_is_rounded_to_the_nearest():
    operation = conv(1, 8, groups=8)
    scales = scales_of(operation)
    found = rounding.round_kernel(operation, scales, inputs(correlated(4, 4, 8)), seed=1)
    np.testing.assert_array_equal(found, nearest(operation, scales))


def test_one_image_and_one_position():
    operation = dense(6, 4)
    found = rounding.round_kernel(operation, scales_of(operation), inputs(images(6, count=1)), seed=1)
    assert np.abs(found.astype(int)).max() <= 127
