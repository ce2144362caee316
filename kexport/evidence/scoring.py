"""Accuracy on photographs: Keras sees them once per model, then every artifact sees the very same arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import runtimes
from kexport.errors import UsageError
from kexport.evidence import accuracy, chance, signal
from kexport.evidence import inputs as choice
from kexport.evidence.inputs import Photographs
from kexport.images import evaluation
from kexport.images.calibration import CalibrationSet, open_calibration
from kexport.images.checks import Images
from kexport.images.evaluation import Evaluated, EvaluationSet, open_evaluation
from kexport.records import UNKNOWN, AccuracyRecord, Basis, Preprocessing, SourceFacts
from kexport.runtimes import Session
from kexport.sources import catalog, embedding, imagenet_classes, prepared, reference, stated
from kexport.sources.prepared import Reference
from kexport.specs import Cell

CHECKED = 16
"""Calibration images on which a calibrated artifact is compared with Keras."""
COMPARED = 4
"""Photographs on which any other artifact is compared, where seeded images show too little."""
BATCH, _PIXELS = 8, 224 * 224
"""Images at once of 224x224 pixels, where the file leaves it open; fewer larger ones, so that memory stays the same."""
_NAMED = 10


def prepare(
    model: Any, facts: SourceFacts, folder: Path, *, images: str | None, calibration: str | None, calibrated: bool
) -> None:
    """Judge both sets; let Keras see the evaluation ``images``, if any, and leave its outputs in ``folder``.

    ``calibrated``: some artifact will be judged on the first calibration images, so Keras sees them too.
    Raises UsageError and SourceError for images that cannot be right.
    """
    given = open_calibration_for(facts, calibration) if calibration is not None else None
    if given is not None and calibrated:
        prepared.save_reference(_calibrated(model, facts, given), folder, prepared.CALIBRATED)
    seen = given.members if given is not None else ()
    if images is None:
        return
    found = _evaluation(facts, images)
    answers = evaluation.save_outputs(found.count, _keras_outputs(model, found), folder)
    evaluated = Evaluated(
        images=found,
        overlap=evaluation.overlap(found.members, seen),
        caveats=tuple(_caveats(model, facts, found, answers)),
    )
    evaluation.save_facts(evaluated, folder)


def _evaluation(facts: SourceFacts, images: str) -> EvaluationSet:
    """The photographs; the model's own names of classes decide what they show, and WordNet's ids of ImageNet."""
    contract, identities = _contract(facts, "--eval"), imagenet_classes.identities()
    return open_evaluation(
        images, contract, facts.inputs, facts.outputs, class_names=facts.labels, identities=identities
    )


def _caveats(model: Any, facts: SourceFacts, images: EvaluationSet, answers: npt.NDArray[Any]) -> Iterator[str]:
    """What is to be known before any number on these images."""
    told = chance.alarm(images, answers, lambda other: _keras_outputs(model, other), weights=facts.weights)
    contract = images.contract
    yield from filter(None, (told, images.guess))
    if contract.range_basis is Basis.ASSUMED:
        yield f"the range of the pixels is assumed ({contract.basis}): --preprocessing states it"
    if contract.resize_basis is Basis.ASSUMED:
        part = f"the centre of {max(contract.size) / contract.resize_shorter_side:.3g} of the shorter side"
        yield f"the resize is assumed ({part}): --resize states it"


def _calibrated(model: Any, facts: SourceFacts, images: CalibrationSet) -> Reference:
    """Keras's outputs on the first calibration images. Raises SignalError if they are not finite."""
    given = embedding.snapped(facts, next(iter(images.batches(CHECKED))))
    computed = choice.complete(model, reference.compute(model, given), facts)
    signal.check_finite(computed)
    return reference.with_rounding(model, computed)


def photographs(facts: SourceFacts, *, calibration: str | None, images: str | None) -> Iterator[Photographs]:
    """The first images of each set that the user gave, as candidates for what artifacts are compared on."""
    if calibration is not None:
        given = open_calibration_for(facts, calibration)
        yield Photographs(text=calibration, inputs=next(iter(given.batches(COMPARED))))
    if images is not None:
        found = _evaluation(facts, images)
        yield Photographs(text=images, inputs=next(iter(found.batches(COMPARED))))


def open_calibration_for(facts: SourceFacts, text: str) -> CalibrationSet:
    """The calibration set of a model, read and judged. Raises UsageError and SourceError."""
    given = facts.input_range or catalog.input_range(catalog.application(facts.application))
    contract = facts.preprocessing
    if contract is None or Path(text).is_dir():
        contract = _contract(facts, "--calibration")
    return open_calibration(text, contract, facts.inputs, given)


def _contract(facts: SourceFacts, option: str) -> Preprocessing:
    """How photographs become inputs. Raises UsageError for a model that does not say it."""
    contract = facts.preprocessing
    if contract is None or contract.mode == UNKNOWN:
        why = "no input is an image" if contract is None else f"the range of the images is {contract.basis}"
        raise UsageError(
            f"{option}: {why}",
            hint=stated.HINT if contract is not None else f"leave {option} out",
        )
    return contract


def score(path: Path, cell: Cell, facts: SourceFacts, folder: Path, *, threads: int) -> AccuracyRecord | None:
    """The artifact at ``path`` against Keras on the images that `prepare` left; None if it left none.

    Raises ArtifactError if the file does not load or answers in another shape, SourceError if a photograph changed.
    """
    stored = evaluation.load(folder)
    if stored is None:
        return None
    evaluated, expected = stored
    runtime = runtimes.for_format(cell.format)
    options = runtime.limited(threads, batch=cell.batch or _batch(evaluated.images))
    session = runtimes.open_session(runtime, path, options=options)
    pairs = _pairs(session, evaluated.images, expected, facts)
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
        caveats=evaluated.caveats,
    )


def _keras_outputs(model: Any, images: EvaluationSet) -> Iterator[npt.NDArray[Any]]:
    """Keras's own prediction, always of a full batch: another size would make TensorFlow trace the network again."""
    size = min(_batch(images), images.count)
    for batch in images.batches(size):
        rows, full = _filled(batch, size)
        yield np.asarray(model.predict_on_batch(full[images.input_name]))[:rows]


def _batch(images: EvaluationSet) -> int:
    height, width = images.contract.size
    return max(1, BATCH * _PIXELS // max(_PIXELS, height * width))


def _pairs(
    session: Session, images: EvaluationSet, expected: npt.NDArray[Any], facts: SourceFacts
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Blocks of (Keras's outputs, the artifact's)."""
    fixed = runtimes.static_batch(session.signature[0])
    size, static = fixed or _batch(images), fixed or 1
    start = 0
    for batch in images.batches(size):
        rows, full = _filled(batch, static)
        (answer,) = session.run_real(embedding.fed(facts, full)).values()
        yield expected[start : start + rows], answer[:rows]
        start += rows


def _filled(batch: Mapping[str, Images], multiple: int) -> tuple[int, dict[str, Images]]:
    """How many rows there are, and the batch with its last row repeated up to a multiple."""
    rows = len(next(iter(batch.values())))
    missing = -rows % multiple
    return rows, {
        name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in batch.items()
    }
