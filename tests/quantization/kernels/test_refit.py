"""Kernels fitted to noisy inputs, judged on images that the fit has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.operations import Conv, Dense
from kexport.quantization.kernels.refit import refit
from kexport.quantization.observe.moments import Moments, gather
from tests.quantization.kernels_and_inputs import OPERATIONS, correlated, fed, linear
from tests.quantization.networks import conv, dense

WITH_NEIGHBOURS = [name for name in OPERATIONS if name != "multiplier"]


def noisy(*shape: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated images, and the same with noise as rounding leaves it: as large in every channel."""
    exact = correlated(*shape, count=count, seed=seed)
    noise = np.random.default_rng(seed).normal(size=exact.shape) * 0.3 * exact.std()
    return exact, (exact + noise).astype(np.float32)


def with_kernel(operation: Conv | Dense, kernel: np.ndarray) -> Conv | Dense:
    return type(operation)(**{**vars(operation), "kernel": kernel})


def error(operation: Conv | Dense, kernel: np.ndarray, read: np.ndarray, exact: np.ndarray) -> float:
    """The mean square of what is lacking, without its mean."""
    lack = linear(operation, exact) - linear(with_kernel(operation, kernel), read)
    return float(lack.reshape(-1, lack.shape[-1]).var(axis=0).mean())


