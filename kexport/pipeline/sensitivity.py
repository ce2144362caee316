"""The layers of a model ranked by what quantizing each costs; a worker process does it (`tasks.sensitivity`)."""

from __future__ import annotations

from kexport import machine
from kexport.pipeline import memory
from kexport.pipeline.ask import ask
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.runners.jobs import Progress
from kexport.pipeline.tasks.sensitivity import RankRequest
from kexport.quantization.ranking import Ranking
from kexport.specs import ModelSpec


def ranking(model: ModelSpec, calibration: str, observer: Observer, *, images: int | None = None) -> Ranking:
    """Every layer of ``model`` that int8 would quantize. ``images`` of None takes fewer of large ones.

    Raises what ended the worker: UsageError or SourceError for images or a model that cannot be right.
    """
    memory.check(model, available_bytes=machine.memory_bytes())
    request = RankRequest(model=model, calibration=calibration, images=images, threads=machine.cores())

    def tell(progress: Progress) -> None:
        observer.observe(
            Event(
                label=f"{model.name} sensitivity",
                step=progress.step,
                seconds=progress.seconds,
                memory_bytes=progress.memory_bytes,
            )
        )

    found: Ranking = ask(
        "sensitivity",
        request,
        what=f"ranking the layers of {model.source}",
        timeout_seconds=request.timeout_seconds,
        tell=tell,
        hint="kexport doctor (memory, packages), or fewer images: --images 4",
    )
    return found
