"""Whether Keras itself is right on labelled photographs at all; and if not, what it should have been fed with.

A network that is fed wrongly (pixels scaled twice or not at all, blue and red exchanged) answers at chance. Its files
answer just so, every comparison passes, and every number about accuracy is about nothing. So Keras's share is held
against chance, and where it cannot be told from it the usual other contracts are tried on the same photographs.

``right`` of ``images`` can be told from chance if so many or more would be right with a probability of at most 2.5 %
where each is right with one in ``classes``: the lower end of the exact 95 % interval of Clopper and Pearson (1934,
"The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial") is then above one in ``classes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kexport.images.evaluation_set import EvaluationSet
from kexport.records import Preprocessing
from kexport.sources.scalings import SCALINGS

LEVEL = 0.025
TRIED = 64
"""Photographs that another contract is tried on, evenly over the set."""
_FEW_CLASSES = 50
_EACH = 3  # photographs of a class from which its place can be told
_CLEAR = 0.8
_SHOWN = 3
Array = npt.NDArray[np.float32]
Answer = Callable[[EvaluationSet], Iterator[npt.NDArray[np.float32]]]


@dataclass(frozen=True, kw_only=True)
class Other:
    """A contract that Keras was tried with, what it is called, and on how many photographs Keras was right."""

    told: str
    contract: Preprocessing
    right: int = 0


def tail(right: int, images: int, classes: int) -> float:
    """The probability that ``right`` or more of ``images`` are right by chance."""
    share = 1 / classes
    logs = [
        math.lgamma(images + 1) - math.lgamma(k + 1) - math.lgamma(images - k + 1)
        + k * math.log(share) + (images - k) * math.log1p(-share)
        for k in range(right, images + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def alarm(images: EvaluationSet, answers: npt.NDArray[np.float32], answer: Answer, *, weights: str = "") -> str:
    """What is to be said before any number; empty where Keras is better than chance, or nothing can be told.

    ``answers`` are Keras's, one row for each image; ``answer`` asks Keras again; ``weights`` are the record's.
    """
    if images.labels is None or images.classes < 2:
        return ""  # no class of a whole image is right or wrong
    labels, decided = np.array(images.labels), np.asarray(answers).argmax(axis=1)
    right, count, classes = int((labels == decided).sum()), len(labels), images.classes
    if tail(count, count, classes) > LEVEL:
        return f"{count} photographs of {classes} classes are too few to tell Keras from chance"
    one_answer = len(set(decided)) == 1 and len(set(labels)) > 1 and classes > 2
    if tail(right, count, classes) <= LEVEL and not one_answer:
        return ""
    found = (
        f"Keras itself is right on {right} of {count} photographs, which cannot be told from chance ({classes} "
        "classes): what follows says nothing about accuracy"
    )
    return f"{found}; {_cause(images, decided, answer, weights=weights)}"


def _cause(images: EvaluationSet, decided: npt.NDArray[np.int64], answer: Answer, *, weights: str) -> str:
    if weights.startswith("random"):
        return f"the weights are {weights}"
    if images.contract is None or not images.pixels:
        return "are the inputs what the network was trained with, and do the labels belong to it?"
    part = _part(images)
    labels = np.array(part.labels)
    tried = [_tried(other, part, labels, answer) for other in _others(images.contract)]
    best = max(tried, key=lambda other: other.right)
    if tail(best.right, len(labels), images.classes) <= LEVEL / len(tried):
        equals = [other.told for other in tried if other.right == best.right][:_SHOWN]
        return f"the cause, most likely: with {', or '.join(equals)} Keras is right on {best.right} of {len(labels)}"
    if _permuted(np.array(images.labels), decided, images.classes):
        return "the cause, most likely: the classes are in another order than the labels (--labels FILE)"
    names = ", ".join(other.told.partition(" (")[0] for other in tried)
    return f"no better with {names}: are the weights trained, and do the labels belong to them?"


def _part(images: EvaluationSet) -> EvaluationSet:
    chosen = np.unique(np.linspace(0, images.count - 1, min(TRIED, images.count)).round().astype(int))
    labels = images.labels or ()
    return replace(
        images,
        paths=tuple(images.paths[index] for index in chosen),
        members=tuple(images.members[index] for index in chosen),
        labels=tuple(labels[index] for index in chosen),
    )


def _tried(other: Other, part: EvaluationSet, labels: npt.NDArray[np.int64], answer: Answer) -> Other:
    rows = np.concatenate(list(answer(replace(part, contract=other.contract))))
    return replace(other, right=int((rows.argmax(axis=1) == labels).sum()))


def _others(given: Preprocessing) -> list[Other]:
    """The usual contracts but the given one, in the order in which they are believed."""
    found: list[Other] = []
    channels = len(given.mean)
    for mode, told in _MODES.items():
        scaling = SCALINGS[mode]
        if scaling.fits(channels):
            fitted = scaling.of_channels(channels)
            order = fitted.channel_order if channels == len(scaling.mean) else given.channel_order
            contract = replace(given, mode=mode, scale=fitted.scale, mean=fitted.mean, std=fitted.std,
                               channel_order=order)  # fmt: skip
            found.append(Other(told=f"{told} (--preprocessing {mode})", contract=contract))
    found += list(_of_other_order(found, channels))
    found.append(Other(told="the same scaling twice", contract=_twice(given)))
    distinct = {_numbers(other.contract): other for other in reversed(found)}
    distinct.pop(_numbers(given), None)
    return list(reversed(distinct.values()))


_MODES = {
    "raw": "pixels in [0, 255]",
    "unit": "[0, 1]",
    "tf": "[-1, 1]",
    "torch": "ImageNet's mean and deviation",
    "caffe": "BGR less ImageNet's mean",
}


def _of_other_order(found: Sequence[Other], channels: int) -> Iterator[Other]:
    if channels != 3:
        return
    for other in found:
        if other.contract.mode != "caffe":
            told = f'BGR, {other.told.partition(" (")[0]} (--preprocessing FILE with channel_order = "BGR")'
            yield Other(told=told, contract=replace(other.contract, channel_order="BGR", mode="own"))


def _twice(given: Preprocessing) -> Preprocessing:
    """What a training pipeline makes that scales what is scaled already."""
    mean = tuple(m * given.scale + m * s for m, s in zip(given.mean, given.std, strict=True))
    return replace(given, mode="own", scale=given.scale**2, mean=mean, std=tuple(s * s for s in given.std))


def _numbers(contract: Preprocessing) -> tuple[object, ...]:
    return contract.channel_order, contract.scale, contract.mean, contract.std


def _permuted(labels: npt.NDArray[np.int64], decided: npt.NDArray[np.int64], classes: int) -> bool:
    """Whether each class has an answer of its own that is given nearly always: only the names are exchanged."""
    if classes > _FEW_CLASSES or min(np.bincount(labels, minlength=classes)[np.unique(labels)]) < _EACH:
        return False
    places = {label: np.bincount(decided[labels == label], minlength=classes) for label in np.unique(labels)}
    distinct = len({int(counts.argmax()) for counts in places.values()}) == len(places) > 1
    return distinct and sum(int(counts.max()) for counts in places.values()) >= _CLEAR * len(labels)
