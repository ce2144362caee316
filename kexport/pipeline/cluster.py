"""The cells of a request on a Dask cluster: a model with its cells is one piece of work, and goes whole to a worker.

A worker does what a run on this machine does (`kexport.pipeline.run`), in a temporary folder of its own: it prepares
the model, makes its cells in processes, and sends artifacts and records to the place of the run, a folder that all
machines share or a URL. Records and the entries of the manifest come back, never weights. The manifest is written
here, last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexport import machine, store
from kexport.errors import EnvironmentFailure, StoreError, UsageError
from kexport.options import remote
from kexport.options.place import LOCAL, Url
from kexport.pipeline import resume, same_name
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.failures import failed
from kexport.pipeline.runners import dask
from kexport.pipeline.tasks import Failure
from kexport.pipeline.workspace import workspace
from kexport.records import Record, decode, encode
from kexport.specs import Cell
from kexport.store import mirror
from kexport.store.manifest import entries

if TYPE_CHECKING:
    from kexport.pipeline import Request

_ALONE = threading.Lock()
"""Held by the piece that a worker process makes: warm processes serve one at a time."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The cells of one model, and how they are to be made; ``told`` is what the user calls their ``place``."""

    cells: tuple[Cell, ...]
    place: Url
    told: Path | Url
    timeout_seconds: float
    jobs: int | None
    isolate: bool
    memory_bytes: int | None
    skip_unsupported: bool = False


@dataclass(frozen=True, kw_only=True)
class Made:
    """What comes back: records as their files have them, and what the manifest states of the models' files."""

    records: tuple[str, ...]
    entries: dict[str, dict[str, Any]]


def run(request: Request, observer: Observer) -> tuple[Record, ...]:
    """Make every cell of the request on its cluster; one record per cell, in the request's order.

    Raises UsageError for what cannot leave this program and a place in memory, EnvironmentFailure for a cluster that
    cannot be used, StoreError where the workers' folder is not this one.
    """
    assert request.cluster is not None
    _require_movable(request)
    _require_reachable(request)
    with workspace(request.directory), dask.connected(request.cluster) as cluster:
        kept = resume.complete(request.cells, request.directory) if request.resume else {}
        todo = tuple(cell for cell in request.cells if cell not in kept)
        for line in same_name.replaced(todo, request.directory):
            request.note(line)
        made, stated = dict(kept), dict[str, dict[str, Any]]()
        work = {str(number): portion for number, portion in enumerate(_portions(request, todo))}
        for name, answer in cluster.each(make, work):
            records, found = _answered(request, work[name], answer)
            made.update(zip(work[name].cells, records, strict=True))
            stated |= found
            _tell(work[name].cells, records, observer)
        if request.mirror is None:
            remote.tidy(request.directory)
        within = None if request.mirror is None else request.mirror.models
        store.write_manifest(request.directory, within=within, elsewhere=stated)
    return tuple(made[cell] for cell in request.cells)


def make(portion: Portion) -> Made:
    """What a worker does."""
    from kexport import pipeline

    models = {cell.model.name for cell in portion.cells}
    with _ALONE, mirror.opened(portion.place, models, manifest=False, told=portion.told) as folder:
        request = pipeline.Request(
            cells=portion.cells,
            directory=folder.path,
            mirror=folder.mirror,
            jobs=portion.jobs,
            timeout_seconds=portion.timeout_seconds,
            isolate=portion.isolate,
            memory_bytes=portion.memory_bytes,
            skip_unsupported=portion.skip_unsupported,
            cores=_cores(),
            part=True,
        )
        records = pipeline.run(request, Silent())
        found = {name: entry for name, entry in entries(folder.path).items() if name.partition("/")[0] in models}
    return Made(records=tuple(map(encode, records)), entries=found)


class Silent:
    """Nobody watches a worker."""

    def observe(self, event: Event) -> None:
        """Do nothing."""


