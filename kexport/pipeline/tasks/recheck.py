"""The published artifact compared again where it lies; its record is written anew, with what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kexport import files, machine, runtimes, store
from kexport.errors import ArtifactError, SourceError
from kexport.evidence import parity, verdict
from kexport.pipeline import resume
from kexport.pipeline.proof import prove
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Task
from kexport.pipeline.tasks.cell import CellRequest
from kexport.records import Artifact, ParityRecord, Record
from kexport.runtimes import precheck
from kexport.sources import prepared
from kexport.sources.prepared import Prepared


def recheck_cell(request: CellRequest, clock: Clock) -> Record:
    """The stored record with a new verdict.

    Raises SourceError, and leaves the record alone, if Keras's weights are not those that it was made from.
    """
    directory = Path(request.directory)
    stored = store.read_record(directory, request.cell)
    ready = prepared.load(Path(request.folder))
    _require_same_weights(stored, ready)
    found, problems = _found(request, stored, ready, clock)
    ending = verdict.of(problems, found, ready.facts, reproduce=request.reproduce)
    record = replace(
        stored,
        status=ending.status,
        reason=ending.reason,
        hint=f"{ending.hint} makes it again" if problems else ending.hint,
        reproduce=request.reproduce if problems else stored.reproduce,
        traceback="",
        parity=found,
        accuracy=None if problems else stored.accuracy,
        versions={**machine.versions(), resume.REQUEST: stored.versions.get(resume.REQUEST, "")},
    )
    store.write_record(directory, record, request.cell.file_name)
    return record


def _found(
    request: CellRequest, stored: Record, ready: Prepared, clock: Clock
) -> tuple[ParityRecord | None, tuple[str, ...]]:
    """What the file computes, and everything that speaks against it. A file that was changed is not run."""
    assert stored.artifact is not None
    path = Path(request.directory) / stored.artifact.path
    changes = tuple(_changes(stored.artifact, path))
    if changes:
        return None, changes
    own = not request.cell.format.engine(stored.artifact.engine).from_model
    try:
        precheck.require_sound(runtimes.for_format(request.cell.format), path)
        with clock.step("parity"):
            proof = prove(path, request.cell, ready, Path(request.folder), threads=request.threads, own=own)
    except ArtifactError as error:
        return None, (error.message,)
    return proof.parity, tuple(parity.failures(proof.parity.checks))


def _require_same_weights(stored: Record, ready: Prepared) -> None:
    before = stored.source.weights_sha256 if stored.source else ""
    if before != ready.facts.weights_sha256:
        raise SourceError(
            f"weights {ready.facts.weights} are not those that the artifact was made from: "
            f"sha256 {ready.facts.weights_sha256[:12]}, the record has {before[:12]}",
            hint=stored.reproduce,
        )


def _changes(artifact: Artifact, path: Path) -> Iterator[str]:
    """What speaks against an artifact before it is run."""
    if not path.exists():
        yield f"{artifact.path} is missing"
    elif (found := files.digest(path)) != artifact.sha256:
        yield f"{artifact.path} was changed: its sha256 is {found[:12]}, the record has {artifact.sha256[:12]}"


TASK = Task(request=CellRequest, answer=Record, run=recheck_cell)
