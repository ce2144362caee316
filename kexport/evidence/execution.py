"""Step: a written file is run by its runtime and compared with Keras; its signature is compared first."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.records import Signature, SourceFacts
from kexport.sources import embedding
from kexport.sources.prepared import Reference
from kexport.specs import Boundary, Cell

_LAST_STEP = "softmax or sigmoid"


def expected_signature(facts: SourceFacts, cell: Cell) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """The signature that the artifact must have: the model's, with the cell's batch and type of inputs and outputs."""
    inputs = embedding.signatures(facts) if embedding.asked(facts) else facts.inputs

    def with_batch(specs: tuple[Signature, ...]) -> tuple[Signature, ...]:
        integer = None if cell.io is Boundary.FLOAT32 else str(cell.io)
        return tuple(
            Signature(name=s.name, shape=(cell.file_batch, *s.shape[1:]), dtype=integer or s.dtype) for s in specs
        )

    return with_batch(inputs), with_batch(facts.outputs)


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What a file answered: its outputs, its logits where a check copy showed them, what ran, and notes on that."""

    outputs: Mapping[str, npt.NDArray[Any]]
    logits: Mapping[str, npt.NDArray[Any]]
    effective: str
    notes: tuple[str, ...]


def execute(
    path: Path, cell: Cell, facts: SourceFacts, reference: Reference, *, threads: int, own: bool = True
) -> Executed:
    """Load the file, compare its signature, run the reference's inputs.

    Before, its format and its runtime check what else must hold of a file; ``own``: kexport's writer made it, so that
    it must be as that writer writes. Where the reference has logits, those of the file come from a check copy that
    lacks the last softmax or sigmoid and nothing else. Raises ArtifactError when something does not hold, when the
    file does not load or its signature is not the model's.
    """
    check = cell.format.check if own else cell.format.check_foreign
    if check is not None:
        check(path)
    runtimes.for_format(cell.format).check(path)
    session, outputs = _run(path, cell, facts, reference, threads=threads)
    logits = _logits(path, cell, facts, reference, threads=threads)
    told = tuple(f"the logits of {name!r} are those of a copy without its last {_LAST_STEP}" for name in sorted(logits))
    return Executed(outputs=outputs, logits=logits, effective=session.effective, notes=(*session.notes(), *told))


def _run(
    path: Path, cell: Cell, facts: SourceFacts, reference: Reference, *, threads: int
) -> tuple[runtimes.Session, dict[str, npt.NDArray[Any]]]:
    runtime = runtimes.for_format(cell.format)
    session = runtimes.open_session(runtime, path, options=runtime.limited(threads))
    check_signature(session.signature, expected_signature(facts, cell))
    outputs = session.run_real(dict(embedding.fed(facts, _padded(reference, cell))))
    rows = len(next(iter(reference.outputs.values())))
    return session, {name: value[:rows] for name, value in outputs.items()}


def _logits(
    path: Path, cell: Cell, facts: SourceFacts, reference: Reference, *, threads: int
) -> dict[str, npt.NDArray[Any]]:
    """What a check copy shows of the outputs that hide their logits; nothing where the format has no such copy."""
    wanted = {name: facts.activations[name] for name in reference.logits}
    if not wanted or cell.format.bare is None or cell.io is not Boundary.FLOAT32:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shown = cell.format.bare(path, copy, wanted)
        if not shown:
            return {}
        _, outputs = _run(copy, cell, facts, reference, threads=threads)
    return {name: outputs[name] for name in shown}


def check_signature(
    found: tuple[tuple[Signature, ...], tuple[Signature, ...]],
    expected: tuple[tuple[Signature, ...], tuple[Signature, ...]],
) -> None:
    """Names, shapes and dtypes of inputs and outputs are the model's."""
    for kind, ours, theirs in zip(("inputs", "outputs"), found, expected, strict=True):
        if sorted(ours, key=lambda s: s.name) != sorted(theirs, key=lambda s: s.name):
            raise ArtifactError(f"{kind} of the file are {_told(ours)}, the model has {_told(theirs)}")


def _told(specs: tuple[Signature, ...]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in specs)


def _padded(reference: Reference, cell: Cell) -> Mapping[str, npt.NDArray[Any]]:
    """The inputs, with the last row repeated until a static batch is full."""
    import numpy as np

    missing = -len(next(iter(reference.inputs.values()))) % cell.rows
    return {
        name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
        for name, array in reference.inputs.items()
    }