def fitted(operation: Conv | Dense, read: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return refit(operation, gather(**fed(operation, read, exact)))


@pytest.mark.parametrize("name", WITH_NEIGHBOURS)
def test_better_on_images_that_were_not_seen(name):
    operation, shape = OPERATIONS[name]
    exact, read = noisy(*shape, count=160 if len(shape) == 1 else 24, seed=5)
    kernel = fitted(operation, read, exact)
    assert (kernel.shape, kernel.dtype) == (operation.kernel.shape, np.float32)
    exact, read = noisy(*shape, count=60, seed=77)
    assert error(operation, kernel, read, exact) < 0.93 * error(operation, operation.kernel, read, exact)


def test_as_good_as_the_best_linear_estimate():
    """The covariance of signal and noise is known here, and with it the best kernel that there is."""
    operation, rng = dense(6, 3), np.random.default_rng(4)
    mix = rng.normal(size=(6, 6))
    signal, noise = mix @ mix.T, 2.0 * np.eye(6)
    best = np.linalg.solve(signal + noise, signal @ operation.kernel)
    exact = (rng.normal(size=(60, 30, 6)) @ mix.T).astype(np.float32)
    read = (exact + np.sqrt(2.0) * rng.normal(size=exact.shape)).astype(np.float32)
    kernel = fitted(operation, read, exact)
    assert np.abs(kernel - best).max() < 0.1 * np.abs(operation.kernel - best).max()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kernel_that_lacks_nothing_stays(name):
    operation, shape = OPERATIONS[name]
    data = correlated(*shape)
    given = fed(operation, data, data)
    given["target"] = given["target"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(refit(operation, gather(**given)), operation.kernel)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_inputs_do_not_explain_is_not_fitted(name):
    """The seen images could be fitted, by chance; the unseen show that it is chance."""
    operation, shape = OPERATIONS[name]
    data = correlated(*shape)
    given = fed(operation, data, data)
    given["target"] = given["target"] + np.random.default_rng(3).normal(size=given["target"].shape).astype(np.float32)
    found = gather(**given)
    np.testing.assert_array_equal(refit(operation, found), operation.kernel)
    assert np.abs(found.cross).max() > 0.1


def test_a_single_image_is_not_fitted():
    operation, shape = OPERATIONS["3x3"]
    exact, read = noisy(*shape, count=1, seed=5)
    assert fitted(operation, read, exact) is operation.kernel


@pytest.mark.parametrize("count", [2, 3])
def test_two_images_are_enough_to_see_whether_it_helps(count):
    operation, shape = conv(6, 4), (20, 20, 6)
    exact, read = noisy(*shape, count=count, seed=5)
    kernel = fitted(operation, read, exact)
    exact, read = noisy(*shape, count=20, seed=77)
    assert error(operation, kernel, read, exact) < 0.93 * error(operation, operation.kernel, read, exact)


@pytest.mark.parametrize("value", [0.0, 0.1, 3.5, -1e6])
def test_constant_inputs(value):
    """What they make cannot follow any target."""
    for operation, shape in (OPERATIONS["3x3"], OPERATIONS["multiplier"], OPERATIONS["dense"]):
        read = np.full((24, *shape), value, np.float32)
        kernel = fitted(operation, read, correlated(*shape))
        np.testing.assert_array_equal(kernel, operation.kernel)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_dead_channels_keep_their_weights(value):
    """A depthwise channel that reads only a constant has nothing to be fitted to, whatever the others need."""
    operation, shape = conv(1, 12, 3, groups=12), (9, 9, 12)
    exact, read = noisy(*shape, count=24, seed=5)
    read[..., 2:5] = value
    kernel = fitted(operation, read, exact)
    np.testing.assert_array_equal(kernel[..., 2:5], operation.kernel[..., 2:5])
    assert (kernel[..., 5:] != operation.kernel[..., 5:]).all()


def test_targets_that_are_all_zero():
    """The best that can be made of it is nothing, in finite numbers."""
    operation, shape = OPERATIONS["3x3"]
    read = correlated(*shape)
    kernel = fitted(operation, read, np.zeros_like(read))
    assert np.isfinite(kernel).all()
    assert error(operation, kernel, read, np.zeros_like(read)) < error(operation, operation.kernel, read, 0 * read)
    empty = with_kernel(operation, np.zeros_like(operation.kernel))
    np.testing.assert_array_equal(fitted(empty, read, read), empty.kernel)


@pytest.mark.parametrize("power", [-60, -30, 30, 60])
@pytest.mark.parametrize("name", ["padded_strided", "depthwise", "dense"])
def test_the_unit_is_no_matter(name, power):
    operation, shape = OPERATIONS[name]
    exact, read = noisy(*shape, count=160, seed=5)
    plain, factor = fitted(operation, read, exact), np.float32(2.0**power)
    np.testing.assert_array_equal(fitted(operation, read * factor, exact * factor), plain)
    assert (plain != operation.kernel).any()


def test_the_same_numbers_every_time():
    operation, shape = OPERATIONS["grouped"]
    exact, read = noisy(*shape, count=24, seed=5)
    np.testing.assert_array_equal(fitted(operation, read, exact), fitted(operation, read.copy(), exact.copy()))


def test_more_weights_than_windows():
    """The covariance has no inverse; what is fitted is finite, and helps with what was not seen or is not done."""
    operation = dense(200, 5)
    exact, read = noisy(200, count=40, seed=5)
    kernel = fitted(operation, read, exact)
    assert np.isfinite(kernel).all()
    exact, read = noisy(200, count=60, seed=77)
    assert error(operation, kernel, read, exact) <= error(operation, operation.kernel, read, exact)


def test_errors_that_are_no_numbers_are_no_reason_to_fit():
    operation = dense(3, 2)
    nan = np.full((2, 1, 3, 3), np.nan)
    broken = Moments(covariance=nan, cross=nan[..., :2], lack=np.full(2, np.nan), power=nan[0, 0, :1], windows=9)
    assert refit(operation, broken) is operation.kernel


def test_an_offset_of_the_images_is_no_matter():
    operation, shape = conv(6, 4), (9, 9, 6)
    exact, read = noisy(*shape, count=24, seed=5)
    np.testing.assert_allclose(fitted(operation, read + 8, exact), fitted(operation, read, exact), atol=1e-5)


def test_a_kernel_stays_where_few_windows_would_judge_it():
    """A dense layer has one window of an image: with a handful, what looks better on unseen ones does so by chance."""
    operation, chosen = dense(6, 3), 0
    for seed in range(40):
        exact, read = noisy(6, count=8, seed=seed)
        kernel = fitted(operation, read, exact)
        chosen += kernel is not operation.kernel
    assert chosen == 0
    exact, read = noisy(6, count=160, seed=5)
    assert fitted(operation, read, exact) is not operation.kernel
