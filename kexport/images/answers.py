"""What a network answers, and so what its labels are: told by the shape of the output and by the labels themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UsageError
from kexport.images.classes import Classes
from kexport.records import Signature

VOID = 255
"""The class of places of a mask that count for nothing, as in Pascal VOC and Cityscapes."""
SIGMOID, SOFTMAX = "sigmoid", "softmax"
Array = npt.NDArray[Any]


class Answers(StrEnum):
    """What one row of an output says."""

    CLASSES = "classes"  # one number for each class: the largest decides
    BINARY = "binary"  # one probability
    PLACES = "places"  # a class for each place: masks, sequences
    VALUES = "values"  # numbers that are to be near those of the labels
    EMBEDDING = "embedding"  # a direction: nothing is right or wrong, but it is to stay


@dataclass(frozen=True, kw_only=True)
class Read:
    """Labels as they are measured with: class indices, or an array for `Answers.PLACES` and `Answers.VALUES`."""

    answers: Answers
    classes: int = 0
    indices: tuple[int, ...] | None = None
    targets: Array | None = None


def unlabelled(output: Signature, activation: str) -> Read:
    """What is measured where there are no labels."""
    sizes = output.shape[1:]
    if len(sizes) == 1 and sizes[0] == 1 and activation == SIGMOID:
        return Read(answers=Answers.BINARY, classes=2)
    if len(sizes) == 1 and (sizes[0] or 0) > 1 and activation == SOFTMAX:
        return Read(answers=Answers.CLASSES, classes=sizes[0] or 0)
    if len(sizes) > 1 and (activation or output.dtype.startswith(("int", "uint", "bool"))):
        return Read(answers=Answers.PLACES, classes=_places(output)[1])
    return Read(answers=Answers.EMBEDDING)


def read(labels: Array, output: Signature, *, activation: str, classes: Classes, text: str) -> Read:
    """Labels as the output wants them. Raises UsageError where they fit in no way."""
    rows, sizes = labels.shape[0], output.shape[1:]
    if labels.dtype.kind == "U":
        return _of_names(labels, output, classes=classes, text=text)
    flat = labels.reshape(rows) if labels.size == rows else None
    if len(sizes) == 1 and (sizes[0] or 0) > 1:
        found = _of_classes(labels, flat, sizes[0] or 0, text=text)
        if found is not None:
            return found
    if sizes in ((1,), ()) and flat is not None:
        if activation == SIGMOID and set(np.unique(flat).tolist()) <= {0, 1}:
            return Read(answers=Answers.BINARY, classes=2, indices=tuple(int(each) for each in flat))
        return Read(answers=Answers.VALUES, targets=flat.reshape(rows, *[1] * len(sizes)))
    shape, count = _places(output)
    whole = labels.dtype.kind in "iub"
    if len(sizes) > 1 and whole and (labels.shape[1:] == shape or labels.shape[1:] == (*shape, 1)):
        return Read(answers=Answers.PLACES, classes=count, targets=_masks(labels.reshape(rows, *shape), count, text))
    if labels.shape[1:] == sizes:
        return Read(answers=Answers.VALUES, targets=labels)
    raise UsageError(
        f"{text}: labels of shape {labels.shape} {labels.dtype} for an output {list(output.shape)}; expected "
        f"{_expected(output)}",
        hint="np.savez('data.npz', input=images, labels=labels), then --eval data.npz",
    )


def decisions(outputs: Array) -> Array:
    """The class of each place: of whole numbers themselves, of one probability above a half, else the largest."""
    if outputs.dtype.kind in "iub":
        return outputs
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0.5).astype(np.int64)
    return np.asarray(outputs.argmax(axis=-1))


def two_classes(outputs: Array) -> Array:
    """One probability as those of two classes."""
    chance = np.asarray(outputs, np.float64).reshape(len(outputs), 1)
    return np.concatenate([1 - chance, chance], axis=1)


def _of_names(labels: Array, output: Signature, *, classes: Classes, text: str) -> Read:
    known = classes.indices(set(labels.ravel().tolist()))
    strange = sorted({str(each) for each in labels.ravel()} - set(known))
    if strange or labels.ndim != 1 or len(output.shape) != 2:
        raise UsageError(
            f"{text}: {', '.join(strange[:10]) or labels.shape}: no labels of the model; those are {classes.told()}",
            hint="--labels FILE with the names in the order of the outputs",
        )
    indices = tuple(known[str(each)] for each in labels)
    _require_below(indices, classes.count, text)
    kind = Answers.CLASSES if output.shape[1] != 1 else Answers.BINARY
    return Read(answers=kind, classes=classes.count, indices=indices)


def _of_classes(labels: Array, flat: Array | None, count: int, *, text: str) -> Read | None:
    """Indices, or rows with a single 1."""
    if flat is not None and np.array_equal(flat, np.round(flat)):
        indices = tuple(int(each) for each in flat)
        _require_below(indices, count, text)
        return Read(answers=Answers.CLASSES, classes=count, indices=indices)
    one_hot = labels.shape[1:] == (count,) and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
    if not one_hot:
        return None
    return Read(answers=Answers.CLASSES, classes=count, indices=tuple(int(each) for each in labels.argmax(axis=1)))


def _places(output: Signature) -> tuple[tuple[int | None, ...], int]:
    """The shape of a row of places and the number of classes; 0 where only the labels tell it."""
    if output.dtype.startswith(("int", "uint", "bool")):
        return output.shape[1:], 0
    return output.shape[1:-1], max(2, output.shape[-1] or 0)


def _masks(labels: Array, count: int, text: str) -> Array:
    wrong = (labels < 0) | ((labels >= count) & (labels != VOID)) if count else labels < 0
    if wrong.any():
        raise UsageError(
            f"{text}: a mask holds class {labels[wrong].ravel()[0]}; the network has 0 to {count - 1}, "
            f"and {VOID} counts for nothing",
            hint="np.unique(labels) shows the classes",
        )
    return labels


def _require_below(indices: Sequence[int], count: int, text: str) -> None:
    wrong = next((each for each in indices if not 0 <= each < count), None)
    if wrong is not None:
        raise UsageError(
            f"{text}: a label is {wrong}, the network has classes 0 to {count - 1}", hint="np.unique(labels) shows them"
        )


def _expected(output: Signature) -> str:
    sizes = output.shape[1:]
    if len(sizes) == 1 and (sizes[0] or 0) > 1:
        return f"(images,) with class indices below {sizes[0]}, names of classes, or values (images, {sizes[0]})"
    shape, _ = _places(output)
    return f"(images, {', '.join(map(str, shape))}) with a class for each place, or values of the output's shape"
