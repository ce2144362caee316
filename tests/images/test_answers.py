"""What labels are is told by their shape and by the output's: classes, one probability, masks, values."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.images.answers import Answers, Read, decisions, read, two_classes, unlabelled
from kexport.images.classes import Classes
from kexport.records import Signature

NAMES = ("rose", "tulip", "oak tree")


def output(*sizes: int, dtype: str = "float32") -> Signature:
    return Signature(name="output", shape=(None, *sizes), dtype=dtype)


def told(labels: object, spec: Signature, activation: str = "") -> Read:
    classes = Classes(count=3, names=NAMES)
    return read(np.array(labels), spec, activation=activation, classes=classes, text="--eval x")


@pytest.mark.parametrize(
    "labels",
    [[2, 0], [[2], [0]], [2.0, 0.0], ["oak tree", "rose"], ["Oak_Tree", "rose"], [[0, 0, 1], [1, 0, 0]]],
)
def test_classes_in_every_form(labels: object) -> None:
    assert told(labels, output(3)) == Read(answers=Answers.CLASSES, classes=3, indices=(2, 0))


@pytest.mark.parametrize("labels", [[1, 0], [[1], [0]], [True, False], [1.0, 0.0]])
def test_one_probability(labels: object) -> None:
    assert told(labels, output(1), "sigmoid") == Read(answers=Answers.BINARY, classes=2, indices=(1, 0))


def test_values() -> None:
    found = told([31.5, 4.0], output(1))
    assert (found.answers, found.targets.tolist()) == (Answers.VALUES, [[31.5], [4.0]])  # type: ignore[union-attr]
    assert told(np.full((2, 3), 0.5), output(3)).answers is Answers.VALUES
    assert told(np.zeros((2, 8, 8, 3)), output(8, 8, 3)).answers is Answers.VALUES
    assert told([1, 0], output(1)).answers is Answers.VALUES, "an age: no sigmoid says that it is a class"


@pytest.mark.parametrize("extra", [(), (1,)])
def test_masks(extra: tuple[int, ...]) -> None:
    mask = np.zeros((2, 4, 5, *extra), np.uint8)
    mask[0, 0] = 255
    found = told(mask, output(4, 5, 3), "softmax")
    assert (found.answers, found.classes) == (Answers.PLACES, 3)
    assert found.targets is not None
    assert found.targets.shape == (2, 4, 5)
    assert told(mask // 255, output(4, 5, 1), "sigmoid").answers is Answers.PLACES
    assert told(mask, output(4, 5, dtype="int64")).answers is Answers.PLACES


@pytest.mark.parametrize(
    ("labels", "spec", "words"),
    [
        ([0, 3], output(3), "a label is 3, the network has classes 0 to 2"),
        (["rose", "elm"], output(3), "elm: no labels of the model; those are rose, tulip, oak tree"),
        (np.full((2, 4, 5), 7), output(4, 5, 3), "a mask holds class 7; the network has 0 to 2"),
        (np.zeros((2, 9, 9), int), output(4, 5, 3), r"labels of shape \(2, 9, 9\) int64 .*expected \(images, 4, 5\)"),
        (np.zeros((2, 2)), output(3), r"expected \(images,\) with class indices below 3"),
    ],
)
def test_labels_that_do_not_fit(labels: object, spec: Signature, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        told(labels, spec)


def test_without_labels() -> None:
    cases = {
        Answers.CLASSES: unlabelled(output(3), "softmax"),
        Answers.BINARY: unlabelled(output(1), "sigmoid"),
        Answers.PLACES: unlabelled(output(4, 5, 3), "softmax"),
        Answers.EMBEDDING: unlabelled(output(64), ""),
    }
    assert {kind: found.answers for kind, found in cases.items()} == {kind: kind for kind in cases}


def test_decisions() -> None:
    assert decisions(np.array([[[0.2], [0.7]]])).tolist() == [[0, 1]]
    assert decisions(np.array([[[0.2, 0.8], [0.7, 0.3]]])).tolist() == [[1, 0]]
    assert decisions(np.array([[4, 2]])).tolist() == [[4, 2]]
    assert two_classes(np.array([[0.25]], np.float32)).tolist() == [[0.75, 0.25]]
