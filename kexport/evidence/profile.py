"""Where the time of an inference goes: the operators of a file, measured after its latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kexport.errors import UnsupportedError
from kexport.evidence import roofline
from kexport.records import Limits, Profile
from kexport.runtimes import SessionOptions, Tensor, profiling

if TYPE_CHECKING:
    from kexport.evidence.benchmark import BenchRequest


def profiled(request: BenchRequest, inputs: Mapping[str, Tensor], *, run_seconds: float) -> Profile:
    """The profile of a file in this process; where its runtime cannot tell, why not."""
    settings = request.settings
    options = SessionOptions(device=settings.device, threads=settings.threads, batch=settings.batch)
    try:
        found = profiling.profile(
            request.runtime, Path(request.path or ""), inputs, options=options, run_seconds=run_seconds
        )
    except UnsupportedError as error:
        return Profile(method="", layers=False, runs=0, operators=(), missing=error.message)
    return replace(found, limits=_limits(found, settings.threads))


def _limits(found: Profile, threads: int) -> Limits | None:
    if not roofline.can_measure():
        return None
    return roofline.limits(threads, sum(each.moved_bytes for each in found.work))
