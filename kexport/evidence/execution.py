"""Step: a written file is run by its runtime and compared with Keras; its signature is compared first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.formats.tflite import delegation
from kexport.formats.tflite.check import structure as tflite_verify
from kexport.records import Signature, SourceFacts
from kexport.runtimes import SessionOptions
from kexport.sources.prepared import Reference
from kexport.specs import SERVING_BATCH, Boundary, Cell, Format

WITHOUT_DELEGATE = "cpu-builtin"
"""The device of the runtime `litert` that runs built-in kernels alone."""


def expected_signature(facts: SourceFacts, cell: Cell) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """The signature that the artifact must have: the model's, with the cell's batch and type of inputs and outputs."""
    batch = cell.batch or (SERVING_BATCH if cell.format is Format.TFLITE else None)

    def with_batch(specs: tuple[Signature, ...]) -> tuple[Signature, ...]:
        integer = None if cell.io is Boundary.FLOAT32 else str(cell.io)
        return tuple(Signature(name=s.name, shape=(batch, *s.shape[1:]), dtype=integer or s.dtype) for s in specs)

    return with_batch(facts.inputs), with_batch(facts.outputs)


def execute(
    path: Path, cell: Cell, facts: SourceFacts, reference: Reference, *, threads: int
) -> tuple[Mapping[str, npt.NDArray[Any]], str, tuple[str, ...]]:
    """Load the file, compare its signature, run the reference's inputs: (outputs, what really ran, notes).

    A TFLite file must also be structurally sound and load without LiteRT's default delegate.
    Raises ArtifactError when the file does not load or its signature is not the model's.
    """
    runtime = runtimes.for_format(cell.format)
    if cell.format is Format.TFLITE:
        tflite_verify.verify_structure(path)
        _load_without_delegate(runtime, path)
    limit = None if cell.format is Format.SAVEDMODEL else threads  # TensorFlow's threads are the process's own
    session = runtimes.open_session(runtime, path, options=SessionOptions(threads=limit))
    check_signature(session.signature, expected_signature(facts, cell))
    outputs = session.run_real(dict(_padded(reference, cell)))
    rows = len(next(iter(reference.outputs.values())))
    return {name: value[:rows] for name, value in outputs.items()}, session.effective, _notes(session)


def _load_without_delegate(runtime: type[runtimes.Session], path: Path) -> None:
    """Built-in kernels check operators and shapes themselves, and devices without XNNPACK have no others.

    Only memory is planned, nothing runs: a fraction of a second, and memory for activations alone.
    """
    try:
        runtimes.open_session(runtime, path, options=SessionOptions(device=WITHOUT_DELEGATE))
    except ArtifactError as error:
        raise ArtifactError(f"without its default delegate: {error.message}", hint=error.hint) from error


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

    batch = cell.batch or 1
    missing = -len(next(iter(reference.inputs.values()))) % batch
    return {
        name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
        for name, array in reference.inputs.items()
    }


def _notes(session: runtimes.Session) -> tuple[str, ...]:
    """How the file runs: how many operators XNNPACK takes, and each kind that it leaves, with the reason."""
    operators = getattr(session, "operators", None)
    if operators is None:
        return ()
    taken = sum(delegated for _, delegated in operators)
    return (f"XNNPACK runs {taken} of {len(operators)} operators", *delegation.outside(operators))
