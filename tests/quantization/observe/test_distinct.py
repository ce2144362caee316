"""Copies of calibration images are left out."""

from __future__ import annotations

import numpy as np

from kexport.quantization.observe.distinct import distinct
from kexport.quantization.quantize import quantize
from tests.quantization.networks import batches_of, compile_, feeds_of, mobile


def test_each_image_once_in_order_and_each_time_anew():
    left = np.asarray([1, 1, 2, 3, 2, 1, 1, 1, 4, 4, 5], np.float32).reshape(-1, 1)
    right = np.asarray([1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1], np.float32).reshape(-1, 1)
    batches = distinct(batches_of({"a": left, "b": right}, size=3))
    for _ in range(2):
        found = list(batches())
        assert all(len(feeds["a"]) for feeds in found)
        pairs = [(int(a[0]), int(b[0])) for feeds in found for a, b in zip(feeds["a"], feeds["b"], strict=True)]
        assert pairs == [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]


def test_a_plan_from_copies_is_that_of_the_images():
    """Each fold of a fit would hold copies of what the others hold."""
    graph = mobile()
    feeds = feeds_of(graph, count=6)
    copies = {name: np.concatenate([array] * 4) for name, array in feeds.items()}
    plan, again = (quantize(graph, batches_of(each, size=6), compile_) for each in (feeds, copies))
    assert plan.values == again.values
    for name, kernel in plan.kernels.items():
        np.testing.assert_array_equal(again.kernels[name].numbers, kernel.numbers)
