"""Step: a written file is run by its runtime and compared with Keras; its signature is compared first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.records import Signature, SourceFacts
from kexport.sources.prepared import Reference
from kexport.specs import Boundary, Cell


def expected_signature(facts: SourceFacts, cell: Cell) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """The signature that the artifact must have: the model's, with the cell's batch and type of inputs and outputs."""

    def with_batch(specs: tuple[Signature, ...]) -> tuple[Signature, ...]:
        integer = None if cell.io is Boundary.FLOAT32 else str(cell.io)
        return tuple(
            Signature(name=s.name, shape=(cell.file_batch, *s.shape[1:]), dtype=integer or s.dtype) for s in specs
        )

    return with_batch(facts.inputs), with_batch(facts.outputs)


def execute(
    path: Path, cell: Cell, facts: SourceFacts, reference: Reference, *, threads: int
) -> tuple[Mapping[str, npt.NDArray[Any]], str, tuple[str, ...]]:
    """Load the file, compare its signature, run the reference's inputs: (outputs, what really ran, notes).

    Before, its format and its runtime check what else must hold of a file. Raises ArtifactError when something does
    not, when the file does not load or its signature is not the model's.
    """
    runtime = runtimes.for_format(cell.format)
    if cell.format.check is not None:
        cell.format.check(path)
    runtime.check(path)
    session = runtimes.open_session(runtime, path, options=runtime.limited(threads))
    check_signature(session.signature, expected_signature(facts, cell))
    outputs = session.run_real(dict(_padded(reference, cell)))
    rows = len(next(iter(reference.outputs.values())))
    return {name: value[:rows] for name, value in outputs.items()}, session.effective, session.notes()


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
