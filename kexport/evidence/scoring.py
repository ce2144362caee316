"""Accuracy on photographs: Keras sees them once per model, then every artifact sees the very same arrays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files, runtimes
from kexport.errors import UsageError
from kexport.evidence import accuracy, chance, gates, scores, signal
from kexport.evidence import inputs as choice
from kexport.evidence.inputs import Photographs
from kexport.evidence.scores import Measure
from kexport.images import answers_file, evaluation, given
from kexport.images.answers import SOFTMAX, Answers, two_classes
from kexport.images.calibration import CalibrationSet, open_calibration
from kexport.images.checks import Images
from kexport.images.evaluation import Evaluated, open_arrays, open_evaluation
from kexport.images.evaluation_set import EvaluationSet
from kexport.options import fetched
from kexport.records import UNKNOWN, AccuracyRecord, Basis, Preprocessing, Signature, SourceFacts
from kexport.runtimes import Session
from kexport.sources import catalog, embedding, imagenet_classes, labels, layer_samples, prepared, reference, stated
from kexport.sources.prepared import Reference
from kexport.specs import Cell

CHECKED = 16
"""Calibration images on which a calibrated artifact is compared with Keras."""
COMPARED = 4
"""Photographs on which any other artifact is compared, where seeded images show too little."""
BATCH, _NUMBERS = 8, 224 * 224 * 3
"""Images at once of 224x224 pixels, where the file leaves it open; fewer larger ones, so that memory stays the same."""
_NAMED = 10


def prepare(
    model: Any,
    facts: SourceFacts,
    folder: Path,
    *,
    images: str | None,
    calibration: str | None,
    calibrated: bool,
    apart: bool = False,
) -> None:
    """Judge both sets; let Keras see the evaluation ``images``, if any, and leave its outputs in ``folder``.

    ``calibrated``: some artifact will be judged on the first calibration images, so Keras sees them too. ``apart``: it
    is known that no rows of the network meet.
    Raises UsageError and SourceError for images that cannot be right.
    """
    shown = open_calibration_for(facts, calibration, folder) if calibration is not None else None
    if shown is not None and calibrated:
        answered = _calibrated(model, facts, shown, apart=apart)
        walked = layer_samples.walk(model)
        prepared.save_reference(answered, folder, prepared.CALIBRATED, walked=walked, facts=facts)
    seen = shown.members if shown is not None else ()
    if images is None:
        return
    found = _evaluation(facts, images, folder)
    answers = evaluation.save_outputs(found.count, _keras_outputs(model, found), folder)
    evaluated = Evaluated(
        images=found,
        overlap=evaluation.overlap(found.members, seen) if found.pictures else (),
        caveats=tuple(_caveats(model, facts, found, answers)),
    )
    evaluation.save_facts(evaluated, folder)
    answers_file.pack(folder)


def _evaluation(facts: SourceFacts, images: str, folder: Path) -> EvaluationSet:
    """The photographs; the model's own names of classes decide what they show, and WordNet's ids of ImageNet."""
    output = labels.deciding(facts.outputs, facts.activations)
    if output is None:
        told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in facts.outputs)
        raise UsageError(
            f"--eval {images}: which of the outputs {told} says the class? expected one row that ends in a softmax "
            "or sigmoid",
            hint="--layer NAME exports the model as far as the layer that says it",
        )
    several = len(facts.outputs) > 1
    found = _opened(facts, images, folder, output)
    note = f"measured on the output {output.name!r}, the only one that says a class"
    return replace(found, output=output.name, notes=(*found.notes, note)) if several else found


def _opened(facts: SourceFacts, images: str, folder: Path, output: Signature) -> EvaluationSet:
    activation = facts.activations.get(output.name, "")
    path = given.file_of(images, folder)
    if path.suffix.lower() == evaluation.ARCHIVE:
        with given.called("eval", images, path), fetched.called(images):
            return open_arrays(
                path, facts.preprocessing, facts.inputs, (output,), folder, text=images,
                limits=facts.input_range or (0.0, 0.0), class_names=facts.labels, activation=activation,
            )  # fmt: skip
    contract, identities = _contract(facts, "--eval"), imagenet_classes.identities()
    with fetched.called(images):
        return open_evaluation(
            images, contract, facts.inputs, (output,), class_names=facts.labels, identities=identities,
            activation=activation,
        )  # fmt: skip


def _caveats(model: Any, facts: SourceFacts, images: EvaluationSet, answers: npt.NDArray[Any]) -> Iterator[str]:
    """What is to be known before any number on these images."""

    def answer(other: EvaluationSet) -> Iterator[npt.NDArray[Any]]:
        return (_as_classes(other, rows) for rows in _keras_outputs(model, other))

    told = chance.alarm(images, _as_classes(images, answers), answer, weights=facts.weights)
    contract = images.contract
    yield from filter(None, (told, images.guess))
    if contract is None or images.arrays:
        return
    if contract.range_basis is Basis.ASSUMED:
        yield f"the range of the pixels is assumed ({contract.basis}): --preprocessing states it"
    if contract.resize_basis is Basis.ASSUMED:
        part = f"the centre of {max(contract.size) / contract.resize_shorter_side:.3g} of the shorter side"
        yield f"the resize is assumed ({part}): --resize states it"


def _calibrated(model: Any, facts: SourceFacts, images: CalibrationSet, *, apart: bool) -> Reference:
    """Keras's outputs on the first calibration images. Raises SignalError if they are not finite."""
    computed = choice.computed(model, next(iter(images.batches(CHECKED))), facts, apart=apart)
    signal.check_finite(computed)
    return reference.with_rounding(model, computed)


