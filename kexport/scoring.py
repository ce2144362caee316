"""Accuracy on photographs: Keras sees them once per model, then every artifact sees the very same arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import accuracy, catalog, evaluation, runtimes
from kexport.calibration import CalibrationSet, open_calibration
from kexport.evaluation import Evaluated, EvaluationSet, open_evaluation
from kexport.keras_walk import run
from kexport.records import AccuracyRecord, SourceFacts
from kexport.runtimes import Session, SessionOptions
from kexport.specs import Cell, Format

BATCH = 8
"""Images at once, where the file leaves it open: activations of 224x224 stay below 0.2 GiB a tensor."""
_NAMED = 10


def prepare(model: Any, facts: SourceFacts, folder: Path, *, images: str | None, calibration: str | None) -> None:
    """Judge both sets; let Keras see the evaluation ``images``, if any, and leave its outputs in ``folder``.

    Raises UsageError and SourceError for images that cannot be right.
    """
    seen = open_calibration_for(facts, calibration).members if calibration is not None else ()
    if images is None:
        return
    found = open_evaluation(images, facts.preprocessing, facts.inputs, facts.outputs)
    evaluated = Evaluated(images=found, overlap=evaluation.overlap(found.members, seen))
    evaluation.save(evaluated, _keras_outputs(model, found), folder)


def open_calibration_for(facts: SourceFacts, text: str) -> CalibrationSet:
    """The calibration set of a model, read and judged. Raises UsageError and SourceError."""
    application = catalog.application(facts.application)
    return open_calibration(text, facts.preprocessing, facts.inputs, catalog.input_range(application))


def score(path: Path, cell: Cell, facts: SourceFacts, folder: Path, *, threads: int) -> AccuracyRecord | None:
    """The artifact at ``path`` against Keras on the images that `prepare` left; None if it left none.

    Raises ArtifactError if the file does not load or answers in another shape, SourceError if a photograph changed.
    """
    stored = evaluation.load(folder)
    if stored is None:
        return None
    evaluated, expected = stored
    limit = None if cell.format is Format.SAVEDMODEL else threads  # TensorFlow's threads are the process's own
    options = SessionOptions(threads=limit, batch=cell.batch or BATCH)
    session = runtimes.open_session(runtimes.for_format(cell.format), path, options=options)
    pairs = _pairs(session, evaluated.images, expected)
    return _about(accuracy.measure(pairs, evaluated.images.labels, softmax=facts.ends_in_softmax), evaluated, session)


def problems(record: AccuracyRecord | None) -> Iterator[str]:
    """What the images say against an artifact, whatever its precision."""
    if record is not None and record.non_finite:
        yield f"{record.non_finite} of {record.images} photographs give NaN or infinity"


def _about(figures: AccuracyRecord, evaluated: Evaluated, session: Session) -> AccuracyRecord:
    return replace(
        figures,
        evaluation=evaluated.images.text,
        evaluation_sha256=evaluated.images.sha256,
        runtime=session.name,
        effective=session.effective,
        overlap=len(evaluated.overlap),
        overlap_names=evaluated.overlap[:_NAMED],
        notes=evaluated.images.notes,
    )


def _keras_outputs(model: Any, images: EvaluationSet) -> Iterator[npt.NDArray[Any]]:
    """One layer after the other, so that memory stays small."""
    for batch in images.batches(BATCH):
        yield np.asarray(run(model, list(batch.values()), _infer)[0])


def _infer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def _pairs(
    session: Session, images: EvaluationSet, expected: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Blocks of (Keras's outputs, the artifact's); the last row is repeated until a static batch is full."""
    size = runtimes.static_batch(session.signature[0]) or BATCH
    static = runtimes.static_batch(session.signature[0]) or 1
    start = 0
    for batch in images.batches(size):
        rows = len(next(iter(batch.values())))
        missing = -rows % static
        full = {name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in batch.items()}
        (answer,) = session.run(full).values()
        yield expected[start : start + rows], answer[:rows]
        start += rows
