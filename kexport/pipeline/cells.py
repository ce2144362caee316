"""Cells to processes: which task runs when, what it may use, and which record comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from kexport import machine, store
from kexport.errors import KexportError
from kexport.formats import write
from kexport.pipeline import memory
from kexport.pipeline.ask import Question
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.runners import local
from kexport.pipeline.runners.jobs import Job, Outcome, Progress, default_jobs
from kexport.pipeline.tasks import Failure
from kexport.pipeline.tasks.cell import CellRequest
from kexport.pipeline.tasks.prepare import PrepareRequest
from kexport.records import Cost, Record
from kexport.sources.prepared import Prepared
from kexport.specs import CALIBRATED, Cell, ModelSpec

MEMORY_SHARE = 0.8
CELL_FIRST = 2**40
"""Cells come before the next model's Keras process: their folder can go."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells that share a model and its images, and the folder where they find it prepared."""

    index: int
    folder: Path
    model: ModelSpec
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job that was started: its question, for which cells, and how a display calls it."""

    question: Question
    group: Group
    cells: tuple[Cell, ...]
    label: str


@dataclass(kw_only=True)
class CellRun:
    """Runs the cells of a request: one Keras process per model, then one process per cell.

    ``recheck`` compares the published artifacts again instead of making new ones. Failures that lie with the
    request or with this environment are not stored at once: `keep_failures` does, unless they are the whole run.
    """

    directory: Path
    workspace: Path
    observer: Observer
    timeout_seconds: float = 1800.0
    recheck: bool = False
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _made: dict[Cell, Record] = field(default_factory=dict)
    _threads: int = 1

    def run(self, cells: tuple[Cell, ...], *, jobs: int | None) -> dict[Cell, Record]:
        """Every cell's record, whatever happened to it. EnvironmentFailure for a model that cannot fit into memory."""
        groups = self._groups(cells)
        for group in groups:
            memory.check(group.model, available_bytes=machine.memory_bytes())
        first = [self._prepare(group) for group in groups]
        budget = min(int(machine.memory_bytes() * MEMORY_SHARE), machine.available_bytes())
        largest = max((job.memory_bytes for job in first), default=memory.GIB)
        count = jobs or default_jobs(machine.cores(), budget, min(largest, budget // 2))
        self._threads = max(1, machine.cores() // count)
        local.run(
            first, jobs=count, memory_bytes=budget, observe=self._tell, on_done=self._continue, cores=machine.cores()
        )
        return self._made

    def keep_failures(self) -> None:
        """Store the failures that lie with the request or with this environment."""
        for cell, record in self._made.items():
            if not record.published and record.exit_code != KexportError.exit_code:
                self._keep_failure(cell, record)

    def _groups(self, cells: tuple[Cell, ...]) -> list[Group]:
        shared: dict[tuple[ModelSpec, str | None, str | None], list[Cell]] = {}
        for cell in cells:
            shared.setdefault((cell.model, cell.evaluation, cell.calibration), []).append(cell)
        return [
            Group(index=index, folder=self.workspace / f"model{index}", model=key[0], cells=tuple(group))
            for index, (key, group) in enumerate(shared.items())
        ]

    def _prepare(self, group: Group) -> Job:
        """The Keras process of a model."""
        group.folder.mkdir()
        first = group.cells[0]
        request = PrepareRequest(
            model=group.model,
            folder=str(group.folder),
            keep_weights=not self.recheck and any(write.needs_keras(cell, "") for cell in group.cells),
            evaluation=first.evaluation,
            calibration=first.calibration,
            calibrated=any(cell.scheme in CALIBRATED for cell in group.cells),
        )
        return self._job(
            Waiting(
                question=Question.write("prepare", request, group.folder),
                group=group,
                cells=group.cells,
                label=f"{group.model.name} keras",
            ),
            memory_bytes=memory.keras_bytes(group.model),
            priority=memory.parameters(group.model),
        )

    def _cell(self, group: Group, number: int, refusal: str) -> Job:
        """The process of one cell."""
        cell = group.cells[number]
        request = CellRequest(
            cell=cell,
            folder=str(group.folder),
            directory=str(self.directory),
            reproduce=reproduce(cell, self.directory),
            threads=self._threads,
        )
        task = "recheck" if self.recheck else "cell"
        return self._job(
            Waiting(
                question=Question.write(task, request, group.folder, name=f"cell{number}"),
                group=group,
                cells=(cell,),
                label=cell.label,
            ),
            memory_bytes=memory.cell_bytes(cell, refusal),
            priority=CELL_FIRST + memory.parameters(cell.model),
        )

    def _job(self, waiting: Waiting, *, memory_bytes: int, priority: int) -> Job:
        name = str(len(self._waiting))
        self._waiting[name] = waiting
        return Job(
            name=name,
            argv=waiting.question.argv,
            result=waiting.question.answered,
            memory_bytes=memory_bytes,
            timeout_seconds=self.timeout_seconds,
            priority=priority,
        )

    def _continue(self, outcome: Outcome) -> Iterable[Job]:
        """After a Keras process its cells; after the last cell of a model its folder is removed."""
        waiting = self._waiting[outcome.name]
        answer = waiting.question.answer(outcome)
        if isinstance(answer, Prepared):
            return [self._cell(waiting.group, number, answer.refusal) for number in range(len(waiting.group.cells))]
        for cell in waiting.cells:
            record = failed(cell, answer, self.directory) if isinstance(answer, Failure) else answer
            self._finish(cell, record, outcome)
        if all(cell in self._made for cell in waiting.group.cells):
            shutil.rmtree(waiting.group.folder, ignore_errors=True)
        return []

    def _finish(self, cell: Cell, record: Record, outcome: Outcome) -> None:
        if record.published:
            store.forget_failure(self.directory, cell)
        elif record.exit_code == KexportError.exit_code:
            self._keep_failure(cell, record)
        self._made[cell] = record
        self.observer.observe(
            Event(
                label=cell.label,
                step="done",
                seconds=outcome.seconds,
                memory_bytes=outcome.peak_memory_bytes,
                status=record.status,
            )
        )

    def _keep_failure(self, cell: Cell, record: Record) -> None:
        """Store a failure's record; beside that of an artifact that stands there from another run.

        A recheck has written its own record already.
        """
        if not self.recheck:
            store.write_failure(self.directory, cell, replace(record, artifact=None))

    def _tell(self, progress: Progress) -> None:
        self.observer.observe(
            Event(
                label=self._waiting[progress.name].label,
                step=progress.step,
                seconds=progress.seconds,
                memory_bytes=progress.memory_bytes,
            )
        )


def failed(cell: Cell, failure: Failure, directory: Path) -> Record:
    """The record of a cell whose process, or whose model's process, ended in a failure."""
    error = failure.error
    return Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        status=failure.status,
        reason=error.message,
        hint=error.hint or "",
        reproduce=reproduce(cell, directory),
        traceback=failure.traceback,
        exit_code=error.exit_code,
        cost=Cost(seconds=failure.seconds, peak_memory_bytes=failure.peak_memory_bytes),
        versions=machine.versions(),
    )
