"""Statistics of latency samples: derived where they are shown, never stored.

The interval of the median comes from order statistics (no assumption about the distribution): the number of
samples below the true median is binomial(n, 1/2). Source: Conover, Practical Nonparametric Statistics, 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb
from statistics import median

CONFIDENCE = 0.95
MAX_SPREAD = 0.15  # interquartile range over median
MAX_DRIFT = 0.10  # median of the second half against the first
MIN_SAMPLES = 10
REMEDY = "repeat on an idle machine, with fewer threads than cores or more repetitions"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A latency distribution in seconds. ``noise`` says why the numbers cannot be trusted; empty is good."""

    count: int
    batch: int
    median_seconds: float
    low_seconds: float
    high_seconds: float
    coverage: float
    p90_seconds: float
    p99_seconds: float
    noise: tuple[str, ...]

    @property
    def noisy(self) -> bool:
        """Whether the machine was too unquiet, or the samples too few, to say."""
        return bool(self.noise)

    @property
    def rows_per_second(self) -> float:
        """Throughput at the median."""
        return self.batch / self.median_seconds if self.median_seconds else float("inf")


def summarize(samples_seconds: Sequence[float], *, batch: int = 1) -> Latency:
    """The statistics of at least one sample, in the order in which they were taken.

    ``low_seconds`` to ``high_seconds`` covers the true median with probability ``coverage``: at least 0.95 from
    six samples on, the widest possible interval below. Raises ValueError without samples.
    """
    if not samples_seconds:
        raise ValueError("no latency samples: expected 1 or more")
    ordered = sorted(samples_seconds)
    low, high, coverage = median_interval(ordered)
    return Latency(
        count=len(ordered),
        batch=batch,
        median_seconds=median(ordered),
        low_seconds=low,
        high_seconds=high,
        coverage=coverage,
        p90_seconds=percentile(ordered, 0.90),
        p99_seconds=percentile(ordered, 0.99),
        noise=noise(samples_seconds),
    )


def median_interval(ordered: Sequence[float]) -> tuple[float, float, float]:
    """Low end, high end and coverage of the narrowest symmetric interval that covers at least 95 %.

    With fewer than six samples none does: the extremes are returned with the coverage that they have.
    """
    count = len(ordered)
    skip, tail = 0, 1  # tail / 2**count = P(fewer than skip + 1 samples below the median)
    while True:
        wider = tail + comb(count, skip + 1)
        if skip + 1 > (count - 1) // 2 or 2 * wider > (1 - CONFIDENCE) * 2**count:
            break
        skip, tail = skip + 1, wider
    return ordered[skip], ordered[count - 1 - skip], max(0.0, 1 - 2 * tail / 2**count)


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile: the smallest sample with at least ``fraction`` of them at or below it."""
    return ordered[max(1, ceil(fraction * len(ordered))) - 1]


def noise(samples_seconds: Sequence[float]) -> tuple[str, ...]:
    """Every reason not to trust the samples (in the order taken), each as a sentence part with its number."""
    count = len(samples_seconds)
    if count < MIN_SAMPLES:
        return (f"only {count} samples, expected {MIN_SAMPLES} or more",)
    ordered = sorted(samples_seconds)
    middle = median(ordered) or float("inf")
    spread = (percentile(ordered, 0.75) - percentile(ordered, 0.25)) / middle
    early = median(samples_seconds[: count // 2]) or float("inf")
    drift = median(samples_seconds[count // 2 :]) / early - 1
    reasons = {
        f"interquartile range is {spread:.0%} of the median (limit {MAX_SPREAD:.0%})": spread > MAX_SPREAD,
        f"the second half is {drift:+.0%} against the first (limit {MAX_DRIFT:.0%})": abs(drift) > MAX_DRIFT,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)
