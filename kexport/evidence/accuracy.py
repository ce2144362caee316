"""Step: an artifact's answers against Keras's, image by image, in numpy only and in bounded memory.

A drop is a difference of two shares on the *same* images, so only the flips count: right in Keras and wrong in the
artifact (b), and the reverse (c), of n images. The drop is (b - c) / n. Its 95 % interval is Wald's with the Laplace
adjustment for paired binomial proportions of D. G. Bonett and R. M. Price (2012, "Adjusted Wald Confidence Interval
for a Difference of Binomial Proportions Based on Paired Data", J. Educational and Behavioral Statistics 37(4)),
which M. W. Fagerland, S. Lydersen and P. Laake (2014, Statistics in Medicine 33(16)) recommend: with
p = (b + 1) / (n + 2) and q = (c + 1) / (n + 2) it is (p - q) ± z sqrt((p + q - (p - q)^2) / (n + 2)). It keeps its
width where no image flips, which the plain one does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import ArtifactError
from kexport.metrics import Numbers, decibels, logits, powers
from kexport.records import AccuracyRecord

Z95 = 1.959963984540054
NO_DECISION = -1
_FEW = 5
Array = npt.NDArray[Any]
Pairs = Iterable[tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """One number per image, concatenated over blocks."""

    finite: Array
    keras: Array  # the class that is decided for, or NO_DECISION
    artifact: Array
    keras_rank: Array  # how many classes come before the label
    artifact_rank: Array
    power: Numbers
    noise: Numbers
    logits_power: Numbers  # NaN where the softmax hides the logits
    logits_noise: Numbers


def measure(pairs: Pairs, labels: Sequence[int] | None, *, softmax: bool) -> AccuracyRecord:
    """The record over blocks ``(Keras's outputs, the artifact's)``, each (images, classes), in the labels' order.

    A decision is the first of the largest values; an image whose values are all the same, or not all finite, has
    none: it is never right and never agrees. Where Keras says the same of all classes everywhere, there is no
    agreement to tell. A class that has the smallest value of all is not among the first five, so that the many zeros
    of a rounded softmax count for nothing. What the images are and what ran is left to the caller.
    Raises ArtifactError if shapes differ or the blocks do not have one row per label.
    """
    rows = _join(list(_blocks(pairs, labels, softmax=softmax)))
    count = len(rows.finite)
    if labels is not None and len(labels) != count:
        raise ArtifactError(f"{count} answers for {len(labels)} images")
    visible = np.isfinite(rows.logits_power)
    decided = rows.keras != NO_DECISION
    agree = (rows.keras == rows.artifact) & decided
    general: dict[str, Any] = {
        "images": count,
        "labelled": labels is not None,
        "top1_agreement": float(agree.mean()) if decided.any() or not rows.finite.all() else None,
        "output_sqnr_db": decibels(rows.power.sum(), rows.noise.sum()),
        "logits_sqnr_db": _logits_sqnr(rows, visible),
        "logits_images": int(visible.sum()),
        "non_finite": int((~rows.finite).sum()),
    }
    return AccuracyRecord(**general, **(_labelled(rows) if labels is not None else {}))


def drop_interval_points(worse: int, better: int, images: int) -> tuple[float, float]:
    """The 95 % interval of a paired drop, in points: ``worse`` flips to wrong, ``better`` to right."""
    p, q, total = (worse + 1) / (images + 2), (better + 1) / (images + 2), images + 2
    half = Z95 * math.sqrt((p + q - (p - q) ** 2) / total)
    return 100 * (p - q - half), 100 * (p - q + half)


def _labelled(rows: _Rows) -> dict[str, Any]:
    keras, artifact = rows.keras_rank == 0, rows.artifact_rank == 0
    worse, better, count = int((keras & ~artifact).sum()), int((~keras & artifact).sum()), len(keras)
    low, high = drop_interval_points(worse, better, count)
    return {
        "keras_top1": float(keras.mean()),
        "keras_top5": float((rows.keras_rank < _FEW).mean()),
        "top1": float(artifact.mean()),
        "top5": float((rows.artifact_rank < _FEW).mean()),
        "top1_drop_points": 100 * (worse - better) / count,
        "low_points": low,
        "high_points": high,
        "right_to_wrong": worse,
        "wrong_to_right": better,
    }


def _blocks(pairs: Pairs, labels: Sequence[int] | None, *, softmax: bool) -> Iterator[_Rows]:
    start = 0
    for reference, outputs in pairs:
        if reference.shape != outputs.shape or reference.ndim != 2:
            raise ArtifactError(f"the artifact answers in shape {outputs.shape}, Keras in {reference.shape}")
        chosen = np.array(labels[start : start + len(outputs)]) if labels is not None else None
        start += len(outputs)
        yield _block(np.asarray(reference, np.float64), np.asarray(outputs, np.float64), chosen, softmax=softmax)


def _block(reference: Numbers, outputs: Numbers, labels: Array | None, *, softmax: bool) -> _Rows:
    power, noise = powers(reference, outputs)
    logits_power, logits_noise = powers(*(logits(values) if softmax else values for values in (reference, outputs)))
    hidden = np.isnan(logits_power) | np.isnan(logits_noise)
    ranks = [_ranks(values, labels) for values in (reference, outputs)]
    return _Rows(
        finite=np.asarray(np.isfinite(outputs).all(axis=1)),
        keras=_decisions(reference),
        artifact=_decisions(outputs),
        keras_rank=ranks[0],
        artifact_rank=ranks[1],
        power=power,
        noise=noise,
        logits_power=np.where(hidden, np.nan, logits_power),
        logits_noise=np.where(hidden, np.nan, logits_noise),
    )


def _join(blocks: Sequence[_Rows]) -> _Rows:
    if not blocks:
        raise ArtifactError("no images were answered")
    return _Rows(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in vars(blocks[0])})


def _decided(values: Numbers) -> Array:
    """Which rows say anything: all finite, not all the same."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(values).all(axis=1) & (values.max(axis=1) > values.min(axis=1)))


def _decisions(values: Numbers) -> Array:
    return np.where(_decided(values), np.argmax(values, axis=1), NO_DECISION)


def _ranks(values: Numbers, labels: Array | None) -> Array:
    """How many classes come before the label: those with more, and those before it with as much."""
    if labels is None:
        return np.zeros(len(values), int)
    own = values[np.arange(len(values)), labels][:, np.newaxis]
    with np.errstate(invalid="ignore"):
        before = (values > own).sum(axis=1) + ((values == own) & (np.arange(values.shape[1]) < labels[:, None])).sum(1)
        last = own[:, 0] <= values.min(axis=1)
    return np.asarray(np.where(_decided(values) & ~last, before, values.shape[1]))


def _logits_sqnr(rows: _Rows, visible: Array) -> float | None:
    if not rows.finite.all():
        return math.nan
    return decibels(rows.logits_power[visible].sum(), rows.logits_noise[visible].sum()) if visible.any() else None
