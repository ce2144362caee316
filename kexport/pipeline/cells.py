"""Cells to processes: which task runs when, what it may use, and which record comes of it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kexport import disk, files, machine, store
from kexport.errors import KexportError, StoreError
from kexport.evidence.scores import Measure
from kexport.formats import write
from kexport.images import given
from kexport.options.place import Url
from kexport.pipeline import elsewhere, full_disk, memory, unsupported
from kexport.pipeline.ask import Question
from kexport.pipeline.events import ENDED, Event, Observer
from kexport.pipeline.failures import failed
from kexport.pipeline.kept import Kept
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.runners import local
from kexport.pipeline.runners.jobs import Job, Outcome, Progress, default_jobs
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_KERAS, WITH_RUNTIMES, Failure
from kexport.pipeline.tasks.cell import CellRequest, make_cell
from kexport.pipeline.tasks.prepare import PrepareRequest, prepare_live
from kexport.pipeline.waiting import ALONE, CELL_FIRST, Group, Waiting, groups_of
from kexport.pipeline.worker import attempt
from kexport.records import Record
from kexport.sources.loading import live
from kexport.sources.prepared import Prepared
from kexport.specs import CALIBRATED, Cell
from kexport.store.mirror import Mirror


@dataclass(kw_only=True)
class CellRun:
    """Runs the cells of a request: one Keras process per model, then one process per cell.

    ``live`` are models of this program, by name: they are prepared here, before any process. ``data`` are the files of
    its arrays, ``own`` is a figure of its own: cells are then made here as well. ``recheck`` compares published
    artifacts again; those whose reference is ``kept`` need no Keras. ``force``: nothing is taken from earlier runs.
    ``isolate``: processes import their modules themselves. Failures of the request or the environment: `keep_failures`.
    """

    directory: Path
    workspace: Path
    observer: Observer
    timeout_seconds: float = 1800.0
    recheck: bool = False
    isolate: bool = False
    force: bool = False
    live: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    own: Measure | None = None
    mirror: Mirror | None = None
    memory_bytes: int | None = None
    cores: int | None = None
    skip_unsupported: bool = False
    kept: Mapping[Cell, Kept] = field(default_factory=dict)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _made: dict[Cell, Record] = field(default_factory=dict)
    _unstored: dict[Cell, Record] = field(default_factory=dict)
    _reserve: disk.Reserve = field(init=False)
    _limits: memory.Limits = field(init=False)
    _threads: int = 1

    def __post_init__(self) -> None:
        with files.foreign_errors(self.directory):
            self._reserve = disk.Reserve(self.workspace)

    def run(self, cells: tuple[Cell, ...], *, jobs: int | None) -> dict[Cell, Record]:
        """Every cell's record, whatever happened to it. EnvironmentFailure for a model that cannot fit into memory."""
        self._limits = memory.limits(asked_bytes=self.memory_bytes, cores=self.cores)
        cells = tuple(cell for cell in cells if self._fits(cell))
        groups = groups_of((cell for cell in cells if cell not in self.kept), self.workspace)
        for group in groups:
            memory.check(group.model, available_bytes=machine.memory_bytes())
        budget, cores = self._limits.memory_bytes, self._limits.cores
        largest = max((memory.keras_bytes(group.model) for group in groups), default=memory.GIB)
        count = jobs or default_jobs(cores, budget, min(largest, budget // 2))
        self._threads = max(1, cores // count)
        if self.live and self.own is None and not self.isolate:  # they start while the models are prepared here
            local.warm((WITH_RUNTIMES,), jobs=count, cores=cores)
        first = [job for group in groups for job in self._first(group)]
        first += filter(None, (self._cell(self._furnished(cell), 0, "") for cell in cells if cell in self.kept))
        local.run(
            first,
            jobs=count,
            memory_bytes=budget,
            observe=self._tell,
            limit_bytes=self.memory_bytes,
            on_done=self._continue,
            cores=cores,
            ahead=() if self.isolate or not first else (WITH_RUNTIMES,),
        )
        return self._made

    def _fits(self, cell: Cell, reason: str = "") -> bool:
        """Whether a cell may begin; one that needs more memory than the user allows has ended here."""
        error = self._limits.refusal(cell, reason)
        if error is not None:
            failure = Failure(kind=type(error).__name__, message=error.message, hint=error.hint)
            self._finish(cell, failed(cell, failure, self._place), 0.0, 0)
        return error is None

    def keep_failures(self) -> None:
        """Store the failures that lie with the request or with this environment."""
        for cell, record in self._made.items():
            if not (record.published or record.skipped) and (
                record.exit_code != KexportError.exit_code or cell in self._unstored
            ):
                self._keep_failure(cell, record)

    @property
    def _place(self) -> Path | Url:
        """What the user calls the directory."""
        return self.directory if self.mirror is None else self.mirror.told

    def _furnished(self, cell: Cell) -> Group:
        """A group of one cell whose folder needs no Keras process: it is made from what is kept."""
        folder = self.workspace / f"kept{len(self._waiting)}"
        folder.mkdir()
        self.kept[cell].furnish(folder, cell)
        return Group(index=-1, folder=folder, model=cell.model, cells=(cell,))

    def _first(self, group: Group) -> Iterable[Job]:
        """The Keras process of a model; the cells of one that is live, which is prepared at once."""
        with files.foreign_errors(self.directory):
            group.folder.mkdir()
        first = group.cells[0]
        for text in {first.evaluation, first.calibration} & set(self.data):
            (group.folder / given.name_of(str(text))).symlink_to(self.data[str(text)].resolve())
        request = PrepareRequest(
            model=group.model,
            folder=str(group.folder),
            cells=() if self.recheck else group.cells,
            evaluation=first.evaluation,
            calibration=first.calibration,
            calibrated=any(cell.scheme in CALIBRATED for cell in group.cells),
            elsewhere=bool(group.left),
        )
        return self._prepared_here(group, request) if group.model.live else [self._prepare(group, request)]

    def _prepared_here(self, group: Group, request: PrepareRequest) -> Iterable[Job]:
        clock, start = self._clock(self._keras_label(group)), time.monotonic()
        answer = attempt(lambda: prepare_live(self.live[group.model.live], request, clock), clock)
        return self._answered(group, group.cells, answer, time.monotonic() - start, machine.peak_memory_bytes())

    def _prepare(self, group: Group, request: PrepareRequest) -> Job:
        """The Keras process of a model."""
        return self._job(
            Waiting(
                question=Question.write("prepare", request, group.folder),
                group=group,
                cells=group.cells,
                label=self._keras_label(group),
                priority=memory.parameters(group.model),
                warm=WITH_KERAS,
            ),
            memory_bytes=memory.keras_bytes(group.model),
        )

    def _keras_label(self, group: Group) -> str:
        return f"{group.keras}{' (no stored reference)' if self.recheck and not group.asked else ''}"

    def _cell(self, group: Group, number: int, refusal: str) -> Job | None:
        """The process of one cell; nothing where it was made here."""
        cell = group.cells[number]
        request = CellRequest(
            cell=cell,
            folder=str(group.folder),
            directory=str(self.directory),
            reproduce=reproduce(cell, self._place, own=self.own is not None),
            threads=self._threads,
            reuse=not self.force,
        )
        if self.own is not None:
            self._made_here(group, request)
            return None
        task = "recheck" if self.recheck else "cell"
        return self._job(
            Waiting(
                question=Question.write(task, request, group.folder, name=f"cell{number}"),
                group=group,
                cells=(cell,),
                label=cell.label,
                priority=CELL_FIRST + memory.parameters(cell.model),
                warm=WITH_KERAS if write.needs_keras(cell, refusal) else WITH_RUNTIMES,
            ),
            memory_bytes=memory.cell_bytes(cell, refusal),
        )

    def _made_here(self, group: Group, request: CellRequest) -> None:
        clock, start = self._clock(request.cell.label), time.monotonic()
        with live.random_numbers():
            answer = attempt(lambda: make_cell(request, clock, own=self.own), clock)
        self._answered(group, (request.cell,), answer, time.monotonic() - start, machine.peak_memory_bytes())

    def _clock(self, label: str) -> Clock:
        """Steps of work that is done in this process."""
        start, me = time.monotonic(), os.getpid()
        return Clock(
            hears=lambda step: self._observe(label, step, time.monotonic() - start, machine.resident_bytes(me))
        )

    def _job(self, waiting: Waiting, *, memory_bytes: int) -> Job:
        name = str(len(self._waiting))
        self._waiting[name] = waiting
        return waiting.question.job(
            name,
            memory_bytes=memory_bytes,
            timeout_seconds=self.timeout_seconds,
            priority=waiting.priority,
            warm=() if self.isolate else waiting.warm,
            environment=waiting.environment,
        )

    def _continue(self, outcome: Outcome) -> Iterable[Job]:
        """What comes of a process; one that was killed is tried again, once, alone."""
        waiting = self._waiting[outcome.name]
        full_disk.require_there(self.directory, self.workspace)
        if outcome.signal == signal.SIGKILL and not outcome.timed_out and not waiting.again:
            return [self._job(replace(waiting, again=True), memory_bytes=ALONE)]
        answer = waiting.question.answer(outcome)
        return self._answered(waiting.group, waiting.cells, answer, outcome.seconds, outcome.peak_memory_bytes)

    def _answered(
        self, group: Group, cells: tuple[Cell, ...], answer: Any, seconds: float, peak_bytes: int
    ) -> Iterable[Job]:
        """After a Keras process its cells; after the last cell of a model its folder is removed."""
        if isinstance(answer, Prepared):
            self._observe(self._keras_label(group), ENDED, seconds, peak_bytes)
            if group.left:
                return [self._job(elsewhere.waiting(group), memory_bytes=memory.keras_bytes(group.model))]
            return [job for number in range(len(group.cells)) for job in self._started(group, number, answer)]
        answer = elsewhere.told(answer, group, self._place)
        for cell in cells:
            record = answer
            if isinstance(answer, Failure):
                record = failed(cell, full_disk.told(answer, cell, self.directory, group.folder), self._place)
            self._finish(cell, record, seconds, peak_bytes)
        if all(cell in self._made for cell in group.cells):
            shutil.rmtree(group.folder, ignore_errors=True)
        return []

    def _started(self, group: Group, number: int, ready: Prepared) -> Iterator[Job]:
        """The job of a cell; none where it was made here, is left out, or the disk has no room for the question."""
        cell = group.cells[number]
        skipped = unsupported.known(cell, ready) if self.skip_unsupported else None
        if skipped is not None:
            yield from self._answered(group, (cell,), skipped, 0.0, 0)
        if skipped is not None or not self._fits(cell, ready.refusal_of(cell.format)):
            return
        try:
            job = self._reserve.spend(lambda: self._cell(group, number, ready.refusal_of(cell.format)))
        except StoreError as error:
            if not disk.is_full(error):
                raise
            self._answered(group, (cell,), Failure.full(), 0.0, 0)
        else:
            yield from () if job is None else (job,)

    def _finish(self, cell: Cell, record: Record, seconds: float, peak_bytes: int) -> None:
        if record.published:
            store.forget_failure(self.directory, cell)
            if self.mirror is not None:
                self.mirror.push(record)
        elif record.exit_code == KexportError.exit_code:
            self._keep_failure_if_it_fits(cell, record)
        self._made[cell] = record
        self._observe(cell.label, "done", seconds, peak_bytes, status=record.status)

    def _keep_failure_if_it_fits(self, cell: Cell, record: Record) -> None:
        """Store a failure's record now, or on a full disk at the end of the run, when its staging is gone."""
        try:
            self._keep_failure(cell, record)
        except StoreError as error:
            if not disk.is_full(error):
                raise
            self._unstored[cell] = record

    def _keep_failure(self, cell: Cell, record: Record) -> None:
        """Store a failure's record; beside that of an artifact that stands there from another run.

        A recheck has written its own record already.
        """
        if not self.recheck:
            self._reserve.spend(lambda: store.write_failure(self.directory, cell, replace(record, artifact=None)))

    def _tell(self, progress: Progress) -> None:
        self._observe(self._waiting[progress.name].label, progress.step, progress.seconds, progress.memory_bytes)

    def _observe(self, label: str, step: str, seconds: float, peak_bytes: int, *, status: str | None = None) -> None:
        self.observer.observe(Event(label=label, step=step, seconds=seconds, memory_bytes=peak_bytes, status=status))
