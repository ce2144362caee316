"""What an artifact cost to make and takes to run."""

from __future__ import annotations

from dataclasses import dataclass

from kexport.records.profiled import Profile


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """Raw latencies of one session, in seconds, after ``warmup`` runs that are not kept.

    ``first_seconds`` is the very first run after loading; None in records of 0.1. ``profile`` was asked
    for with --profile.
    """

    runtime: str
    device: str
    effective: str
    threads: int
    batch: int
    warmup: int
    load_seconds: float
    samples_seconds: tuple[float, ...]
    peak_memory_bytes: int
    machine: dict[str, str]
    first_seconds: float | None = None
    profile: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What making the artifact took, in the process that made it."""

    seconds: dict[str, float]
    peak_memory_bytes: int