def photographs(
    facts: SourceFacts, folder: Path, *, calibration: str | None, images: str | None
) -> Iterator[Photographs]:
    """The first images of each set that the user gave, as candidates for what artifacts are compared on."""
    if calibration is not None:
        seen = open_calibration_for(facts, calibration, folder)
        yield Photographs(text=calibration, inputs=next(iter(seen.batches(COMPARED))))
    if images is not None:
        found = _evaluation(facts, images, folder)
        yield Photographs(text=images, inputs=next(iter(found.batches(COMPARED))))


def open_calibration_for(facts: SourceFacts, text: str, folder: Path | None = None) -> CalibrationSet:
    """The calibration set of a model, read and judged; ``folder``, the run's own, has the data of a program.

    Raises UsageError and SourceError.
    """
    limits = facts.input_range or catalog.input_range(catalog.application(facts.application))
    contract = facts.preprocessing
    if contract is not None and Path(fetched.local(text)).is_dir():
        contract = _contract(facts, "--calibration")
    path = str(given.file_of(text, folder)) if text.startswith(given.PREFIX) else fetched.local(text)
    with given.called("calibration", text, path), fetched.called(text):
        found = open_calibration(path, contract, facts.inputs, limits, folder=folder)
    return replace(found, text=text, notes=tuple(note.replace(path, text) for note in found.notes))


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


def score(
    path: Path, cell: Cell, facts: SourceFacts, folder: Path, *, threads: int, own: Measure | None = None
) -> AccuracyRecord | None:
    """The artifact at ``path`` against Keras on the images that `prepare` left; None if it left none.

    ``own`` is a figure of the user's own, in place of the usual one.

    Raises ArtifactError if the file does not load or answers in another shape, SourceError if a photograph changed.
    """
    stored = evaluation.load(folder)
    if stored is None:
        return None
    evaluated, expected = stored
    runtime = runtimes.for_format(cell.format)
    options = runtime.limited(threads, batch=cell.batch or _batch(evaluated.images))
    session = runtimes.open_session(runtime, path, options=options)
    figures = _figures(session, evaluated.images, expected, facts, own=own)
    packed = folder / answers_file.ANSWERS
    digest = files.file_digest(packed) if packed.is_file() else ""
    scored = replace(_about(figures, evaluated, session), answers_sha256=digest, min_agreement=cell.min_agreement)
    gates.require_figures(cell, scored, evaluated.images.text)
    return scored


def restore(answers: Path, facts: SourceFacts, folder: Path, *, images: str) -> None:
    """As `prepare` leaves it, without Keras: its kept ``answers``, and the photographs that ``images`` names."""
    answers_file.unpack(answers, _evaluation(facts, images, folder), folder)
    shutil.copyfile(answers, folder / answers_file.ANSWERS)


def _figures(
    session: Session, images: EvaluationSet, expected: npt.NDArray[Any], facts: SourceFacts, *, own: Measure | None
) -> AccuracyRecord:
    """What is measured, by what the network answers and by the labels."""
    pairs = _pairs(session, images, expected, facts)
    if own is not None:
        found = np.concatenate([rows for _, rows in pairs])
        right = images.right(0, images.count) if images.targets else images.labels
        return scores.measure_own(own, np.asarray(expected), found, None if right is None else np.asarray(right))
    if images.answers is Answers.CLASSES:
        softmax = facts.ends_in_softmax or facts.activations.get(images.output) == SOFTMAX
        return accuracy.measure(pairs, images.labels, softmax=softmax)
    if images.answers is Answers.BINARY:
        both = (tuple(map(two_classes, pair)) for pair in pairs)
        return accuracy.measure(((one, two) for one, two in both), images.labels, softmax=True)
    return scores.measure(_with_targets(pairs, images), images.answers, classes=images.classes)


def _with_targets(pairs: Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]], images: EvaluationSet) -> scores.Blocks:
    start = 0
    for keras, artifact in pairs:
        yield keras, artifact, images.right(start, start + len(keras))
        start += len(keras)


def _as_classes(images: EvaluationSet, answers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One probability as those of two classes, where that is what the network answers."""
    return two_classes(answers) if images.answers is Answers.BINARY else answers


def problems(record: AccuracyRecord | None) -> Iterator[str]:
    """What the images say against an artifact, whatever its precision."""
    if record is None:
        return
    if record.non_finite:
        yield f"{record.non_finite} of {record.images} photographs give NaN or infinity"
    least, agreed = record.min_agreement, record.top1_agreement
    if least is not None and not (agreed is not None and agreed >= least):
        told = "none" if agreed is None else f"{agreed:.4f}"
        share = f"the share of {record.images} images on which this file decides as Keras is {told}"
        yield f"{share}, the bound is --min-agreement {least:g}"


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
        values = [full[name] for name in (images.arrays or [images.input_name])]
        yield np.asarray(reference.predicted(model, values, output=images.output))[:rows]


def _batch(images: EvaluationSet) -> int:
    return max(1, BATCH * _NUMBERS // max(_NUMBERS, images.numbers))


def _pairs(
    session: Session, images: EvaluationSet, expected: npt.NDArray[Any], facts: SourceFacts
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Blocks of (Keras's outputs, the artifact's)."""
    fixed = runtimes.static_batch(session.signature[0])
    size, static = fixed or _batch(images), fixed or 1
    start = 0
    for batch in images.batches(size):
        rows, full = _filled(batch, static)
        answers = session.run_real(embedding.fed(facts, full))
        answer = answers[images.output] if images.output else next(iter(answers.values()))
        yield expected[start : start + rows], answer[:rows]
        start += rows


def _filled(batch: Mapping[str, Images], multiple: int) -> tuple[int, dict[str, Images]]:
    """How many rows there are, and the batch with its last row repeated up to a multiple."""
    rows = len(next(iter(batch.values())))
    missing = -rows % multiple
    return rows, {
        name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in batch.items()
    }
