"""Figures of networks that do not name one class per image: masks, values, directions; in numpy and bounded memory.

Masks have the intersection over union of the two sets of places of a class, as a mean over the classes that occur
(M. Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge"), and the share of right places. Values
have the mean absolute error against the labels. Directions have the cosine between Keras's and the artifact's. An
interval is that of a mean of paired differences, one for each image: mean ± z s / sqrt(n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import ArtifactError, UsageError
from kexport.evidence.accuracy import Z95
from kexport.images.answers import VOID, Answers, decisions
from kexport.metrics import decibels, powers, rows
from kexport.records import AccuracyRecord, Score
from kexport.records.proof import POINTS

Array = npt.NDArray[Any]
Blocks = Iterable[tuple[Array, Array, Array | None]]
"""Keras's outputs, the artifact's, and what would be right."""
Function = Callable[[Any, Any], float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure of the user's own: ``function(outputs, labels)`` is a number, of which more is better."""

    name: str
    function: Function

    def of(self, outputs: Array, labels: Array | None) -> float:
        """The number. Raises UsageError for anything else."""
        found = self.function(outputs, labels)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"evaluate: {self.name} returned {found!r:.100}, expected a number", hint="evaluate=lambda o, y: 1.0"
            ) from error


@dataclass(kw_only=True)
class _Sums:
    """What is added up over images."""

    images: int = 0
    non_finite: int = 0
    power: float = 0.0
    noise: float = 0.0
    shares: list[tuple[float, float]] = field(default_factory=list)  # of each image: Keras's and the artifact's figure
    agreement: list[float] = field(default_factory=list)
    counts: Array | None = None  # (Keras or artifact, class, (both, said, right))

    def add(self, keras: Array, artifact: Array) -> None:
        """What every kind of output has."""
        if keras.shape != artifact.shape:
            raise ArtifactError(f"the artifact answers in shape {artifact.shape}, Keras in {keras.shape}")
        if not len(keras):
            raise ArtifactError("no images were answered")
        power, noise = powers(rows(keras), rows(artifact))
        self.images += len(keras)
        self.power += float(power.sum())
        self.noise += float(noise.sum())
        self.non_finite += int((~np.isfinite(rows(artifact)).all(axis=1)).sum())


def measure(blocks: Blocks, answers: Answers, *, classes: int) -> AccuracyRecord:
    """The record over blocks of rows; what the images are and what ran is left to the caller."""
    sums, labelled = _Sums(), False
    for keras, artifact, right in blocks:
        sums.add(keras, artifact)
        labelled = right is not None
        _ADD[answers](sums, keras, artifact, right, classes)
    scores = _SCORES[answers](sums, labelled)
    agreement = float(np.mean(sums.agreement)) if sums.agreement else None
    return _record(sums, scores, agreement=agreement, labelled=labelled)


def measure_own(own: Measure, keras: Array, artifact: Array, labels: Array | None) -> AccuracyRecord:
    """As `measure`, with the user's own figure, which sees all rows at once."""
    sums = _Sums()
    sums.add(keras, artifact)
    before, now = own.of(keras, labels), own.of(artifact, labels)
    score = Score(name=own.name, unit="", keras=before, value=now, drop=before - now, drop_unit=f"units of {own.name}")
    return _record(sums, (score,), agreement=None, labelled=labels is not None)


def _record(sums: _Sums, scores: tuple[Score, ...], *, agreement: float | None, labelled: bool) -> AccuracyRecord:
    if not sums.images:
        raise ArtifactError("no images were answered")
    return AccuracyRecord(
        images=sums.images,
        labelled=labelled,
        top1_agreement=agreement,
        output_sqnr_db=decibels(sums.power, sums.noise),
        logits_sqnr_db=None,
        logits_images=0,
        non_finite=sums.non_finite,
        scores=scores,
    )


