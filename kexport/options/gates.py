"""Bounds that an artifact is held to: which numbers can be one."""

from __future__ import annotations

import math

from kexport.errors import UsageError


def check_max_drop(points: float) -> None:
    """Raise UsageError unless a drop of top-1 can be bounded by so many points."""
    why = (
        "points are shares of 100 images"
        if math.isnan(points) or points > 0
        else ("a drop below 0 is a gain, which no quantization can promise")
    )
    if not 0 <= points <= 100:
        expected = "100 or less" if points > 100 else "0 or more" if points < 0 else "0 to 100"
        raise UsageError(f"--max-drop {points:g}: expected {expected}; {why}", hint="--max-drop 0.5")


def check_min_agreement(share: float) -> None:
    """Raise UsageError for what is no share of images."""
    if not 0 <= share <= 1:
        said = "; 97 of 100 images are 0.97" if share > 1 else ""
        raise UsageError(f"--min-agreement {share:g}: expected a share, 0 to 1{said}", hint="--min-agreement 0.97")


def check_max_latency_ratio(ratio: float) -> None:
    """Raise UsageError for what no time can be of another."""
    if not 0 < ratio < math.inf:
        raise UsageError(
            f"--max-latency-ratio {ratio:g}: expected a number above 0; 0.8 is a fifth faster than float32",
            hint="--max-latency-ratio 1",
        )
