"""Which noise an agreement asks for: parts of a real difference, and what the page says of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.script_modules import script_modules

SCRIPTS = ("agreement", "older_cpu", "older_cpu_page", "int8_networks", "pair_sums", "md_text")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found.agreement


def record(sqnr_db: float = 20.0) -> Any:
    return SimpleNamespace(model="MobileNet-a0.25", format="onnx", accuracy=SimpleNamespace(logits_sqnr_db=sqnr_db))


def test_a_part_of_the_noise_decides_otherwise_less_often(script: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(400, 10))
    found = script.row(record(), exact, exact + rng.normal(scale=0.5, size=exact.shape))
    kept = [level["agreement"] for level in found["levels"]]
    assert kept[0] < 0.8
    assert 0.9 < kept[-1] < 1.0
    assert found["levels"][0]["sqnr_db"] == 20.0
    assert found["levels"][4]["sqnr_db"] == pytest.approx(26.02, abs=0.01)
    margins = list(found["margins"].values())
    assert margins == sorted(margins)


def test_what_all_classes_share_decides_nothing(script: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(50, 10))
    found = script.row(record(), exact, exact + rng.normal(size=(50, 1)))
    assert {level["agreement"] for level in found["levels"]} == {1.0}


@pytest.mark.parametrize(
    ("agreements", "wanted"),
    [((0.9, 0.95, 0.98, 0.99), 23.0), ((0.98, 0.96, 0.98, 0.99), 23.0), ((0.9, 0.9, 0.9, 0.96), None)],
)
def test_the_bound_has_to_hold_from_there_on(
    script: SimpleNamespace, agreements: tuple[float, ...], wanted: float | None
) -> None:
    levels = [{"sqnr_db": 20 + 1.5 * step, "agreement": each} for step, each in enumerate(agreements)]
    assert script.needed(levels, 0.97) == wanted


def test_the_page_tells_what_no_plan_can_reach(script: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(400, 10))
    row = script.row(record(), exact, exact + rng.normal(scale=4.0, size=exact.shape))
    text = "\n".join(script.lines({"machine": {"processor": "P"}, "rows": [row]}))
    assert f"| MobileNet-a0.25 | onnx | 20.0 | {row['levels'][0]['agreement']:.4f} | 0.97 | above 38.1 | - |" in text
    assert "| +0 dB | +3 dB |" in text
