"""A seeded third of the zoo: native in both formats, and equal to Keras; `python tests/zoo.py --all` runs the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import zoo


def test_a_third_of_the_zoo_is_native_and_right(tmp_path: Path) -> None:
    from tests.zoo_models import MODELS

    assert len(MODELS) >= 150
    outcomes = [zoo.outcome_of(name, tmp_path) for name in zoo.third(MODELS)]
    assert [each for each in outcomes if not each.right] == []
    native = sum(set(each.made.values()) == {zoo.NATIVE} for each in outcomes)
    assert native >= 0.9 * len(outcomes), [each.reason for each in outcomes if each.reason]


@pytest.mark.parametrize("name", ["classifier/blur pool", "siamese/manhattan", "transformer/grouped queries"])
def test_int8_of_the_zoo(tmp_path: Path, name: str) -> None:
    """A few of those that `python tests/zoo.py --all --int8` runs."""
    outcome = zoo.outcome_of(name, tmp_path, int8=True)
    assert outcome.decibels is not None
    assert outcome.decibels >= zoo.PLAIN_DECIBELS
    assert outcome.floats == ()


def test_the_comparison_can_fail() -> None:
    wanted = [np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)]
    assert zoo.error_of(wanted, wanted) == 0
    assert zoo.error_of([wanted[0] + 0.01], wanted) > zoo.BOUND
    assert zoo.error_of([wanted[0] * np.nan], wanted) == float("inf")
    assert zoo.error_of([wanted[0].astype(np.float64)], wanted) == float("inf")
    places = [np.array([1, 2])]
    assert zoo.error_of([np.array([1, 3])], places) == float("inf")
    assert not zoo.has_signal([np.ones((4, 3))])


def test_the_page_shows_this_table() -> None:
    from tests.zoo_models import MODELS

    text = zoo.PAGE.read_text(encoding="utf-8")
    shown = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert shown == list(MODELS)
    assert "* wrong: 0 files" in text
