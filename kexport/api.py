"""What ``import kexport`` offers: the commands as functions. Records come back, nothing is printed.

Requests are refused with the errors and in the words of the command line (`kexport.errors`); what goes
wrong with one artifact is in its record, as ``status`` and ``reason``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

from kexport import machine, reports, store
from kexport.errors import UnknownNameError, UsageError
from kexport.evidence.benchmark import BenchSettings
from kexport.pipeline import Request, recheck, requests, run
from kexport.pipeline import bench as measure
from kexport.pipeline.events import Event
from kexport.records import Record
from kexport.runtimes import DEFAULT_DEVICE
from kexport.sources.loading import live
from kexport.sources.names import ModelFile, Named, select
from kexport.specs import DEFAULT_OPSET, Boundary, EngineNames, Format, Scheme

Place = str | PathLike[str]
Name = TypeVar("Name", bound=str)
DEFAULT_DIRECTORY = "artifacts"


class Quiet:
    """An observer that keeps every event to itself."""

    def observe(self, event: Event) -> None:
        """Do nothing."""


def export(
    sources: str | Any | Iterable[str | Any],
    *,
    formats: str | Iterable[str] = ("onnx", "tflite"),
    scheme: str = "float32",
    weights: Place = "imagenet",
    directory: Place = DEFAULT_DIRECTORY,
    batch: int | Literal["dynamic"] | None = None,
    opset: int = DEFAULT_OPSET,
    engine: str = "auto",
    jobs: int | None = None,
    resume: bool = False,
    force: bool = False,
    bench: bool = False,
    calibration: Place | None = None,
    evaluation: Place | None = None,
    io: str = "float32",
    max_drop: float | None = None,
    timeout_seconds: float = 1800.0,
    alpha: float | None = None,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    minimalistic: bool = False,
    layers: str | Iterable[str] = (),
    labels: Place | None = None,
    trust: bool = False,
) -> tuple[Record, ...]:
    """Export models and prove each file against Keras: one record per model and format, in that order.

    ``sources`` names an application, a family, a glob, a model file or a factory (``package.module:function``), or
    is a `keras.Model`; or several of them. A model of the program is saved for the worker processes, which load it
    with its own code: as with ``trust``, which allows code in model files. ``weights`` is ``imagenet``,
    ``random:SEED`` or a weights file. ``layers`` are the names of those whose outputs are wanted, ``labels`` is a
    file with the names of the classes. ``calibration`` is a folder of images, a ``.npz`` file or ``synthetic:SEED``;
    ``evaluation`` is a folder or a CSV file of photographs that accuracy is measured on, ``max_drop`` what int8 may
    lose of top-1 on them, in points: the fewest layers stay in float32 for it. Raises UsageError for a
    request that cannot be, StoreError for a directory that cannot be written, and EnvironmentFailure where this
    environment can do none of it.
    """
    with tempfile.TemporaryDirectory(prefix="kexport-live-") as folder:
        named = _named(sources, Path(folder))
        own = any(isinstance(model, ModelFile) and model.live for model in named)
        options = requests.ExportOptions(
            formats=_members("format", Format, formats),
            schemes=_members("scheme", Scheme, scheme),
            weights=str(weights),
            alpha=alpha,
            minimalistic=minimalistic,
            layers=_several(layers),
            labels=None if labels is None else str(labels),
            trust=trust or own,
            input_shape=input_shape,
            classes=classes,
            no_top=not include_top,
            pooling=pooling,
            batch=batch,
            opset=opset,
            engine=_members("engine", EngineNames(), engine)[0],
            jobs=jobs,
            resume=resume,
            force=force,
            calibration=None if calibration is None else str(calibration),
            io=_members("io", Boundary, io)[0],
            evaluation=None if evaluation is None else str(evaluation),
            max_drop=max_drop,
            timeout_minutes=timeout_seconds / 60,
        )
        request = Request(
            cells=requests.cells(named, options),
            directory=Path(directory),
            jobs=jobs,
            resume=resume,
            force=force,
            bench=bench,
            timeout_seconds=timeout_seconds,
        )
        return run(request, Quiet())


def _named(sources: Any, folder: Path) -> tuple[Named, ...]:
    """Names resolved, live models saved into ``folder``, in the order given."""
    several = (sources,) if isinstance(sources, str) or live.is_model(sources) else tuple(sources)
    files = {id(each): live.saved(each, folder) for each in several if live.is_model(each)}
    texts = [str(files[id(each)]) if id(each) in files else each for each in several]
    own = {str(path) for path in files.values()}
    return tuple(
        replace(named, live=True) if isinstance(named, ModelFile) and named.path in own else named
        for named in select(texts)
    )


def parity(
    paths: Place | Iterable[Place] = DEFAULT_DIRECTORY, *, trust: str | Iterable[str] = ()
) -> tuple[Record, ...]:
    """Compare stored artifacts with Keras again, where they lie; their records are written anew.

    A path is an artifact directory, a model's folder in one, or an artifact. ``trust`` names the factories and model
    files, as records call them, whose code may run; without it none does. Raises UsageError for a path without
    artifacts.
    """
    return recheck(_paths(paths), Quiet(), trusted=_several(trust))


def bench(
    paths: Place | Iterable[Place] = DEFAULT_DIRECTORY,
    *,
    device: str = DEFAULT_DEVICE,
    threads: int | None = None,
    repetitions: int = 50,
    warmup: int = 5,
    with_keras: bool = False,
    trust: str | Iterable[str] = (),
) -> tuple[Record, ...]:
    """Measure the latency of stored artifacts, each in its own process; the records hold all samples.

    ``threads`` of None is every usable core; ``trust`` is for ``with_keras``, as in `parity`. Raises DeviceError if
    ``device`` would not really run.
    """
    settings = BenchSettings(
        device=device,
        threads=machine.cores() if threads is None else threads,
        repetitions=repetitions,
        warmup=warmup,
    )
    return measure(_paths(paths), settings, Quiet(), with_keras=with_keras, trusted=_several(trust))


def report(records: Sequence[Record] | Place, fmt: str = "md") -> str:
    """Records, or those of an artifact directory, as text: ``md``, ``json``, ``csv`` or ``junit``.

    Raises UnknownNameError for another format, StoreError for damaged records.
    """
    if isinstance(records, (str, PathLike)):
        records = store.read_records(_existing(records))
    return reports.render(records, fmt)


def verify(directory: Place = DEFAULT_DIRECTORY) -> tuple[str, ...]:
    """What is wrong with an artifact directory, one line each; nothing when it is what its manifest says."""
    return tuple(store.verify(_existing(directory)))


def _members(kind: str, legal: Iterable[Name], names: str | Iterable[str]) -> tuple[Name, ...]:
    """Each member once, in the order given. UnknownNameError offers the closest, UsageError if there is none."""
    wanted = tuple(dict.fromkeys(_several(names)))
    if not wanted:
        raise UsageError(f"no {kind} was given: expected at least one", hint=f"kexport list {kind}s")
    known = {str(member): member for member in legal}
    for name in wanted:
        if name not in known:
            raise UnknownNameError(kind=kind, value=name, legal=known, hint=f"kexport list {kind}s")
    return tuple(known[name] for name in wanted)


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _paths(paths: Place | Iterable[Place]) -> tuple[Path, ...]:
    if isinstance(paths, (str, PathLike)):
        return (_existing(paths),)
    return tuple(_existing(path) for path in paths)


def _existing(path: Place) -> Path:
    found = Path(path)
    if not found.exists():
        raise UsageError(f"{found} does not exist", hint=f"kexport.export(..., directory={str(found)!r})")
    return found
