"""The published artifact compared again where it lies; its record is written anew, with what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kexport import files, machine, runtimes, store
from kexport.errors import ArtifactError, SourceError
from kexport.evidence import parity, scoring, verdict
from kexport.images.evaluation import FACTS
from kexport.pipeline import remedies, resume
from kexport.pipeline.proof import prove, reference_name
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_RUNTIMES, Task
from kexport.pipeline.tasks.cell import CellRequest
from kexport.quantization import mixed
from kexport.records import AccuracyRecord, Artifact, ParityRecord, Record
from kexport.runtimes import precheck
from kexport.sources import prepared, stored
from kexport.sources.prepared import Prepared
from kexport.store import references


def recheck_cell(request: CellRequest, clock: Clock) -> Record:
    """The stored record with a new verdict.

    Raises SourceError, and leaves the record alone, if Keras's weights are not those that it was made from.
    """
    directory = Path(request.directory)
    before = store.read_record(directory, request.cell)
    ready = prepared.load(Path(request.folder))
    _require_same_weights(before, ready, Path(request.folder) / reference_name(request.cell))
    found, problems = _found(request, before, ready, clock)
    scored = before.accuracy if problems else _scored(request, before, ready, clock)
    lost = (*scoring.problems(scored), *mixed.problems(None, scored, request.cell.max_drop))
    differs, loses = found is not None and bool(problems), bool(lost) and not problems
    runtime = found.runtime if found is not None else ""
    remedy = remedies.of(request.cell, before.quantization, runtime=runtime, differs=differs, loses=loses)
    finer = remedy.hint if loses or remedy.why else ""  # a file that passed once and differs now was changed
    problems, cure = (*problems, *lost), finer or f"{request.reproduce} makes it again"
    ending = verdict.of(problems, found, ready.facts, reproduce=request.reproduce, why=remedy.why, cure=cure)
    record = replace(
        before,
        status=ending.status,
        reason=ending.reason,
        hint=ending.hint,
        reproduce=request.reproduce if problems else before.reproduce,
        traceback="",
        parity=found,
        accuracy=None if problems else scored,
        versions=_versions(request, before),
        made=machine.today(),
        machine=machine.hardware(),
    )
    references.keep(directory, record, Path(request.folder) / reference_name(request.cell))
    store.write_record(directory, record, request.cell.file_name)
    return record


def _found(
    request: CellRequest, record: Record, ready: Prepared, clock: Clock
) -> tuple[ParityRecord | None, tuple[str, ...]]:
    """What the file computes, and everything that speaks against it. A file that was changed is not run."""
    assert record.artifact is not None
    path = Path(request.directory) / record.artifact.path
    changes = tuple(_changes(record.artifact, path))
    if changes:
        return None, changes
    own = not request.cell.format.engine(record.artifact.engine).from_model
    try:
        precheck.require_sound(runtimes.for_format(request.cell.format), path)
        with clock.step("parity"):
            proof = prove(path, request.cell, ready, Path(request.folder), threads=request.threads, own=own)
    except ArtifactError as error:
        return None, (error.message,)
    return proof.parity, tuple(parity.failures(proof.parity.checks))


def _scored(request: CellRequest, record: Record, ready: Prepared, clock: Clock) -> AccuracyRecord | None:
    """The record's accuracy, measured again where photographs were left in the folder."""
    assert record.artifact is not None
    path, folder = Path(request.directory) / record.artifact.path, Path(request.folder)
    if not (folder / FACTS).is_file():
        return record.accuracy
    with clock.step("accuracy"):
        return scoring.score(path, request.cell, ready.facts, folder, threads=request.threads)


def _versions(request: CellRequest, record: Record) -> dict[str, str]:
    """Those of today, but for Keras and TensorFlow: the reference says which of them answered."""
    header = stored.header(Path(request.folder) / reference_name(request.cell))
    today = {name: version for name, version in machine.versions().items() if name not in prepared.MAKERS}
    return {**today, **header.versions, resume.REQUEST: record.versions.get(resume.REQUEST, "")}


def _require_same_weights(record: Record, ready: Prepared, reference: Path) -> None:
    """What Keras built, or what the reference was computed with, is what the artifact was made from."""
    before = record.source.weights_sha256 if record.source else ""
    for today in (ready.facts.weights_sha256, stored.header(reference).weights_sha256):
        if before != today:
            raise SourceError(
                f"weights {ready.facts.weights} are not those that the artifact was made from: "
                f"sha256 {today[:12]}, the record has {before[:12]}",
                hint=record.again,
            )


def _changes(artifact: Artifact, path: Path) -> Iterator[str]:
    """What speaks against an artifact before it is run."""
    try:
        found = files.digest(path, limit_bytes=max(artifact.size_bytes, files.SOME_BYTES))
    except FileNotFoundError:
        yield f"{artifact.path} is missing"
        return
    except OSError as error:
        yield f"{artifact.path} cannot be read: {error.strerror}"
        return
    if found != artifact.sha256:
        yield f"{artifact.path} was changed: its sha256 is {found[:12]}, the record has {artifact.sha256[:12]}"


TASK = Task(request=CellRequest, answer=Record, run=recheck_cell, warm=WITH_RUNTIMES)
