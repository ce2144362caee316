"""The forty in int8: floors and sizes are judged, and what is missing or missed is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kexport.evidence import tolerances
from kexport.sources import catalog
from tests.benchmarks.script_modules import script_modules

MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0"}


@pytest.fixture
def forty(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    names = ("int8_forty", "int8_speed", "measured_blocks", "md_text", "harness", "side_by_side", "processes")
    with script_modules(monkeypatch, names) as found:
        yield found.int8_forty


def cell(model: str = "ResNet50", form: str = "onnx", **changes: Any) -> dict[str, Any]:
    good = {
        "model": model, "format": form, "status": "PASS", "reason": "", "size_bytes": 25_500_000,
        "parameters": 25_600_000, "sqnr_db": 60.0, "peak_memory_bytes": 2**30, "notes": [],
    }  # fmt: skip
    return good | changes


def measured(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"machine": MACHINE, "versions": {}, "weights": ["random:0"], "cells": list(cells)}


FLOATS = measured(
    *(cell(model, form, size_bytes=100_000_000) for model in ("ResNet50", "VGG16") for form in ("onnx", "tflite"))
)


def test_a_good_model(forty: ModuleType) -> None:
    text = forty.whole(measured(cell(), cell(form="tflite", size_bytes=25_400_000)), FLOATS)
    floor = tolerances.floors("int8")["resnet"].limit
    sizes = "| ResNet50 | resnet | 25.6 | 25.5 | 25.4 | 0.255 / 0.254 | 0.26 |"
    assert f"{sizes} 60.0 | 60.0 | {floor:g} | 1024 | yes | PASS |" in text
    assert "Measured on P, 2 cores, 24.0 GiB" in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"size_bytes": 26_500_000}, "| **missed** size |"),
        ({"sqnr_db": 1.0}, "| **missed** floor |"),
        ({"sqnr_db": "nan"}, "| **missed** floor |"),
        ({"status": "FAIL", "reason": "too loud", "size_bytes": None, "sqnr_db": None}, "| **missed** too loud |"),
    ],
)
def test_what_is_missed_is_shown(forty: ModuleType, changes: dict[str, Any], shown: str) -> None:
    data = measured(cell(), cell(form="tflite", **changes))
    assert shown in forty.whole(data, FLOATS)
    assert any(row[3] == "**missed**" for row in forty.bar(data, FLOATS))


def test_one_format_alone_is_missed(forty: ModuleType) -> None:
    assert "| **missed** floor |" in forty.whole(measured(cell()), FLOATS)


def test_without_the_float_files_no_size_is_held(forty: ModuleType) -> None:
    assert "| **missed** size |" in forty.whole(measured(cell(), cell(form="tflite")), None)


def test_operators_beside_the_delegate_are_told(forty: ModuleType) -> None:
    note = "LiteRT's built-in kernels run 2 operators"
    assert "| no | PASS |" in forty.whole(measured(cell(), cell(form="tflite", notes=[note])), FLOATS)


def test_the_bar(forty: ModuleType) -> None:
    assert [row[2] for row in forty.bar(None, None)] == ["not measured yet", "not measured yet"]
    every = [cell(row.name, form) for row in catalog.APPLICATIONS for form in ("onnx", "tflite")]
    floats = measured(*(each | {"size_bytes": 100_000_000} for each in every))
    floors, sizes = forty.bar(measured(*every), floats)
    assert floors[1:] == ("80 of 80", "80 of 80", "met")
    assert sizes[2:] == ("80 of 80", "met")
    every[3] = every[3] | {"size_bytes": 27_000_000}
    _, sizes = forty.bar(measured(*every), floats)
    assert sizes[2:] == (f"79 of 80; {every[3]['model']} {every[3]['format']} 0.270", "**missed**")


def test_absent(forty: ModuleType) -> None:
    assert (
        forty.whole(None, None)
        == "Not measured yet. `python tests/benchmarks/tables.py --records-int8 DIR` fills this in."
    )


def test_what_is_committed_holds_its_floors(forty: ModuleType) -> None:
    """Floors were stated after the measurement; whoever measures again and finds less has to say so here."""
    root = Path(__file__).resolve().parents[2]
    path = root / "parity" / "int8-forty.json"
    if not path.is_file():
        pytest.skip("parity/int8-forty.json: not measured yet")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert len(data["cells"]) == forty.COUNT
    assert all(map(forty._reaches, data["cells"]))
