"""Two artifacts by turns, in a process that does nothing else."""

from __future__ import annotations

from kexport.evidence import versus
from kexport.evidence.versus import Versus, VersusRequest
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Task


def measure(request: VersusRequest, clock: Clock) -> Versus:
    """The pairs."""
    with clock.step("bench"):
        return versus.execute(request)


TASK = Task(request=VersusRequest, answer=Versus, run=measure)
"""Pairs of latencies."""
