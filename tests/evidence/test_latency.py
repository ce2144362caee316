"""Latency statistics against definitions that can be counted by hand."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexport.evidence.latency import median_interval, percentile, summarize


def coverage(count: int, skip: int) -> float:
    return 1 - 2 * sum(comb(count, k) for k in range(skip + 1)) / 2**count


@pytest.mark.parametrize(("count", "skip"), [(6, 0), (9, 1), (10, 1), (20, 5), (50, 17), (100, 39)])
def test_interval_is_the_narrowest_that_covers(count: int, skip: int) -> None:
    low, high, covered = median_interval([float(i) for i in range(count)])
    assert (low, high) == (skip, count - 1 - skip)
    assert covered == pytest.approx(coverage(count, skip))
    assert covered >= 0.95 > coverage(count, skip + 1)


def test_few_samples_say_what_they_cover() -> None:
    assert median_interval([1.0, 2.0, 3.0]) == (1.0, 3.0, 0.75)
    assert median_interval([1.0]) == (1.0, 1.0, 0.0)


def test_interval_covers_the_true_median_as_often_as_it_says() -> None:
    draws = np.sort(np.random.default_rng(0).exponential(size=(2000, 25)), axis=1)
    hits = [low <= np.log(2) <= high for low, high, _ in (median_interval(list(row)) for row in draws)]
    assert 0.94 < np.mean(hits) < 0.98


def test_percentiles_are_nearest_rank() -> None:
    ordered = [float(i) for i in range(1, 101)]
    assert percentile(ordered, 0.90) == 90
    assert percentile(ordered, 0.99) == 99
    assert percentile([5.0], 0.99) == 5


def test_quiet_samples_are_not_noisy() -> None:
    latency = summarize([0.010, 0.0101] * 10, batch=4)
    assert not latency.noisy
    assert latency.rows_per_second == pytest.approx(4 / 0.01005)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([0.01] * 5, "only 5 samples, expected 10 or more"),
        ([0.01, 0.02] * 10, "interquartile range is 67% of the median (limit 15%)"),
        ([0.010] * 10 + [0.0114] * 10, "the second half is +14% against the first (limit 10%)"),
    ],
)
def test_noise_says_why(samples: list[float], reason: str) -> None:
    latency = summarize(samples)
    assert latency.noisy
    assert reason in latency.noise


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no latency samples"):
        summarize([])


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=60))
def test_order_of_the_statistics(samples: list[float]) -> None:
    latency = summarize(samples)
    assert min(samples) <= latency.low_seconds <= latency.median_seconds <= latency.high_seconds <= max(samples)
    assert latency.p90_seconds <= latency.p99_seconds