def _add_places(sums: _Sums, keras: Array, artifact: Array, right: Array | None, classes: int) -> None:
    said = [decisions(keras), decisions(artifact)]
    sums.agreement += (said[0] == said[1]).reshape(len(keras), -1).mean(axis=1).tolist()
    if right is None:
        return
    known = right != VOID
    size = max(classes, *(int(each.max()) + 1 for each in said), int(right[known].max()) + 1 if known.any() else 1)
    sums.counts = _grown(sums.counts, size)
    for place, each in enumerate(said):
        both = np.bincount(each[known & (each == right)].ravel(), minlength=size)
        told = np.bincount(each[known].ravel(), minlength=size)
        true = np.bincount(right[known].ravel(), minlength=size)
        sums.counts[place] += np.stack([both, told, true], axis=1)
    for image in range(len(right)):
        if known[image].any():
            one, two = (float((each[image] == right[image])[known[image]].mean()) for each in said)
            sums.shares.append((one, two))


def _grown(counts: Array | None, size: int) -> Array:
    if counts is None:
        return np.zeros((2, size, 3), np.int64)
    return np.pad(counts, ((0, 0), (0, max(0, size - counts.shape[1])), (0, 0)))


def _add_values(sums: _Sums, keras: Array, artifact: Array, right: Array | None, classes: int) -> None:
    del classes
    assert right is not None, "values are measured against labels"
    errors = (np.abs(rows(each) - rows(right)).mean(axis=1).tolist() for each in (keras, artifact))
    sums.shares += zip(*errors, strict=True)


def _add_direction(sums: _Sums, keras: Array, artifact: Array, right: Array | None, classes: int) -> None:
    del right, classes
    one, two = rows(keras), rows(artifact)
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums.shares += [(1.0, float(each)) for each in (one * two).sum(axis=1) / size]


def _of_places(sums: _Sums, labelled: bool) -> tuple[Score, ...]:
    if not labelled:
        return ()
    assert sums.counts is not None
    keras, artifact = (100 * _mean_iou(counts) for counts in sums.counts)
    iou = Score(name="mIoU", unit="%", keras=keras, value=artifact, drop=keras - artifact, drop_unit=POINTS)
    return (iou, _paired(sums, name="pixel accuracy", factor=100.0, unit="%", drop_unit=POINTS))


def _mean_iou(counts: Array) -> float:
    """Over the classes that some place shows or is said to show."""
    both, said, right = counts.T
    union = said + right - both
    return float((both[union > 0] / union[union > 0]).mean()) if (union > 0).any() else math.nan


def _of_values(sums: _Sums, labelled: bool) -> tuple[Score, ...]:
    del labelled
    return (_paired(sums, name="MAE", factor=1.0, unit="", drop_unit="units of the labels", lower=True),)


def _of_direction(sums: _Sums, labelled: bool) -> tuple[Score, ...]:
    del labelled
    found = _paired(sums, name="cosine", factor=100.0, unit="%", drop_unit=POINTS)
    return (replace(found, unit="", value=found.value / 100, keras=None),)


def _paired(sums: _Sums, *, name: str, factor: float, unit: str, drop_unit: str, lower: bool = False) -> Score:
    keras, artifact = factor * np.array(sums.shares).T
    worse = artifact - keras if lower else keras - artifact
    half = Z95 * float(worse.std(ddof=1)) / math.sqrt(len(worse)) if len(worse) > 1 else math.nan
    drop = float(worse.mean())
    known = math.isfinite(half)
    return Score(
        name=name, unit=unit, keras=float(keras.mean()), value=float(artifact.mean()), drop=drop, drop_unit=drop_unit,
        low=drop - half if known else None, high=drop + half if known else None, lower_is_better=lower,
    )  # fmt: skip


_ADD = {Answers.PLACES: _add_places, Answers.VALUES: _add_values, Answers.EMBEDDING: _add_direction}
_SCORES = {Answers.PLACES: _of_places, Answers.VALUES: _of_values, Answers.EMBEDDING: _of_direction}
