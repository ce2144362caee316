"""The bounds of parity: every artifact that can be made has some, each with its reason; NaN passes none."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from kexport.errors import UnsupportedError, UsageError
from kexport.evidence import tolerances
from kexport.evidence.tolerances import Bound
from kexport.pipeline.proof import bounds_of
from kexport.records import OutputParity
from kexport.sources import catalog
from kexport.specs import Cell, Format, ModelSpec, Scheme, WeightsSpec

CELLS = [(kind, scheme) for kind in Format for scheme in kind.schemes]
FIGURES = {item.name for item in fields(OutputParity)} | {"logits_error_to_signal"}


@pytest.mark.parametrize(("kind", "scheme"), CELLS)
def test_every_artifact_has_bounds_with_reasons(kind: str, scheme: str) -> None:
    bounds = tolerances.load(kind, scheme)
    assert {bound.name for bound in bounds} <= FIGURES
    assert any(bound.name == "sqnr_db" and bound.at_least for bound in bounds)
    for bound in bounds:
        assert len(bound.why) > 20, f"{bound.name}: why"
        assert math.isfinite(bound.limit)
        assert bound.at_least == (
            bound.name in {"sqnr_db", "cosine", "top1_agreement", "top5_agreement", "equal_share"}
        )


@pytest.mark.parametrize("at_least", [True, False])
def test_nan_passes_no_bound(at_least: bool) -> None:
    bound = Bound(name="x", limit=1.0, at_least=at_least, why="")
    assert not bound.passes(float("nan"))
    assert bound.passes(1.0)
    assert bound.passes(2.0) == at_least
    assert bound.passes(0.5) != at_least


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="no parity bounds for onnx int4"):
        tolerances.load("onnx", "int4")


def sqnr(bounds: tuple[Bound, ...]) -> float:
    (found,) = (bound.limit for bound in bounds if bound.name == "sqnr_db")
    return found


def test_every_family_has_a_floor_in_int8_with_a_reason() -> None:
    floors = tolerances.floors("int8")
    assert set(floors) == {row.family for row in catalog.APPLICATIONS}
    for family, floor in floors.items():
        assert floor.at_least
        assert len(floor.why) > 20
        for kind in (Format.ONNX, Format.TFLITE):
            assert (
                sqnr(tolerances.load(kind, "int8", family=family)) == floor.limit >= sqnr(tolerances.load(kind, "int8"))
            )


def test_a_floor_below_the_bound_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    low = Bound(name="sqnr_db", limit=1.0, at_least=True, why="lower than the bound of the scheme")
    monkeypatch.setattr(tolerances, "floors", lambda scheme: {"vgg": low})
    assert tolerances.load("onnx", "int8", family="vgg") == tolerances.load("onnx", "int8")


RANDOM = WeightsSpec(kind="random", seed=0)


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (ModelSpec(application="VGG16", weights=RANDOM), True),
        (ModelSpec(application="VGG16", weights=RANDOM, input_shape=(64, 64, 3)), False),
        (ModelSpec(application="VGG16", weights=RANDOM, classes=7), False),
        (ModelSpec(application="VGG16", weights=RANDOM, include_top=False), False),
        (ModelSpec(application="MobileNet", weights=RANDOM, alpha=0.25), False),
        (ModelSpec(file="VGG16.keras", weights=WeightsSpec(kind="model")), False),
    ],
)
def test_floors_are_for_applications_as_published(model: ModelSpec, published: bool) -> None:
    assert model.as_published is published
    family = catalog.application(model.application).family if model.application else ""
    expected = tolerances.load("onnx", "int8", family=family if published else "")
    assert bounds_of(Cell(model=model, format=Format.ONNX, scheme=Scheme.INT8, calibration="synthetic:0")) == expected


def test_other_schemes_have_no_floors() -> None:
    assert tolerances.floors("float32") == {}
    assert tolerances.load("onnx", "float32", family="vgg") == tolerances.load("onnx", "float32")


WRONG = """
[onnx.int8]
sqnr_db = { at_least = "six", why = "a" }
cosine = { at_least = 0.9, at_most = 1.0, why = "b" }
sqnr = { at_least = 1.0, why = "c" }
top1_agreement = { at_lest = 1.0, why = "d" }
output_max_abs_error = { at_most = nan, why = "e" }
top5_agreement = { at_least = 1.0 }
[tflite]
int8 = 7
[families.int8]
vgg = { at_least = 1, why = "" }
"""


def test_every_mistake_of_the_file_is_told_at_once_with_its_path() -> None:
    with pytest.raises(UsageError) as caught:
        tolerances.parse(WRONG, label="t.toml")
    figures = ", ".join(tolerances.FIGURES)
    assert caught.value.message.splitlines() == [
        f"t.toml: onnx.int8.sqnr: unknown figure, expected one of {figures}",
        't.toml: onnx.int8.sqnr_db.at_least: expected a number, got "six"',
        "t.toml: onnx.int8.cosine: expected one finite number, as at_least or as at_most",
        "t.toml: onnx.int8.top1_agreement.at_lest: unknown key, expected one of why, at_least, at_most",
        "t.toml: onnx.int8.output_max_abs_error: expected one finite number, as at_least or as at_most",
        "t.toml: onnx.int8.top5_agreement.why: missing, expected a line `why = ...`",
        "t.toml: tflite.int8: expected a table, got 7",
        "t.toml: families.int8.vgg: why: expected the reason of the bound, got an empty text",
    ]


def test_what_is_not_toml_is_said_to_be_so() -> None:
    with pytest.raises(UsageError, match=r"tolerances.toml: is not TOML"):
        tolerances.parse("[onnx")
