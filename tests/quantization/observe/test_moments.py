"""Second moments against plain numpy, for every kind of kernel."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.operations import Conv, Dense
from kexport.quantization.observe import moments, positions
from tests.quantization.kernels_and_inputs import OPERATIONS, correlated, fed, inputs, linear, on_grid
from tests.quantization.networks import conv, dense


def taps_by_probing(operation: Conv | Dense, data: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What every weight of the first output of every group sees: ``(groups, images, positions, taps)``.

    By the reference: the operation with a kernel that is one at one tap.
    """
    groups, outputs = positions.groups_of(operation), operation.kernel.shape[-1]
    seen = []
    for tap in range(operation.kernel[..., 0].size):
        kernel = np.zeros_like(operation.kernel)
        kernel.reshape(-1, outputs)[tap] = 1.0
        probe = type(operation)(**{**vars(operation), "kernel": kernel})
        seen.append(on_grid(operation, linear(probe, data), size)[..., :: outputs // groups])
    return np.stack(seen, axis=-1).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("batch", [1 << 23, 1], ids=["at_once", "one_by_one"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_moments_are_those_of_numpy(name, batch, monkeypatch):
    monkeypatch.setattr(positions, "BATCH_NUMBERS", batch)
    monkeypatch.setattr(positions, "LEAST_ROWS", 60)
    monkeypatch.setattr(positions, "ROWS_PER_TAP", 1)
    operation, shape = OPERATIONS[name]
    exact = correlated(*shape, count=7) + 2.0
    read = exact + 0.3 * correlated(*shape, count=7, seed=8)
    given = fed(operation, read, exact)
    found = moments.gather(**given)
    seen = taps_by_probing(operation, read, given["size"])
    lack = given["target"] - on_grid(operation, linear(operation, read), given["size"])
    groups = len(seen)
    lack = lack.reshape(*lack.shape[:2], groups, -1).transpose(2, 0, 1, 3)
    seen, lack = (array - array.mean(axis=(1, 2), keepdims=True) for array in (seen, lack))
    size = np.abs(seen).max()
    assert found.windows == seen.shape[1] * seen.shape[2]
    for fold in range(4):
        mine = slice(fold, None, 4)
        wanted = np.einsum("gnpt,gnpu->gtu", seen[:, mine], seen[:, mine])
        np.testing.assert_allclose(found.covariance[fold], wanted, rtol=1e-4, atol=1e-3 * size)
        wanted = np.einsum("gnpt,gnpo->gto", seen[:, mine], lack[:, mine])
        np.testing.assert_allclose(found.cross[fold], wanted, rtol=1e-3, atol=1e-3 * size)
        np.testing.assert_allclose(found.lack[fold], np.square(lack[:, mine]).sum(), rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_every_fold_holds_images(count):
    operation, shape = OPERATIONS["3x3"]
    data = correlated(*shape, count=count)
    found = moments.gather(**fed(operation, data, data + 0.1 * correlated(*shape, count=count, seed=8)))
    assert len(found.covariance) == len(found.cross) == len(found.lack) == min(4, count)
    assert (found.lack > 0).all()
    assert (np.einsum("fgtt->f", found.covariance) > 0).all()


def test_matrices_multiply_what_the_groups_see():
    operation = conv(2, 6, 1, groups=3)
    by_hand = operation.kernel[0, 0]
    for group, matrix in enumerate(moments.matrices(operation)):
        np.testing.assert_array_equal(matrix, by_hand[:, 2 * group : 2 * group + 2])


def test_a_bias_and_an_offset_are_no_matter():
    """A mean shift goes into the bias: moments are about the mean."""
    operation, shape = OPERATIONS["3x3"]
    read = correlated(*shape)
    given = fed(operation, read, read + 0.2 * correlated(*shape, seed=8))
    plain = moments.gather(**given)
    given["target"] = given["target"] + np.arange(16, dtype=np.float32)
    shifted = moments.gather(**given)
    np.testing.assert_allclose(shifted.lack, plain.lack, rtol=1e-4)
    np.testing.assert_allclose(shifted.cross, plain.cross, atol=1e-4 * np.abs(plain.cross).max())


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e6, 1e-30, 2e17])
def test_a_constant_has_no_moments_at_all(value):
    """Exactly none, however its sum is rounded: what is left of it would be taken for a signal."""
    operation = dense(6, 4)
    read = np.full((11, 5, 5, 6), value, np.float32)
    found = moments.gather(operation, inputs(read), (5, 5), correlated(25, 4, count=11))
    assert not found.covariance.any()
    assert not found.cross.any()
    assert not found.power.any()
    assert np.isfinite(found.lack).all()


def test_without_a_target_nothing_is_lacking():
    operation, shape = OPERATIONS["depthwise"]
    data = correlated(*shape)
    with_target = moments.gather(**fed(operation, data, data))
    without = moments.gather(operation, inputs(data), (8, 8))
    np.testing.assert_array_equal(without.covariance, with_target.covariance)
    assert not without.cross.any()
    assert not without.lack.any()


def test_large_numbers_do_not_overflow():
    """Squares of 2e18 are beyond float32 when summed."""
    operation, shape = OPERATIONS["pointwise"]
    data = correlated(*shape)
    small, large = (moments.gather(operation, inputs(each), (6, 6)) for each in (data, data * np.float32(2.0**60)))
    np.testing.assert_array_equal(large.covariance, small.covariance * 2.0**120)
