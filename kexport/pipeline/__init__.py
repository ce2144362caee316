"""The way of the data, on one screen.

The flow is data, two tuples of steps: `PREPARE` runs once per model, in a process that holds Keras; `CELL` runs in a
process of its own for each cell, a model times a format times a scheme. `flow` tells both in a line each. Then come
the benchmark, where it was asked for, and the manifest.

The first process holds Keras and leaves the graph and the reference on disk (`prepared`); the cells map them and need
no Keras. For a model of a Python program that first process is the program itself. Cells are independent: one that
crashes, hangs or fails takes no other with it.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexport.errors import EnvironmentFailure, UsageError
from kexport.pipeline.events import Event, Observer

if TYPE_CHECKING:
    from kexport.evidence.benchmark import BenchSettings
    from kexport.evidence.scores import Measure
    from kexport.pipeline.tasks.cell import CELL
    from kexport.pipeline.tasks.prepare import PREPARE
    from kexport.records import Record
    from kexport.specs import Cell
    from kexport.store.mirror import Mirror

_FLOW = {"PREPARE": "kexport.pipeline.tasks.prepare", "CELL": "kexport.pipeline.tasks.cell"}


def __getattr__(name: str) -> Any:
    """The two tuples of steps, which are imported when they are asked for: who starts a run waits for less."""
    if name not in _FLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_FLOW[name]), name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to make and where. ``jobs`` of None is what cores and memory allow.

    ``live`` has the models of this program by the names that the cells call them, ``data`` the files of its arrays,
    ``own`` a figure of its own (cells are then made here, one after the other: a function goes into no other process).
    ``isolate``: processes are not forked from one that has imported what they need, each imports it itself.
    ``auto``: of the files of a model in a format one is taken. ``skip_unsupported``: cells that nothing can make are
    left out before their work begins, and told.
    ``mirror``: the directory stands for one at a URL, where each cell goes when it is done.
    ``note`` hears of files that are replaced and were made from something else. ``cluster`` is the address of the Dask
    scheduler whose workers make the cells; what one of them makes is a ``part`` of a request, with so many ``cores``.
    ``memory_bytes`` is the limit that the user has set.
    """

    cells: tuple[Cell, ...]
    directory: Path
    live: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    own: Measure | None = None
    jobs: int | None = None
    resume: bool = False
    force: bool = False
    bench: BenchSettings | None = None
    timeout_seconds: float = 1800.0
    isolate: bool = False
    skip_unsupported: bool = False
    auto: bool = False
    mirror: Mirror | None = None
    note: Callable[[str], None] = lambda _: None
    cluster: str | None = None
    part: bool = False
    cores: int | None = None
    memory_bytes: int | None = None


def flow() -> tuple[str, str]:
    """The steps of a model's Keras process, and those of a cell's, as arrows."""
    from kexport.pipeline.steps import names
    from kexport.pipeline.tasks.cell import CELL
    from kexport.pipeline.tasks.prepare import PREPARE

    return " -> ".join(names(PREPARE)), " -> ".join(names(CELL))


def ahead() -> None:
    """Let Keras's process start now: importing Keras takes longer than what a run needs before it."""
    from kexport.pipeline.runners import local
    from kexport.pipeline.tasks import WITH_KERAS

    local.warm((WITH_KERAS,), jobs=1)


def run(request: Request, observer: Observer) -> tuple[Record, ...]:
    """Make every cell of the request; one record per cell, in the request's order.

    Artifacts and records are published one by one, the manifest last. Raises UsageError or StoreError
    before any work if the directory cannot be used, and UsageError or EnvironmentFailure, leaving no file behind,
    if every cell ended with that same error; whatever else goes wrong is in the records.
    """
    from kexport.pipeline import cluster, resume, same_name, space
    from kexport.pipeline.workspace import workspace

    space.require_names(request.cells, request.directory)
    if request.cluster is not None:
        return cluster.run(request, observer)
    with workspace(request.directory) as staging:
        resumes = request.resume and request.own is None
        kept = resume.complete(request.cells, request.directory) if resumes else {}
        todo = tuple(cell for cell in request.cells if cell not in kept)
        for line in same_name.replaced(todo, request.directory):
            request.note(line)
        space.require(todo, request.directory)
        made = _make(request, todo, staging, observer)
        records = [kept.get(cell) or made[cell] for cell in request.cells]
        _state(request, staging, kept)
        if request.bench is not None:
            records = _bench_records(request.directory, records, request.bench, observer)
            records = _judged(request, staging, records)
    return tuple(records)


def recheck(
    paths: Sequence[Path],
    observer: Observer,
    *,
    trusted: Collection[str] = (),
    with_keras: bool = False,
    photographs: str | None = None,
) -> tuple[Record, ...]:
    """Check stored artifacts again, where they lie; the records are written anew.

    What Keras answered is read from the reference beside an artifact, and no code of its model runs. Where there is
    none, or where Keras is wanted (``with_keras``), Keras builds the model again: ``trusted`` names the factories and
    model files whose code may run then. On ``photographs`` that Keras saw, accuracy is measured again. A record whose
    model or reference cannot be had is not written anew: it comes back as an ERROR. Nothing is written
    beside lone files and in folders that cannot be written. Raises UsageError if a path holds no artifact with a
    record, and for other photographs.
    """
    from kexport import store
    from kexport.pipeline import lone
    from kexport.pipeline.artifacts import by_directory
    from kexport.pipeline.cells import CellRun
    from kexport.pipeline.kept import Recheck, recheck_of
    from kexport.pipeline.workspace import workspace

    stored, alone = lone.apart(paths)
    records: list[Record] = []
    for directory, found in by_directory(stored):
        with workspace(directory) as staging:
            asked = [
                recheck_of(directory, record, trusted, with_keras=with_keras, photographs=photographs)
                for record in found
            ]
            kept = {each.cell: each.kept for each in asked if isinstance(each, Recheck) and each.kept is not None}
            again = CellRun(directory=directory, workspace=staging, observer=observer, recheck=True, kept=kept)
            made = again.run(tuple(each.cell for each in asked if isinstance(each, Recheck)), jobs=None)
            records += (made[each.cell] if isinstance(each, Recheck) else each for each in asked)
            store.write_manifest(directory, only=[record.artifact.path for record in found if record.artifact])
    again_alone = partial(_recheck_one, observer=observer, with_keras=with_keras, photographs=photographs)
    return (*records, *lone.rechecked(alone, again_alone, trusted))


