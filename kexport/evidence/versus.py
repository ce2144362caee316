"""One artifact's latency against another's: both loaded in one process, run by turns, told as a ratio.

What slows the machine for a moment meets both of a pair alike, so that the ratio of a pair says more than two medians
of two runs. The order within the pairs changes from pair to pair. The interval is that of the median of the ratios,
from order statistics (`kexport.evidence.latency`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from kexport.errors import UsageError
from kexport.evidence.benchmark import BenchRequest, opened
from kexport.evidence.latency import median_interval


@dataclass(frozen=True, kw_only=True)
class VersusRequest:
    """Two measurements with the same settings."""

    first: BenchRequest
    second: BenchRequest

    def __post_init__(self) -> None:
        if self.first.settings != self.second.settings:
            raise UsageError("two artifacts are measured with the same settings", hint="kexport bench A B --threads 1")


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Seconds of each pair, in order; ``effective`` is what really ran."""

    first: str
    second: str
    first_effective: str
    second_effective: str
    pairs_seconds: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The first's time as a part of the second's: median, and the interval that covers it with ``coverage``."""

    median: float
    low: float
    high: float
    coverage: float
    pairs: int


def execute(request: VersusRequest) -> Versus:
    """Measure in this process."""
    settings = request.first.settings
    (first, run_first), (second, run_second) = opened(request.first), opened(request.second)
    for _ in range(max(1, settings.warmup)):
        run_first()
        run_second()
    gc.collect()
    gc.disable()
    try:
        pairs = _pairs(run_first, run_second, settings.repetitions, perf_counter() + 2 * settings.max_seconds)
    finally:
        gc.enable()
    return Versus(
        first=request.first.label, second=request.second.label, first_effective=first.effective,
        second_effective=second.effective, pairs_seconds=pairs,
    )  # fmt: skip


def _pairs(
    first: Callable[[], object], second: Callable[[], object], repetitions: int, end: float
) -> tuple[tuple[float, float], ...]:
    pairs: list[tuple[float, float]] = []
    while len(pairs) < repetitions:
        if len(pairs) % 2:
            late = _seconds(second)
            pairs.append((_seconds(first), late))
        else:
            early = _seconds(first)
            pairs.append((early, _seconds(second)))
        if perf_counter() > end and len(pairs) >= _FEWEST:
            break
    return tuple(pairs)


_FEWEST = 3


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def ratio(found: Versus) -> Ratio:
    """Derived, never stored."""
    ratios = sorted(first / second for first, second in found.pairs_seconds)
    low, high, coverage = median_interval(ratios)
    return Ratio(median=median(ratios), low=low, high=high, coverage=coverage, pairs=len(ratios))


def told(found: Versus) -> str:
    """The ratio in words, and whether the interval says that one is faster."""
    each = ratio(found)
    clear = each.high < 1 or each.low > 1
    verdict = ("faster" if each.median < 1 else "slower") if clear else "not told apart: the interval holds 1"
    interval = f"{each.coverage:.0%} interval {each.low:.3f} to {each.high:.3f}, {each.pairs} pairs by turns"
    return f"{found.first} takes {each.median:.3f} of the time of {found.second} ({interval}): {verdict}"
