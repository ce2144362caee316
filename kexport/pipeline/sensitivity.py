"""The layers of a model ranked by what quantizing each costs; a worker process does it (`tasks.sensitivity`)."""

from __future__ import annotations

import time
from typing import Any

from kexport import machine
from kexport.pipeline import memory
from kexport.pipeline.ask import ask
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.runners.jobs import Progress
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks.sensitivity import RankRequest, rank_live
from kexport.quantization.ranking import Ranking
from kexport.specs import ModelSpec


def ranking(
    model: ModelSpec,
    calibration: str,
    observer: Observer,
    *,
    images: int | None = None,
    live: Any = None,
    data: str = "",
) -> Ranking:
    """Every layer of ``model`` that int8 would quantize. ``images`` of None takes fewer of large ones.

    ``live`` is the model itself, where it is one of this program: the work is done here. ``data`` is the folder of
    arrays that are the program's too.

    Raises what ended the worker: UsageError or SourceError for images or a model that cannot be right.
    """
    memory.check(model, available_bytes=machine.memory_bytes())
    request = RankRequest(model=model, calibration=calibration, images=images, threads=machine.cores(), data=data)

    def event(step: str, seconds: float, memory_bytes: int) -> None:
        label = f"{model.name} sensitivity"
        observer.observe(Event(label=label, step=step, seconds=seconds, memory_bytes=memory_bytes))

    def tell(progress: Progress) -> None:
        event(progress.step, progress.seconds, progress.memory_bytes)

    if live is not None:
        start = time.monotonic()
        clock = Clock(hears=lambda step: event(step, time.monotonic() - start, machine.peak_memory_bytes()))
        return rank_live(live, request, clock)
    found: Ranking = ask(
        "sensitivity",
        request,
        what=f"ranking the layers of {model.source}",
        timeout_seconds=request.timeout_seconds,
        tell=tell,
        hint="kexport doctor (memory, packages), or fewer images: --images 4",
    )
    return found
