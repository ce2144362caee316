"""Artifacts against Keras on another backend, from arrays of which the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import SourceError, StoreError
from kexport.evidence import elsewhere, parity
from kexport.evidence.tolerances import Bound
from kexport.sources import stored
from kexport.sources.answered import Reference

RNG = np.random.default_rng(7)
LOGITS = RNG.normal(size=(4, 10)).astype(np.float32)
BOUNDS = (Bound(name=parity.ERROR, limit=1e-3, at_least=False, why="as float32 rounds"),)


def reference(jax: np.ndarray, **more: dict[str, np.ndarray]) -> Reference:
    return Reference(inputs={"input": LOGITS}, outputs={"output": LOGITS}, elsewhere={"jax/output": jax}, **more)


def judged(known: Reference, output: np.ndarray) -> tuple[list[str], list[str]]:
    others = tuple(elsewhere.compare(known, ("jax",), {"output": output}, activations={}))
    checks = tuple(elsewhere.judge(others, BOUNDS))
    assert len(checks) == 1
    return list(parity.failures(checks)), list(elsewhere.told(others))


def test_a_file_that_agrees_with_both() -> None:
    problems, told = judged(reference(LOGITS + np.float32(1e-6)), LOGITS)
    assert problems == []
    assert told[0].startswith("Keras on jax: error to signal ")


def test_no_other_backend_no_word() -> None:
    alone = Reference(inputs={}, outputs={"output": LOGITS})
    assert tuple(elsewhere.compare(alone, (), {"output": LOGITS}, activations={})) == ()
    assert alone.backends == ()


def test_a_backend_that_has_not_answered_is_not_left_out() -> None:
    with pytest.raises(SourceError, match="what Keras answers on openvino is not in the reference"):
        tuple(elsewhere.compare(reference(LOGITS), ("jax", "openvino"), {"output": LOGITS}, activations={}))


@pytest.mark.parametrize(
    "wrong",
    [lambda a: a * 1.01, lambda a: np.roll(a, 1, axis=0), lambda a: a + np.eye(4, 10, dtype=a.dtype) * 0.01],
    ids=["scaled", "rows moved", "one logit a row"],
)
def test_a_backend_that_says_otherwise_is_named(wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    """The file is the first backend's to the bit: without the second nothing would be seen."""
    problems, _ = judged(reference(wrong(LOGITS).astype(np.float32)), LOGITS)
    assert len(problems) == 1
    assert problems[0].startswith(f"jax: {parity.ERROR} is ")


def test_nan_of_the_other_fails() -> None:
    broken = LOGITS.copy()
    broken[1, 1] = np.nan
    problems, _ = judged(reference(broken), LOGITS)
    assert len(problems) == 1
    assert problems[0].startswith("jax: ")
    assert " is nan, the bound is " in problems[0]


def test_what_the_backends_differ_by_widens_no_bound() -> None:
    """Rounding does 1e-6 here; the other backend is 1 % off, which is no rounding."""
    known = reference(LOGITS * np.float32(1.01), again={"output": LOGITS[:2] + np.float32(1e-6)})
    problems, _ = judged(known, LOGITS)
    assert len(problems) == 1


def test_what_rounding_does_widens_it_as_it_does_for_the_first() -> None:
    known = reference(LOGITS + np.float32(0.003), again={"output": LOGITS[:2] + np.float32(0.0005)})
    problems, _ = judged(known, LOGITS)
    assert problems == []


def test_answers_are_kept_in_the_file(tmp_path: Path) -> None:
    stored.save(
        Reference(inputs={"input": LOGITS}, outputs={"a/b": LOGITS}), tmp_path / "r.npz", versions={"keras": "3"}
    )
    found = Reference(inputs={}, outputs={"a/b": LOGITS + 1})
    stored.extend(tmp_path / "r.npz", stored.load(tmp_path / "r.npz").with_answers("jax", found), {"jax": "1"})
    read = stored.load(tmp_path / "r.npz")
    assert read.backends == ("jax",)
    np.testing.assert_array_equal(read.answered_by("jax").outputs["a/b"], LOGITS + 1)
    np.testing.assert_array_equal(read.outputs["a/b"], LOGITS)
    assert stored.header(tmp_path / "r.npz").versions == {"keras": "3", "jax": "1"}


@pytest.mark.parametrize(
    "there",
    [{"jax/output": LOGITS[:2]}, {"jax/other": LOGITS}, {"jax/output": LOGITS, "jax/more": LOGITS}, {"jax": LOGITS}],
    ids=["fewer rows", "another output", "one too many", "no output"],
)
def test_a_file_with_other_answers_than_its_own_is_refused(tmp_path: Path, there: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="jax gives"):
        Reference(inputs={}, outputs={"output": LOGITS}, elsewhere=there)
    whole = Reference(inputs={"input": LOGITS}, outputs={"output": LOGITS})
    object.__setattr__(whole, "elsewhere", there)
    stored.save(whole, tmp_path / "r.npz")
    with pytest.raises(StoreError, match=r"r\.npz is no whole reference: jax gives"):
        stored.load(tmp_path / "r.npz")


def test_the_worst_output_is_told() -> None:
    known = Reference(
        inputs={}, outputs={"a": LOGITS, "b": LOGITS}, elsewhere={"jax/a": LOGITS, "jax/b": LOGITS * np.float32(1.1)}
    )
    (other,) = elsewhere.compare(known, ("jax",), {"a": LOGITS, "b": LOGITS}, activations={})
    assert parity.worst(other.outputs) == parity.worst(other.itself) > 0.05
    assert not math.isnan(parity.worst(other.outputs))
