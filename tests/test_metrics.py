"""The figures of parity, accuracy and sensitivity, each against numbers that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kexport import metrics

EXPECTED = np.array([[3.0, 4.0], [6.0, 8.0]])


def test_decibels_of_sums() -> None:
    assert metrics.decibels(100.0, 1.0) == 20.0
    assert metrics.decibels(1.0, 0.0) == math.inf
    assert metrics.decibels(0.0, 1.0) == -math.inf
    assert math.isnan(metrics.decibels(1.0, math.nan))
    assert math.isnan(metrics.decibels(1.0, math.inf))


def test_the_noise_of_all_numbers_is_the_sum_of_its_rows() -> None:
    actual = EXPECTED + np.array([[0.5, 0.0], [0.0, 1.0]])
    power, noise = metrics.powers(EXPECTED, actual)
    assert power.tolist() == [25.0, 100.0]
    assert noise.tolist() == [0.25, 1.0]
    assert metrics.sqnr_db(EXPECTED, actual) == metrics.decibels(125.0, 1.25) == 20.0


def test_logits_are_seen_through_a_softmax_up_to_a_constant() -> None:
    logits = np.array([[1.0, -2.0, 4.0], [0.0, 0.5, 0.25]])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(metrics.logits(softmax), metrics.centred(logits), atol=1e-12)


@pytest.mark.parametrize("hidden", [0.0, 1e-31, -0.5, math.nan, math.inf])
def test_a_row_whose_logits_cannot_be_seen_is_nan_and_the_others_stay(hidden: float) -> None:
    found = metrics.logits(np.array([[0.5, hidden], [0.5, 0.5]]))
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0.0, 0.0]


def test_directions_and_ranks() -> None:
    turned = np.array([[3.0, 4.0], [8.0, 6.0]])
    assert metrics.cosine(EXPECTED, EXPECTED) == 1.0
    assert metrics.cosine(EXPECTED, turned) == pytest.approx(0.96)
    assert metrics.agreement(EXPECTED, turned, 1) == 0.5
    assert metrics.agreement(EXPECTED, turned, 2) == 1.0
    assert metrics.agreement(np.zeros((1, 4)), np.array([[0.0, 0.0, 0.0, 1.0]]), 1) == 0.0, "of equal ones the first"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_every_figure_of_an_answer_that_is_not_finite_is_nan(bad: float) -> None:
    actual = np.array([[3.0, 4.0], [6.0, bad]])
    found = metrics.sqnr_db(EXPECTED, actual), metrics.cosine(EXPECTED, actual), metrics.agreement(EXPECTED, actual, 1)
    assert all(map(math.isnan, found))


def test_features_of_any_rank_are_rows() -> None:
    assert metrics.rows(np.ones((2, 3, 4), np.float32)).shape == (2, 12)
