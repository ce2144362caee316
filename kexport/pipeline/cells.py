"""Cells to processes: which task runs when, what it may use, and which record comes of it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kexport import machine, store
from kexport.errors import KexportError, StoreError
from kexport.formats import write
from kexport.pipeline import memory
from kexport.pipeline.runners import local as scheduler
from kexport.pipeline.runners.local import Outcome, Progress, Task
from kexport.pipeline.worker import CellRequest, PrepareRequest
from kexport.records import Record, Status, decode, encode
from kexport.sources import catalog
from kexport.sources.prepared import load as load_prepared
from kexport.specs import CALIBRATED, Boundary, Cell, Engine, ModelSpec

GIB = 2**30
MEMORY_SHARE = 0.8
BYTES_PER_PARAMETER = 4
_KERAS_GIB, _KERAS_WEIGHT_COPIES = 0.9, 3
_CELL_GIB, _CELL_WEIGHT_COPIES = 0.25, 4
_PIXELS, _IMAGE_GIB = 224 * 224, 0.15
_CALIBRATION_IMAGES = 8  # in float32 at once, about: a network's values wait for their readers as int8
_USUAL_SIDE = 224  # of a model that is not known before it is built


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


@dataclass(kw_only=True)
class Orchestra:
    """Runs the cells of a request: one Keras process per model, then one process per cell.

    ``recheck`` compares the published artifacts again instead of making new ones. Failures that lie with the
    request or with this environment are not stored at once: `keep_failures` does, unless they are the whole run.
    """

    directory: Path
    workspace: Path
    observer: Observer
    timeout_seconds: float = 1800.0
    recheck: bool = False
    _labels: dict[str, str] = field(default_factory=dict)
    _cells: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    _made: dict[Cell, Record] = field(default_factory=dict)
    _threads: int = 1

    def play(self, cells: tuple[Cell, ...], *, jobs: int | None) -> dict[Cell, Record]:
        """Every cell's record, whatever happened to it. EnvironmentFailure for a model that cannot fit into memory."""
        groups: dict[tuple[ModelSpec, str | None, str | None], list[Cell]] = {}
        for cell in cells:
            groups.setdefault((cell.model, cell.evaluation, cell.calibration), []).append(cell)
        for model, *_ in groups:
            memory.check(model, available_bytes=machine.memory_bytes())
        tasks = [self._prepare_task(index, key[0], tuple(group)) for index, (key, group) in enumerate(groups.items())]
        budget = min(int(machine.memory_bytes() * MEMORY_SHARE), machine.available_bytes())
        largest = max((task.memory_bytes for task in tasks), default=GIB)
        count = jobs or scheduler.default_jobs(machine.cores(), budget, min(largest, budget // 2))
        self._threads = max(1, machine.cores() // count)
        scheduler.run(
            tasks, jobs=count, memory_bytes=budget, observe=self._tell, on_done=self._continue, cores=machine.cores()
        )
        return self._made

    def _prepare_task(self, index: int, model: ModelSpec, cells: tuple[Cell, ...]) -> Task:
        name = f"prepare {index}"
        folder = self._folder(index)
        folder.mkdir()
        self._labels[name], self._cells[name] = f"{model.name} keras", cells
        keep = not self.recheck and any(write.needs_keras(cell, "") for cell in cells)
        sets = {"evaluation": cells[0].evaluation, "calibration": cells[0].calibration}
        calibrated = any(cell.scheme in CALIBRATED for cell in cells)
        request = PrepareRequest(model=model, folder=str(folder), keep_weights=keep, calibrated=calibrated, **sets)
        (folder / "prepare.json").write_text(encode(request))
        return Task(
            name=name,
            argv=_worker("prepare", folder / "prepare.json", folder / "prepared.json"),
            result=folder / "prepared.json",
            memory_bytes=_keras_bytes(model),
            timeout_seconds=self.timeout_seconds,
            priority=_parameters(model),
        )

    def _cell_task(self, index: int, number: int, cell: Cell, refusal: str) -> Task:
        folder = self._folder(index)
        name = f"cell {index} {number}"
        self._labels[name], self._cells[name] = cell.label, (cell,)
        request = CellRequest(
            cell=cell,
            folder=str(folder),
            directory=str(self.directory),
            reproduce=reproduce(cell, self.directory),
            threads=self._threads,
            recheck=self.recheck,
        )
        asked, answered = folder / f"cell{number}.json", folder / f"cell{number}-record.json"
        asked.write_text(encode(request))
        return Task(
            name=name,
            argv=_worker("cell", asked, answered),
            result=answered,
            memory_bytes=_cell_bytes(cell, refusal),
            timeout_seconds=self.timeout_seconds,
            priority=2**40 + _parameters(cell.model),
        )

    def _continue(self, outcome: Outcome) -> Iterable[Task]:
        """After a Keras process its cells; after the last cell of a model its folder is removed."""
        kind, index, *_ = outcome.name.split()
        cells = self._cells[outcome.name]
        record = self._result(outcome)
        if kind == "prepare" and record.status is Status.PASS:
            refusal = load_prepared(self._folder(int(index))).refusal
            return [self._cell_task(int(index), number, cell, refusal) for number, cell in enumerate(cells)]
        for cell in cells:
            self._finish(cell, _for_cell(record, cell, self.directory), outcome)
        if all(cell in self._made for cell in self._cells[f"prepare {index}"]):
            shutil.rmtree(self._folder(int(index)), ignore_errors=True)
        return []

    def _result(self, outcome: Outcome) -> Record:
        folder = self._folder(int(outcome.name.split()[1]))
        kind, _, *number = outcome.name.split()
        path = folder / ("prepared.json" if kind == "prepare" else f"cell{number[0]}-record.json")
        try:
            return decode(path.read_bytes())
        except (OSError, StoreError):
            return Record(
                model="", format="", scheme="", status=Status.ERROR,
                reason=f"its process ended without a result: {outcome.reason}",
                hint="--timeout for more time, --jobs 1 for more memory" if outcome.timed_out or outcome.signal else "",
                traceback=outcome.stderr_tail,
            )  # fmt: skip

    def _finish(self, cell: Cell, record: Record, outcome: Outcome) -> None:
        if record.status is Status.PASS:
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

    def keep_failures(self) -> None:
        """Store the failures that lie with the request or with this environment."""
        for cell, record in self._made.items():
            if record.status is not Status.PASS and record.exit_code != KexportError.exit_code:
                self._keep_failure(cell, record)

    def _keep_failure(self, cell: Cell, record: Record) -> None:
        """Store a failure's record; beside that of an artifact that stands there from another run.

        A recheck has written its own record already.
        """
        if not self.recheck:
            store.write_failure(self.directory, cell, replace(record, artifact=None))

    def _tell(self, progress: Progress) -> None:
        self.observer.observe(
            Event(
                label=self._labels[progress.name],
                step=progress.step,
                seconds=progress.seconds,
                memory_bytes=progress.memory_bytes,
            )
        )

    def _folder(self, index: int) -> Path:
        return self.workspace / f"model{index}"


def _for_cell(record: Record, cell: Cell, directory: Path) -> Record:
    """A record that speaks of the cell, also where the model's own process failed."""
    return replace(
        record, model=cell.model.name, format=cell.format, scheme=cell.scheme, reproduce=reproduce(cell, directory)
    )


def reproduce(cell: Cell, directory: Path) -> str:
    """The command that makes this one cell again."""
    if cell.model.live:
        return f"kexport.export(model, formats={str(cell.format)!r}, scheme={str(cell.scheme)!r}, force=True)"
    return shlex.join(["kexport", "export", cell.model.source, *_options(cell), "-o", str(directory), "--force"])


def _options(cell: Cell) -> Iterator[str]:
    model = cell.model
    yield from ("--formats", cell.format, "--schemes", cell.scheme)
    chosen = {
        "--weights": None if model.weights.kind == "model" else str(model.weights),
        "--alpha": None if model.alpha is None else f"{model.alpha:g}",
        "--input-shape": ",".join(map(str, model.input_shape)) if model.input_shape else None,
        "--classes": None if model.classes == 1000 else str(model.classes),
        "--pooling": model.pooling,
        "--labels": model.labels,
        "--batch": None if cell.batch is None else str(cell.batch),
        "--opset": None if cell.opset == Cell.opset else str(cell.opset),
        "--engine": None if cell.engine == Engine.AUTO else cell.engine,
        "--calibration": cell.calibration,
        "--eval": cell.evaluation,
        "--max-drop": None if cell.max_drop is None else f"{cell.max_drop:g}",
        "--io": None if cell.io is Boundary.FLOAT32 else cell.io,
    }
    for option, value in chosen.items():
        yield from () if value is None else (option, value)
    for name in model.layers:
        yield from ("--layer", name)
    switches = {"--minimalistic": model.minimalistic, "--no-top": not model.include_top, "--trust": model.trust}
    for option, given in switches.items():
        yield from (option,) if given else ()


def _worker(kind: str, request: Path, result: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "kexport.pipeline.worker", kind, str(request), str(result))


def _parameters(model: ModelSpec) -> int:
    return memory.parameters(model)


def _image_bytes(model: ModelSpec) -> float:
    side = catalog.application(model.application).default_size if model.application else _USUAL_SIDE
    height, width, _ = model.input_shape or (side, side, 3)
    return _IMAGE_GIB * GIB * height * width / _PIXELS


def _keras_bytes(model: ModelSpec) -> int:
    weights = _parameters(model) * BYTES_PER_PARAMETER
    return int(_KERAS_GIB * GIB + _KERAS_WEIGHT_COPIES * weights + 2 * _image_bytes(model))


def _cell_bytes(cell: Cell, refusal: str) -> int:
    weights = _parameters(cell.model) * BYTES_PER_PARAMETER
    engine = write.engine_of(cell, refusal)
    if engine.from_model:
        return int(_KERAS_GIB * GIB + engine.weight_copies * weights + 2 * _image_bytes(cell.model))
    images = _CALIBRATION_IMAGES if cell.scheme in CALIBRATED else 1
    return int(_CELL_GIB * GIB + _CELL_WEIGHT_COPIES * weights + images * _image_bytes(cell.model))
