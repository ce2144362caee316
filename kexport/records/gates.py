"""What an artifact is held to beside parity."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The bounds that were asked for; None is no bound. `AccuracyRecord.min_agreement` is one more.

    ``max_drop`` is in the unit of what is measured, points of top-1 of a classifier; ``max_size`` as it was typed;
    ``max_latency_ratio`` of the latency of the float32 file of the same format, measured in the same run.
    """

    max_drop: float | None = None
    max_size: str | None = None
    max_latency_ratio: float | None = None
