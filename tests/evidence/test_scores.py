"""Figures of masks, values and directions against numbers that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kexport.errors import ArtifactError, UsageError
from kexport.evidence.scores import Measure, measure, measure_own
from kexport.images.answers import Answers


def one_hot(places: object, classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[np.array(places)]


RIGHT = np.array([[[0, 0], [1, 1]], [[2, 2], [1, 255]]])
KERAS = one_hot([[[0, 0], [1, 1]], [[2, 2], [1, 0]]])
ARTIFACT = one_hot([[[0, 1], [1, 1]], [[2, 2], [1, 0]]])


def test_masks() -> None:
    """One of seven known places flips from 0 to 1: of class 0 one of two is left, of 1 three of four are right."""
    found = measure([(KERAS, ARTIFACT, RIGHT)], Answers.PLACES, classes=3)
    iou, accuracy = found.scores
    assert (iou.name, iou.unit, iou.keras) == ("mIoU", "%", 100.0)
    assert iou.value == pytest.approx(100 * (1 / 2 + 3 / 4 + 1) / 3)
    assert (iou.drop, iou.drop_unit) == (pytest.approx(100 - iou.value), "points")
    assert (accuracy.name, accuracy.keras, accuracy.value) == ("pixel accuracy", 100.0, pytest.approx(87.5))
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < accuracy.drop < accuracy.high
    assert accuracy.drop == pytest.approx(12.5)
    assert found.top1_agreement == pytest.approx(7 / 8)
    assert found.headline == iou


def test_blocks_add_up() -> None:
    blocks = [(KERAS[:1], ARTIFACT[:1], RIGHT[:1]), (KERAS[1:], ARTIFACT[1:], RIGHT[1:])]
    whole = measure([(KERAS, ARTIFACT, RIGHT)], Answers.PLACES, classes=3)
    assert measure(blocks, Answers.PLACES, classes=3) == whole


def test_masks_without_labels_have_agreement() -> None:
    found = measure([(KERAS, ARTIFACT, None)], Answers.PLACES, classes=3)
    assert (found.labelled, found.scores, found.headline) == (False, (), None)
    assert found.top1_agreement == pytest.approx(7 / 8)


def test_values() -> None:
    right, keras = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [2.0], [4.0]])
    found = measure([(keras, np.array([[1.5], [2.5], [3.0]]), right)], Answers.VALUES, classes=0)
    (mae,) = found.scores
    assert (mae.name, mae.keras, mae.value, mae.lower_is_better) == (
        "MAE", pytest.approx(0.5 / 3), pytest.approx(2.0 / 3), True,
    )  # fmt: skip
    assert (mae.drop, mae.drop_unit) == (pytest.approx(0.5), "units of the labels")
    assert found.top1_agreement is None


def test_directions() -> None:
    keras = np.array([[3.0, 4.0], [1.0, 0.0]])
    (cosine,) = measure([(keras, np.array([[6.0, 8.0], [1.0, 1.0]]), None)], Answers.EMBEDDING, classes=0).scores
    assert (cosine.name, cosine.keras, cosine.unit) == ("cosine", None, "")
    assert cosine.value == pytest.approx((1 + 1 / math.sqrt(2)) / 2)
    assert cosine.drop == pytest.approx(100 * (1 - cosine.value))


def test_nan_fails_every_bound() -> None:
    broken = ARTIFACT.copy()
    broken[0, 0, 0] = np.nan
    assert measure([(KERAS, broken, RIGHT)], Answers.PLACES, classes=3).non_finite == 1
    (mae,) = measure([(np.ones((1, 1)), np.full((1, 1), np.nan), np.ones((1, 1)))], Answers.VALUES, classes=0).scores
    assert not mae.drop <= 1e9


def test_another_shape_and_nothing() -> None:
    with pytest.raises(ArtifactError, match="answers in shape"):
        measure([(KERAS, ARTIFACT[..., :2], RIGHT)], Answers.PLACES, classes=3)
    with pytest.raises(ArtifactError, match="no images"):
        measure_own(Measure(name="f1", function=lambda o, y: 1.0), KERAS[:0], ARTIFACT[:0], None)


def test_a_figure_of_ones_own() -> None:
    own = Measure(name="first", function=lambda outputs, labels: outputs[0].sum() * labels[0])
    (score,) = measure_own(own, np.array([[2.0]]), np.array([[1.5]]), np.array([3])).scores
    assert (score.name, score.keras, score.value, score.drop) == ("first", 6.0, 4.5, 1.5)
    with pytest.raises(UsageError, match="evaluate: words returned 'much', expected a number"):
        Measure(name="words", function=lambda outputs, labels: "much").of(KERAS, None)  # type: ignore[arg-type,return-value]
