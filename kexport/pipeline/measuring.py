"""Benchmarks of stored artifacts: which session measures what, and where its samples go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from kexport import files, runtimes
from kexport.errors import ArtifactError, DeviceError, KexportError, MissingDependencyError
from kexport.evidence.benchmark import BenchRequest, BenchSettings, environment
from kexport.pipeline.ask import ask
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.reproduce import batch_of, model_of
from kexport.records import BenchRecord, Record, SourceFacts, Status
from kexport.runtimes import precheck
from kexport.sources import catalog
from kexport.specs import ModelSpec, WeightsSpec

PREPARING_SECONDS = 600.0
"""For building or loading the network, and for its inputs: beyond what the settings let the runs take."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What to measure with: the artifact directory, the settings, and whether Keras is measured beside.

    ``trusted`` names the factories and model files whose code may run for that.
    """

    directory: Path
    settings: BenchSettings
    with_keras: bool = False
    trusted: tuple[str, ...] = ()


def alone(request: BenchRequest, *, timeout_seconds: float | None = None) -> BenchRecord:
    """Measure in a fresh process. Its deliberate errors are raised here again, with their own type.

    A crash or a process over ``timeout_seconds`` raises KexportError with the end of its standard error; unless said,
    that is `PREPARING_SECONDS` on top of what the settings let warming up and sampling take.
    """
    usual = PREPARING_SECONDS + 2 * request.settings.max_seconds
    found: BenchRecord = ask(
        "bench",
        request,
        what=f"the benchmark of {request.label}",
        timeout_seconds=usual if timeout_seconds is None else timeout_seconds,
        environment=environment(request.settings),
    )
    return found


def measure_all(what: Measurement, records: Sequence[Record], observer: Observer) -> Iterator[Record]:
    """Each record with a new benchmark; one that fails becomes an ERROR, records without artifact stay.

    Raises DeviceError and MissingDependencyError: they would meet every other artifact as well.
    """
    keras: dict[str, BenchRecord] = {}
    for record in records:
        if record.artifact is None or not record.published:
            yield record
            continue
        yield _measured(what, record, keras, observer)


def _measured(what: Measurement, record: Record, keras: dict[str, BenchRecord], observer: Observer) -> Record:
    start = perf_counter()
    label = record.label
    observer.observe(Event(label=label, step="bench", seconds=0.0, memory_bytes=0))
    try:
        _require_unchanged(what, record)
        samples = [alone(_request(what, record))]
        if what.with_keras:
            samples.append(_keras(what, record, keras))
    except (DeviceError, MissingDependencyError):
        raise
    except KexportError as error:
        measured = replace(record, status=Status.ERROR, reason=error.message, hint=error.hint or "")
    else:
        kept = tuple(old for old in record.benchmarks if all(_other(old, new) for new in samples))
        measured = replace(record, benchmarks=(*kept, *samples))
    peak = max((session.peak_memory_bytes for session in measured.benchmarks), default=0)
    seconds = perf_counter() - start
    observer.observe(Event(label=label, step="bench", seconds=seconds, memory_bytes=peak, status=measured.status))
    return measured


def _require_unchanged(what: Measurement, record: Record) -> None:
    """The numbers go into the record of the artifact, so the file has to be that artifact."""
    assert record.artifact is not None
    path = what.directory / record.artifact.path
    try:
        limit = max(record.artifact.size_bytes, files.SOME_BYTES)
        changed = path.exists() and files.digest(path, limit_bytes=limit) != record.artifact.sha256
    except OSError as error:
        raise ArtifactError(
            f"{record.artifact.path} cannot be read: {error.strerror}", hint="kexport verify DIR"
        ) from error
    if changed:
        raise ArtifactError(f"{record.artifact.path} was changed: its sha256 is not the record's", hint=record.again)
    precheck.require_sound(runtimes.for_format(record.format), path)


def _other(old: BenchRecord, new: BenchRecord) -> bool:
    """Whether both measure something else, so that both are kept."""
    return any(getattr(old, name) != getattr(new, name) for name in ("runtime", "device", "threads", "batch"))


def _request(what: Measurement, record: Record) -> BenchRequest:
    assert record.artifact is not None
    if record.source is None:
        raise ArtifactError("the record does not say what its artifact was made from", hint="kexport verify DIR")
    low, high = _range(record.source)
    runtime = runtimes.for_format(record.format)
    fixed = batch_of(record.artifact)
    return BenchRequest(
        runtime=runtime.name,
        path=str(what.directory / record.artifact.path),
        settings=replace(what.settings, batch=_rows(fixed, what.settings.batch)),
        low=low,
        high=high,
    )


def _rows(fixed: int | None, asked: int) -> int:
    """Rows of a run: a file that is fixed to some is run as often as it takes where that comes out even."""
    return asked if fixed is None or asked % fixed == 0 else fixed


def _keras(what: Measurement, record: Record, known: dict[str, BenchRecord]) -> BenchRecord:
    """Keras on the same network, measured once per model; its weights do not change its speed."""
    assert record.source is not None
    if record.model not in known:
        low, high = _range(record.source)
        settings = replace(what.settings, device=runtimes.DEFAULT_DEVICE, profile=False)
        request = BenchRequest(
            runtime="keras", model=_model(record.source, what.trusted), settings=settings, low=low, high=high
        )
        known[record.model] = alone(request)
    return known[record.model]


def _range(facts: SourceFacts) -> tuple[float, float]:
    """The range of the model's inputs; records of version 0.1 have it by their application alone."""
    return facts.input_range or catalog.input_range(catalog.application(facts.application))


def _model(facts: SourceFacts, trusted: tuple[str, ...]) -> ModelSpec:
    return model_of(facts, weights=WeightsSpec(kind="random", seed=0), trusted=trusted)
