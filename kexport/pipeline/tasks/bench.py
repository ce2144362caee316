"""One measurement of latency, in a process that does nothing else."""

from __future__ import annotations

from kexport.evidence import benchmark
from kexport.evidence.benchmark import BenchRequest
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Task
from kexport.records import BenchRecord


def measure(request: BenchRequest, clock: Clock) -> BenchRecord:
    """Load time, samples, memory and threads of one runtime with one model."""
    with clock.step("bench"):
        return benchmark.execute(request)


TASK = Task(request=BenchRequest, answer=BenchRecord, run=measure)