def _cores() -> int:
    """The worker's share of its machine: the threads that it was started with."""
    from distributed import get_worker

    return max(1, min(machine.cores(), int(get_worker().state.nthreads)))


def _require_movable(request: Request) -> None:
    """UsageError for what is only in this program, or is measured on this machine."""
    live = next((cell.model.live for cell in request.cells if cell.model.live), None)
    if live is not None:
        raise UsageError(
            f"--cluster: the model {live!r} is in this program alone, expected a model file that the workers can read",
            hint='model.save("model.keras"), and kexport export model.keras --cluster ADDRESS',
        )
    if request.data or request.own is not None:
        raise UsageError(
            "--cluster: arrays and functions of this program stay in it, expected a folder or .npz file of images that "
            "the workers can read",
            hint="--eval photos",
        )
    if request.bench is not None:
        asked = "--schemes auto" if request.auto else "--bench"
        raise UsageError(
            f"--cluster and {asked}: latency is measured on one machine, expected one of them",
            hint="kexport bench artifacts, when they are made",
        )


def _require_reachable(request: Request) -> None:
    """UsageError for a place in memory, which is each worker's own."""
    if request.mirror is not None and request.mirror.url.protocol == "memory":
        raise UsageError(
            f"--cluster and {request.mirror.url}: what a worker writes would stay in its own memory, expected a folder "
            "that all machines share, or another URL",
            hint="-o s3://bucket/models",
        )


def _portions(request: Request, cells: Iterable[Cell]) -> Iterator[Portion]:
    """The cells of each model."""
    shared: dict[Any, list[Cell]] = {}
    for cell in cells:
        shared.setdefault(cell.model.name, []).append(cell)
    told = request.directory if request.mirror is None else request.mirror.url
    place = told if isinstance(told, Url) else Url(f"file://{told.absolute()}")
    for group in shared.values():
        yield Portion(
            cells=tuple(group),
            place=place,
            told=told,
            timeout_seconds=request.timeout_seconds,
            jobs=request.jobs,
            isolate=request.isolate,
            memory_bytes=request.memory_bytes,
            skip_unsupported=request.skip_unsupported,
        )


def _answered(
    request: Request, portion: Portion, answer: Made | dask.Lost
) -> tuple[tuple[Record, ...], dict[str, dict[str, Any]]]:
    if isinstance(answer, dask.Lost):
        if isinstance(answer.error, StoreError):
            raise answer.error
        lost = Failure(kind=EnvironmentFailure.__name__, message=f"lost on the cluster: {answer.reason}", hint=_AGAIN)
        return tuple(failed(cell, lost, portion.told) for cell in portion.cells), {}
    records = tuple(map(decode, answer.records))
    _require_shared(request, records)
    return records, answer.entries


_AGAIN = "the same command with --resume; workers with more memory, or fewer of them on a machine"


def _require_shared(request: Request, records: Iterable[Record]) -> None:
    """StoreError where an artifact that a worker has written is not seen from here: the folder is another one there.

    An object store is the same one wherever it is asked, and is not asked for every record.
    """
    if request.mirror is not None and request.mirror.url.protocol not in LOCAL:
        return
    told = request.directory if request.mirror is None else request.mirror.url
    for record in records:
        if record.published and record.artifact is not None and not _is_there(request, record.artifact.path):
            raise StoreError(
                f"{told} is not the folder that the workers have written {record.artifact.path} to: expected one "
                "that all machines share, or a URL that all of them reach",
                hint="-o s3://bucket/models",
            )


def _is_there(request: Request, name: str) -> bool:
    return (request.directory / name).exists() if request.mirror is None else request.mirror.remote.has(name)


def _tell(cells: Iterable[Cell], records: Iterable[Record], observer: Observer) -> None:
    for cell, record in zip(cells, records, strict=True):
        cost = record.cost
        seconds, peak = (sum(cost.seconds.values()), cost.peak_memory_bytes) if cost else (0.0, 0)
        observer.observe(Event(label=cell.label, step="done", seconds=seconds, memory_bytes=peak, status=record.status))
