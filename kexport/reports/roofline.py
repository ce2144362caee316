"""A profile against what the machine could do: the roofline of Williams, Waterman and Patterson, CACM 52(4), 2009.

What a layer needs at best is the longer of its arithmetic at the speed of a matrix product and its bytes at that of a
copy. A layer that finds its numbers in a nearer cache than the copy does is faster: that shows as more than 100 %.
"""

from __future__ import annotations

from kexport.records import Limits, Profile, Work
from kexport.reports.tables import NONE, milliseconds, number

HEADER = ("MMAC", "MB", "of best %")
_GIGA, _MEGA = 1e9, 1e6
_LEAST = 0.001


def best_seconds(work: Work, limits: Limits) -> float:
    """The larger of the time of the arithmetic and of the bytes."""
    rate = limits.integer_macs_per_second if work.integers else limits.float_macs_per_second
    return max(work.macs / rate, work.moved_bytes / limits.copy_bytes_per_second)


def attainable(work: Work, limits: Limits, seconds: float) -> float | None:
    """The best time as a share of the time that it took; None of nothing."""
    best = best_seconds(work, limits)
    return best / seconds if seconds and best else None


def cells(work: Work | None, share: float | None) -> tuple[str, str, str]:
    """What a place computes and moves, and how near it comes to the best, for `HEADER`."""
    macs, moved = (None, None) if work is None else (work.macs / _MEGA, work.moved_bytes / _MEGA)
    return _significant(macs), _significant(moved), number(None if share is None else 100 * share, ".0f")


def told(profile: Profile, seconds: float) -> str:
    """What the whole network needs at best, on what this machine did."""
    limits = profile.limits
    if limits is None:
        return "No roofline: it needs the packages onnx and onnxruntime."
    macs, moved = sum(each.macs for each in profile.work), sum(each.moved_bytes for each in profile.work)
    best = sum(best_seconds(each, limits) for each in profile.work)
    share = f", {100 * best / seconds:.0f} % of the operators' time" if seconds else ""
    return (
        f"Roofline: {_significant(macs / _MEGA)} million multiply-accumulates (MMAC) of convolutions and matrix "
        f"products, {_significant(moved / _MEGA)} MB moved between layers, weights included. Measured here with the "
        f"same threads: {limits.float_macs_per_second / _GIGA:.1f} GMAC/s in float32 and "
        f"{limits.integer_macs_per_second / _GIGA:.1f} in int8 (matrix products in ONNX Runtime), "
        f"{limits.copy_bytes_per_second / _GIGA:.1f} GB/s (a copy of {_significant(limits.copied_bytes / _MEGA)} MB, "
        f"read and written). At best "
        f"{milliseconds(best)} ms{share}; over 100 %: its numbers were in a nearer cache."
    )


def _significant(value: float | None) -> str:
    """Three significant digits, without an exponent; what is below a thousandth is said to be."""
    if value is None:
        return NONE
    if 0 < value < _LEAST:
        return f"<{_LEAST}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
