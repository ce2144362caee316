"""What artifacts are compared on: what Keras has said already is not asked again, where it is the same question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kexport.evidence import inputs
from kexport.sources import build, reference
from kexport.sources.answered import Reference
from kexport.specs import ModelSpec, WeightsSpec

SPEC = ModelSpec(
    application="MobileNet", alpha=0.25, input_shape=(32, 32, 3), weights=WeightsSpec(kind="random", seed=0)
)


@pytest.fixture(scope="module")
def built() -> build.Built:
    return build.make(SPEC)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The inputs on which Keras is asked."""
    found: list[Any] = []
    compute = reference.compute

    def counted(model: Any, given: Any, **options: Any) -> Reference:
        found.append(given)
        return compute(model, given, **options)

    monkeypatch.setattr(reference, "compute", counted)
    return found


def chosen(built: build.Built, answered: Reference | None, *, apart: bool = True) -> Reference:
    facts = reference.facts(built.model, SPEC)
    return inputs.choose(built.model, SPEC, facts, (), apart=apart, answered=answered)[0]


def test_random_weights_come_with_an_answer(built: build.Built, asked: list[Any]) -> None:
    found = chosen(built, built.answered)
    assert not asked
    again = chosen(built, None)
    assert len(asked) == 1
    assert found.logits.keys() == again.logits.keys()
    np.testing.assert_array_equal(found.inputs["input"], again.inputs["input"])
    np.testing.assert_allclose(found.outputs["output"], again.outputs["output"], atol=1e-6)
    assert found.layers.keys() == again.layers.keys()


@pytest.mark.parametrize("change", ["inputs", "names", "rows that meet"])
def test_another_question_is_asked(built: build.Built, asked: list[Any], change: str) -> None:
    answered = built.answered
    assert answered is not None
    images = answered.inputs["input"]
    given = {"inputs": {"input": images + 1}, "names": {"other": images}}.get(change, answered.inputs)
    chosen(built, replace(answered, inputs=given), apart=change != "rows that meet")
    assert len(asked) == 1


@pytest.mark.parametrize("changes", [{"layers": ("conv_pw_1",)}, {"layers": ("conv_pw_13_relu", "conv_pw_1")}])
def test_a_model_that_was_changed_has_not_answered(changes: Any) -> None:
    assert build.make(replace(SPEC, **changes)).answered is None


def test_weights_of_a_file_have_not_answered(built: build.Built, tmp_path: Any) -> None:
    path = tmp_path / "w.weights.h5"
    built.model.save_weights(path)
    spec = replace(SPEC, weights=WeightsSpec(kind="file", path=str(path)))
    assert build.make(spec).answered is None