def _recheck_one(
    path: Path, trusted: Collection[str], *, observer: Observer, with_keras: bool, photographs: str | None
) -> tuple[Record, ...]:
    return recheck((path,), observer, trusted=trusted, with_keras=with_keras, photographs=photographs)


def bench(
    paths: Sequence[Path],
    settings: BenchSettings,
    observer: Observer,
    *,
    with_keras: bool = False,
    trusted: Collection[str] = (),
) -> tuple[Record, ...]:
    """Measure stored artifacts one after the other, each in its own process; records keep the raw samples.

    ``with_keras`` builds their models as well; ``trusted`` names the factories and model files whose code may run.

    Raises what the first measurement raises if it cannot be made at all (DeviceError for a device that
    does not really run). Lone files and those in folders that cannot be written come back measured, and unwritten.
    """
    from kexport.pipeline import lone
    from kexport.pipeline.artifacts import by_directory
    from kexport.pipeline.workspace import workspace

    stored, alone = lone.apart(paths)
    records: list[Record] = []
    for directory, found in by_directory(stored):
        with workspace(directory):
            records += _bench_records(directory, found, settings, observer, with_keras=with_keras, trusted=trusted)
    return (*records, *(lone.measured(path, settings) for path in alone))


def _make(request: Request, cells: tuple[Cell, ...], staging: Path, observer: Observer) -> dict[Cell, Record]:
    from kexport.pipeline.cells import CellRun

    run = CellRun(
        directory=request.directory,
        workspace=staging,
        observer=observer,
        timeout_seconds=request.timeout_seconds,
        live=request.live,
        data=request.data,
        own=request.own,
        isolate=request.isolate,
        force=request.force,
        skip_unsupported=request.skip_unsupported,
        mirror=request.mirror,
        memory_bytes=request.memory_bytes,
        cores=request.cores,
    )
    made = run.run(cells, jobs=request.jobs)
    if len(made) == len(request.cells) and not request.part:
        _refuse(tuple(made.values()))
    run.keep_failures()
    return made


def _state(request: Request, staging: Path, kept: Mapping[Cell, Record]) -> None:
    """The manifest, also on a full disk: what was prepared for cells is needed no more."""
    from kexport import store
    from kexport.store.directory import cell_path

    shutil.rmtree(staging, ignore_errors=True)
    known = {cell_path(request.directory, cell): record for cell, record in kept.items()}
    within = None if request.mirror is None else request.mirror.models
    store.write_manifest(request.directory, within=within, known=known)


def _refuse(records: tuple[Record, ...]) -> None:
    """Raise the error of the request or of this environment that ended every cell alike: it is told once."""
    from kexport.records import Status

    if len({(record.exit_code, record.reason) for record in records}) != 1:
        return
    first = records[0]
    kind = {UsageError.exit_code: UsageError, EnvironmentFailure.exit_code: EnvironmentFailure}.get(first.exit_code)
    if kind is not None and first.status is Status.ERROR:
        raise kind(first.reason, hint=first.hint or None)


def _judged(request: Request, staging: Path, records: Sequence[Record]) -> list[Record]:
    """What the times say: files over their bound are withdrawn, one of each format is taken where that was asked."""
    from kexport.pipeline import automatic, beside_float32

    found = dict(zip(request.cells, records, strict=True))
    held = any(cell.max_latency_ratio is not None for cell in request.cells)
    if held:
        found = dict(zip(request.cells, beside_float32.held(request.directory, found), strict=True))
    if request.auto:
        found = dict(zip(request.cells, automatic.judged(request.directory, found), strict=True))
    if held or request.auto:
        _state(request, staging, {})
    return list(found.values())


def _bench_records(
    directory: Path,
    records: Sequence[Record],
    settings: BenchSettings,
    observer: Observer,
    *,
    with_keras: bool = False,
    trusted: Collection[str] = (),
) -> list[Record]:
    """Each record as it comes; the manifest follows also where a measurement raises. Failures leave no trace."""
    from kexport import store
    from kexport.pipeline.measuring import Measurement, measure_all

    measured = []
    what = Measurement(directory=directory, settings=settings, with_keras=with_keras, trusted=tuple(trusted))
    try:
        for record in measure_all(what, records, observer):
            measured.append(record)
            if record.published and record.benchmarks and record.artifact:
                store.write_record(directory, record, Path(record.artifact.path).name)
    finally:
        store.write_manifest(directory, only=[record.artifact.path for record in records if record.artifact])
    return measured


__all__ = ["CELL", "PREPARE", "Event", "Observer", "Request", "ahead", "bench", "flow", "recheck", "run"]
