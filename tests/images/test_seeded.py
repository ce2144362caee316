"""Seeded images: reproducible, in range, different from one another."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.images.seeded import check_count, seeded_images


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0), (-123.68, 151.061)])
def test_range_shape_and_type(low, high):
    images = seeded_images(3, (20, 31, 3), seed=1, low=low, high=high)
    assert images.shape == (3, 20, 31, 3)
    assert images.dtype == np.float32
    assert low <= images.min() < images.max() <= high
    assert images.std() > 0.1 * (high - low), "the range is used"


def test_same_seed_same_numbers_other_seed_others():
    first, again = (seeded_images(2, (16, 16, 3), seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - seeded_images(2, (16, 16, 3), seed=6)).mean() > 10


def test_a_longer_batch_begins_with_the_shorter_one():
    np.testing.assert_array_equal(seeded_images(4, (16, 16, 3), seed=5)[:2], seeded_images(2, (16, 16, 3), seed=5))


def test_images_differ_even_after_averaging():
    """What independent noise would fail: a network that averages sees different colours."""
    colours = seeded_images(8, (64, 64, 3), seed=0).mean(axis=(1, 2))
    assert colours.std(axis=0).min() > 10


@pytest.mark.parametrize(("side", "count"), [(32, 4), (320, 4), (331, 2), (600, 2)])
def test_large_images_are_fewer(side, count):
    assert check_count((side, side, 3)) == count
