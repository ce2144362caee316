"""Stored artifacts that can be judged without Keras: the record's facts and the reference beside them."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from kexport.errors import MissingDependencyError, StoreError, UsageError
from kexport.evidence import scoring
from kexport.pipeline import elsewhere
from kexport.pipeline.proof import reference_name
from kexport.pipeline.reproduce import cell_of
from kexport.records import Record, SourceFacts, Status
from kexport.sources import prepared, stored
from kexport.sources.prepared import Prepared
from kexport.specs import Cell
from kexport.store import references
from kexport.store.references import Kind


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known of the model of a stored artifact, and the file with Keras's answers.

    ``facts`` are the network's own, also where the file takes pixels. ``answers`` are those on ``photographs``, on
    which accuracy is measured again.
    """

    facts: SourceFacts
    reference: Path
    answers: Path | None = None
    photographs: str | None = None

    def furnish(self, folder: Path, cell: Cell) -> None:
        """Put all where the process of a cell looks for it. Raises UsageError for other photographs."""
        shutil.copyfile(self.reference, folder / reference_name(cell))
        if self.answers is not None and self.photographs is not None:
            scoring.restore(self.answers, self.facts, folder, images=self.photographs)
        prepared.save(Prepared(facts=self.facts, refusal="", seconds={}, peak_memory_bytes=0), folder)


def of(directory: Path, record: Record, *, photographs: str | None = None) -> Kept | None:
    """What is kept for a record; None where nothing is.

    Raises StoreError where a file was changed, UsageError for ``photographs`` of which no answers are kept.
    """
    path = references.find(directory, record) if record.source is not None else None
    if path is None or record.source is None:
        return None
    facts = _facts(record.source, path)
    answers = references.find(directory, record, Kind.ANSWERS) if photographs is not None else None
    if photographs is not None and answers is None:
        raise UsageError(
            f"--eval: nothing is kept of what Keras answered on photographs for {record.label}",
            hint="kexport export MODEL --eval FOLDER --force",
        )
    return Kept(facts=facts, reference=path, answers=answers, photographs=photographs)


def beside(path: Path, record: Record) -> Kept | None:
    """As `of` for a lone file: what lies in its folder under the names that the record gives."""
    name = references.name_of(record, Kind.REFERENCE)
    reference = path.with_name(name) if name is not None else None
    if reference is None or record.source is None or not reference.is_file():
        return None
    return Kept(facts=_facts(record.source, reference), reference=reference)


def _facts(source: SourceFacts, reference: Path) -> SourceFacts:
    """The network's own facts, also where the file takes pixels."""
    header = stored.header(reference)
    return replace(source, inputs=header.inputs, preprocessing=header.contract)


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """A stored artifact to be judged again; ``kept`` is None where Keras has to be asked."""

    cell: Cell
    kept: Kept | None


def recheck_of(
    directory: Path,
    record: Record,
    trusted: Collection[str],
    *,
    with_keras: bool,
    photographs: str | None = None,
) -> Recheck | Record:
    """How a record is checked again, or the record as the ERROR that says why it cannot be."""
    try:
        kept = None if with_keras else of(directory, record, photographs=photographs)
        cell = cell_of(record, trusted=trusted, built=kept is None)
        if kept is not None and not (directory / cell.model.name / f"{cell.file_name}.json").is_file():
            kept, cell = (
                None,
                cell_of(record, trusted=trusted),
            )  # its source names another file: what was kept is not its
        if kept is None:
            elsewhere.asked(cell.reference, cell.model)
        return Recheck(cell=cell, kept=kept)
    except (UsageError, StoreError, MissingDependencyError) as error:
        return replace(
            record, status=Status.ERROR, reason=error.message, hint=error.hint or "", exit_code=error.exit_code
        )
