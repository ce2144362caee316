"""Accuracy of an artifact against Keras, with values worked out by hand; NaN and constant answers fail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from kexport.errors import ArtifactError
from kexport.evidence.accuracy import drop_interval_points, measure
from kexport.records import AccuracyRecord, Record, Status, decode, encode

# Six classes, four images; Keras decides for 0, 1, 2, 5.
KERAS = np.array(
    [
        [0.50, 0.20, 0.10, 0.10, 0.06, 0.04],
        [0.20, 0.50, 0.10, 0.10, 0.06, 0.04],
        [0.10, 0.20, 0.50, 0.10, 0.06, 0.04],
        [0.30, 0.10, 0.10, 0.06, 0.04, 0.40],
    ],
    np.float32,
)
LABELS = (0, 1, 2, 0)


def blocks(reference: np.ndarray, outputs: np.ndarray, size: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(reference[at : at + size], outputs[at : at + size]) for at in range(0, len(outputs), size)]


def found(outputs: np.ndarray, labels: Sequence[int] | None = LABELS, *, softmax: bool = True) -> AccuracyRecord:
    return measure(blocks(KERAS, outputs), labels, softmax=softmax)


def test_the_same_answers() -> None:
    record = found(KERAS)
    assert (record.images, record.labelled, record.non_finite, record.logits_images) == (4, True, 0, 4)
    assert (record.keras_top1, record.keras_top5, record.top1, record.top5) == (0.75, 1.0, 0.75, 1.0)
    assert (record.right_to_wrong, record.wrong_to_right, record.top1_drop_points) == (0, 0, 0.0)
    assert (record.top1_agreement, record.output_sqnr_db, record.logits_sqnr_db) == (1.0, math.inf, math.inf)


@pytest.mark.parametrize(
    "constant", [np.full((4, 6), 0.25), np.zeros((4, 6)), np.full((4, 6), -7.0)], ids=["equal", "zero", "below"]
)
def test_where_keras_decides_nowhere_there_is_no_agreement(constant: np.ndarray) -> None:
    assert measure(blocks(constant, KERAS[:, :6]), None, softmax=False).top1_agreement is None
    assert measure(blocks(KERAS[:, :6], constant), None, softmax=False).top1_agreement == 0.0


def test_flips_are_paired() -> None:
    """Image 1 turns wrong, image 3 turns right: the same top-1, and half of the decisions differ."""
    outputs = KERAS.copy()
    outputs[1, [1, 5]] = outputs[1, [5, 1]]
    outputs[3, [0, 5]] = outputs[3, [5, 0]]
    record = found(outputs)
    assert (record.keras_top1, record.top1, record.top1_drop_points) == (0.75, 0.75, 0.0)
    assert (record.right_to_wrong, record.wrong_to_right, record.top1_agreement) == (1, 1, 0.5)
    assert (record.keras_top5, record.top5) == (1.0, 0.75), "class 1 has the smallest value of image 1"
    power, noise = float(np.square(KERAS.astype(float)).sum()), 2 * 0.46**2 + 2 * 0.1**2
    assert record.output_sqnr_db == pytest.approx(10 * math.log10(power / noise), abs=1e-5)


def test_logits_sqnr_by_hand() -> None:
    """Two classes: the centred logits are plus and minus half the logarithm of the ratio."""
    reference, outputs = np.array([[0.8, 0.2]]), np.array([[0.6, 0.4]])
    expected, actual = math.log(4) / 2, math.log(1.5) / 2
    record = measure([(reference, outputs)], None, softmax=True)
    assert record.logits_sqnr_db == pytest.approx(20 * math.log10(expected / (expected - actual)), abs=1e-9)
    plain = measure([(reference, outputs)], None, softmax=False)
    assert plain.logits_sqnr_db == plain.output_sqnr_db


def test_rounded_probabilities_hide_the_logits() -> None:
    """An int8 softmax has many zeros: agreement and accuracy stay, zeros are never among the first five."""
    outputs = (KERAS * 10).round() / 10
    outputs[0] = [1, 0, 0, 0, 0, 0]
    record = found(outputs, labels=(1, 1, 2, 0))
    assert (record.logits_images, record.logits_sqnr_db) == (0, None)
    assert (record.keras_top5, record.top5) == (1.0, 0.75)
    assert record.top1_agreement == 1.0
    part = KERAS.copy()
    part[0] = outputs[0]
    assert (found(part).logits_images, found(part).logits_sqnr_db) == (3, math.inf)


def test_without_labels() -> None:
    record = found(KERAS[:, ::-1].copy(), None)
    assert (record.labelled, record.top1_agreement) == (False, 0.0)
    assert {record.keras_top1, record.top1, record.top5, record.top1_drop_points, record.low_points} == {None}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_wrong(value: float) -> None:
    outputs = KERAS.copy()
    outputs[1, 4] = value
    record = found(outputs)
    assert (record.non_finite, record.top1, record.top5, record.right_to_wrong) == (1, 0.5, 0.75, 1)
    assert record.top1_agreement == 0.75
    assert math.isnan(record.output_sqnr_db)
    assert record.logits_sqnr_db is not None
    assert math.isnan(record.logits_sqnr_db)


def test_all_nan_agrees_with_nothing_not_even_with_nan() -> None:
    nothing = np.full_like(KERAS, np.nan)
    for record in (found(nothing), measure(blocks(nothing, nothing), LABELS, softmax=True)):
        assert (record.top1, record.top5, record.top1_agreement, record.non_finite) == (0.0, 0.0, 0.0, 4)


def test_constant_answers_are_never_right() -> None:
    """Argmax of a constant is class 0, which two labels are."""
    record = found(np.full_like(KERAS, 1 / 6))
    assert (record.top1, record.top5, record.top1_agreement) == (0.0, 0.0, 0.0)
    assert record.top1_drop_points == 75.0


def test_a_tie_is_decided_as_argmax_does() -> None:
    outputs = KERAS.copy()
    outputs[3] = [0.4, 0.1, 0.0, 0.06, 0.04, 0.4]
    assert found(outputs).top1 == 1.0


def test_the_interval_by_hand() -> None:
    """n = 98, b = 9, c = 4: p = 0.1, q = 0.05, sqrt((0.15 - 0.0025) / 100) = 0.0384057..."""
    low, high = drop_interval_points(9, 4, 98)
    assert low == pytest.approx(100 * (0.05 - 1.959963984540054 * 0.03840572873934304))
    assert high == pytest.approx(100 * (0.05 + 1.959963984540054 * 0.03840572873934304))
    low, high = drop_interval_points(0, 0, 398)
    assert high == -low == pytest.approx(100 * 1.959963984540054 * math.sqrt(0.005 / 400))
    assert drop_interval_points(4, 9, 98) == pytest.approx((-12.5274, 2.5274), abs=1e-3)


def test_the_interval_covers_the_truth() -> None:
    """Of 2,000 seeded experiments with a true drop of 2 points about 95 % contain it."""
    rng = np.random.default_rng(0)
    flips = rng.multinomial(400, [0.05, 0.03, 0.92], size=2000)
    intervals = [drop_interval_points(int(worse), int(better), 400) for worse, better, _ in flips]
    assert 0.94 <= np.mean([low <= 2.0 <= high for low, high in intervals]) <= 0.97


@pytest.mark.parametrize(
    ("outputs", "labels", "said"),
    [
        (KERAS[:, :5], LABELS, r"the artifact answers in shape \(3, 5\), Keras in \(3, 6\)"),
        (KERAS[:3], LABELS, "3 answers for 4 images"),
        (KERAS[:0], None, "no images were answered"),
    ],
)
def test_answers_to_something_else(outputs: np.ndarray, labels: tuple[int, ...] | None, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        measure(blocks(KERAS, outputs), labels, softmax=True)


def test_a_record_with_accuracy_reads_back() -> None:
    record = Record(model="m", format="onnx", scheme="float32", status=Status.PASS, accuracy=found(KERAS))
    assert decode(encode(record)) == record
    older = encode(record).replace('"accuracy"', '"later"')
    assert '"accuracy"' not in older
