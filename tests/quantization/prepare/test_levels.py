"""Bounds of what a convolution of whole numbers can make, and kernels on the finest grid that they leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.operations import Conv
from kexport.quantization.prepare.levels import EXACT, MOST_STEPS, Levels, exact, grids_of, swish_bounds

ROWS = 9 * 3


def first(seed: int, *, depthwise: bool = False, bias: bool = True) -> tuple[Conv, Levels]:
    """A 3 x 3 convolution of three channels of pixels, or of each alone."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 1, (3, 3, 1, 3) if depthwise else (3, 3, 3, 5)).astype(np.float32) * 0.01
    offsets = rng.normal(0, 0.3, kernel.shape[-1]).astype(np.float32) if bias else None
    read = Levels.pixels(rng.uniform(90, 140, 3), low=-0.5, high=255.5)
    return Conv(kernel=kernel, bias=offsets, groups=3 if depthwise else 1), read


def windows(seed: int, count: int = 4000) -> np.ndarray:
    """Pixels, ``(count, 9, 3)``: some at random, some black and white."""
    rng = np.random.default_rng(seed)
    half = count // 2
    return np.concatenate([rng.integers(0, 256, (half, 9, 3)), rng.integers(0, 2, (half, 9, 3)) * 255])


def made(conv: Conv, taps: np.ndarray) -> np.ndarray:
    bias = 0.0 if conv.bias is None else conv.bias.astype(np.float64)
    if conv.groups > 1:
        return (taps * conv.kernel.reshape(9, 3).astype(np.float64)).sum(axis=1) + bias
    return taps.reshape(-1, ROWS) @ conv.kernel.reshape(ROWS, -1).astype(np.float64) + bias


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bias", [True, False])
def test_no_image_makes_more_than_the_bounds(seed, bias):
    conv, read = first(seed, bias=bias)
    low, high = swish_bounds(conv, read)
    u = made(conv, windows(seed))
    swished = u * np.clip(u + 0.5, 0, 1)
    assert (swished >= low - 1e-6).all()
    assert (swished <= high + 1e-6).all()
    brightest = np.where(conv.kernel > 0, 255, 0).reshape(ROWS, -1)
    reached = (brightest * conv.kernel.reshape(ROWS, -1)).sum(axis=0) + (0.0 if conv.bias is None else conv.bias)
    np.testing.assert_allclose(high, np.maximum(reached, 0.0), rtol=0.01, err_msg="and no less than one does make")


def test_grids_are_powers_of_two_of_each_channel():
    grids = grids_of(np.array([-1 / 16, 0.0, 0.0]), np.array([3.4, 0.03, 0.0]))
    np.testing.assert_array_equal(np.log2(grids), np.rint(np.log2(grids)))
    np.testing.assert_array_less(np.array([3.4, 0.03]) / grids[:2], MOST_STEPS + 1)
    np.testing.assert_array_less(MOST_STEPS / 2, np.array([3.4, 0.03]) / grids[:2])
    assert np.isfinite(grids).all()


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_kernels_lie_on_the_finest_grid_whose_sums_are_exact(seed, depthwise):
    conv, read = first(seed, depthwise=depthwise)
    rounded = exact(conv, read)
    assert rounded.bias is not None
    for channel in range(conv.kernel.shape[-1]):
        numbers = np.append(rounded.kernel[..., channel].reshape(-1), rounded.bias[channel]).astype(np.float64)
        step = 2.0**-60
        while not np.any((numbers / step / 2) % 1):
            step *= 2
        products = rounded.kernel[..., channel].astype(np.float64) / step * 255.5
        largest = max(products[products > 0].sum(), -products[products < 0].sum()) + abs(rounded.bias[channel]) / step
        assert EXACT / 4 < largest <= EXACT


@pytest.mark.parametrize("depthwise", [False, True])
def test_what_rounding_adds_on_average_is_taken_off_in_the_bias(depthwise):
    conv, read = first(1, depthwise=depthwise)
    coarse = replace(read, low=read.low * 64, high=read.high * 64)  # so that few bits are left
    rounded = exact(conv, coarse)
    mean = np.broadcast_to(read.mean, (1, 9, 3))
    kernel_alone = replace(rounded, bias=conv.bias)
    off, alone = (np.abs(made(each, mean) - made(conv, mean)).max() for each in (rounded, kernel_alone))
    assert off < 0.1 * alone
