"""What a run tells while it goes on: one event type for cells, benchmarks and rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

ENDED = "ended"
"""The step of what is no cell, and over: the Keras process of a model."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Where a cell (or a model's Keras part) is; ``status`` is set when a cell has ended."""

    label: str
    step: str
    seconds: float
    memory_bytes: int
    status: str | None = None


class Observer(Protocol):
    """Is told every event."""

    def observe(self, event: Event) -> None:
        """Take one event."""
