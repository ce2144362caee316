"""The bounds of parity: every artifact that can be made has some, each with its reason; NaN passes none."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from kexport import tolerances
from kexport.errors import UnsupportedError
from kexport.records import OutputParity
from kexport.specs import SCHEMES
from kexport.tolerances import Bound

CELLS = [(kind, scheme) for kind, schemes in SCHEMES.items() for scheme in schemes]
FIGURES = {item.name for item in fields(OutputParity)} | {"logits_error_to_signal"}


@pytest.mark.parametrize(("kind", "scheme"), CELLS)
def test_every_artifact_has_bounds_with_reasons(kind: str, scheme: str) -> None:
    bounds = tolerances.load(kind, scheme)
    assert {bound.name for bound in bounds} <= FIGURES
    assert any(bound.name == "sqnr_db" and bound.at_least for bound in bounds)
    for bound in bounds:
        assert len(bound.why) > 20, f"{bound.name}: why"
        assert math.isfinite(bound.limit)
        assert bound.at_least == (bound.name in {"sqnr_db", "cosine", "top1_agreement", "top5_agreement"})


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
