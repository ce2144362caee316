"""The layers of a model ranked by what quantizing each costs; a worker process does it (`tasks.sensitivity`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from kexport import machine
from kexport.errors import EnvironmentFailure, KexportError, UsageError
from kexport.pipeline import memory
from kexport.pipeline.cells import Event, Observer
from kexport.pipeline.runners import local as scheduler
from kexport.pipeline.runners.local import Outcome, Progress, Task
from kexport.pipeline.tasks.sensitivity import KIND, RANKING, RankRequest
from kexport.quantization.ranking import Ranking
from kexport.records import Record, Status, decode, decode_as, encode
from kexport.specs import ModelSpec


def ranking(model: ModelSpec, calibration: str, observer: Observer, *, images: int | None = None) -> Ranking:
    """Every layer of ``model`` that int8 would quantize. ``images`` of None takes fewer of large ones.

    Raises what ended the worker: UsageError or SourceError for images or a model that cannot be right.
    """
    memory.check(model, available_bytes=machine.memory_bytes())
    with tempfile.TemporaryDirectory(prefix="kexport-") as folder:
        request = RankRequest(
            model=model,
            calibration=calibration,
            folder=folder,
            images=images,
            threads=machine.cores(),
        )
        _play(request, observer)
        found: Ranking = decode_as(Ranking, (Path(folder) / RANKING).read_bytes())
    return found


def _play(request: RankRequest, observer: Observer) -> None:
    folder, label = Path(request.folder), f"{request.model.name} sensitivity"
    asked, answered = folder / "request.json", folder / "record.json"
    asked.write_text(encode(request))
    task = Task(
        name=KIND,
        argv=(sys.executable, "-m", "kexport.pipeline.worker", KIND, str(asked), str(answered)),
        result=answered,
        memory_bytes=memory.least_bytes(request.model),
        timeout_seconds=request.timeout_seconds,
    )

    def tell(progress: Progress) -> None:
        observer.observe(
            Event(label=label, step=progress.step, seconds=progress.seconds, memory_bytes=progress.memory_bytes)
        )

    outcome = scheduler.run([task], jobs=1, memory_bytes=machine.memory_bytes(), observe=tell)[KIND]
    record = _record(answered, outcome)
    observer.observe(
        Event(
            label=label,
            step="done",
            seconds=outcome.seconds,
            memory_bytes=outcome.peak_memory_bytes,
            status=record.status,
        )
    )
    if record.status is not Status.PASS:
        kinds = {kind.exit_code: kind for kind in (KexportError, UsageError, EnvironmentFailure)}
        raise kinds[record.exit_code](record.reason, hint=record.hint or None)


def _record(answered: Path, outcome: Outcome) -> Record:
    if answered.exists():
        return decode(answered.read_bytes())
    tail = "\n".join(outcome.stderr_tail.splitlines()[-3:])
    reason = f"the process that ranks the layers ended without a result: {outcome.reason}\n{tail}"
    return Record(
        model="", format="", scheme="", status=Status.ERROR, reason=reason.strip(),
        hint="kexport doctor (memory, packages), or fewer images: --images 4",
    )  # fmt: skip
