"""A cell's file against Keras: which bounds hold for it, what it answered, what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kexport import files
from kexport.evidence import elsewhere, execution, parity, tolerances, views
from kexport.records import ParityRecord
from kexport.sources import catalog, prepared, stored
from kexport.sources.prepared import Prepared
from kexport.specs import CALIBRATED, Boundary, Cell


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found, and notes on how the file runs."""

    parity: ParityRecord
    notes: tuple[str, ...]


def bounds_of(cell: Cell) -> tuple[tolerances.Bound, ...]:
    """Integer outputs have their own; an application as it was published has its family's."""
    section = cell.scheme if cell.io is Boundary.FLOAT32 else f"{cell.scheme}-io"
    family = catalog.application(cell.model.application).family if cell.model.as_published else ""
    return tolerances.load(cell.format, section, family=family)


def prove(path: Path, cell: Cell, ready: Prepared, folder: Path, *, threads: int, own: bool) -> Proof:
    """The file at ``path`` against the reference in ``folder``; ``own``: kexport's writer made it.

    Raises ArtifactError for a file that does not run.
    """
    expected = prepared.load_reference(folder, reference_name(cell))
    ran = execution.execute(path, cell, ready.facts, expected, threads=threads, own=own)
    step = 0.0 if cell.io is Boundary.FLOAT32 else views.PROBABILITY_STEP
    activations = ready.facts.activations
    found = parity.compare(expected, ran.outputs, logits=ran.logits, activations=activations, step=step)
    first = stored.header(folder / reference_name(cell)).backend
    wanted = tuple(name for name in cell.reference if name != first)
    others = tuple(
        elsewhere.compare(expected, wanted, ran.outputs, logits=ran.logits, activations=activations, step=step)
    )
    bounds = bounds_of(cell)
    record = ParityRecord(
        samples=len(next(iter(expected.inputs.values()))),
        runtime=ran.effective.partition(" ")[0],
        effective=ran.effective,
        outputs=found,
        checks=(*parity.judge(found, bounds), *elsewhere.judge(others, bounds)),
        reference_sha256=_kept(folder / reference_name(cell)),
        others=others,
        backend=first,
    )
    return Proof(parity=record, notes=(*ran.notes, *elsewhere.told(others)))


def reference_name(cell: Cell) -> str:
    """The file of a prepared folder that holds what the cell is judged by."""
    return prepared.CALIBRATED if cell.scheme in CALIBRATED else prepared.REFERENCE


def _kept(path: Path) -> str:
    """The digest of a reference that is kept beside its artifacts; nothing for one too large to be."""
    return files.file_digest(path) if stored.fits(path) else ""
