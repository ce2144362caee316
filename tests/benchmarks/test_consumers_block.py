"""README's sentence on other programs, from cells made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.benchmarks.script_modules import script_modules


@pytest.fixture
def consumers_block(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with script_modules(monkeypatch, ["consumers_block"]) as found:
        yield found.consumers_block


def cell(consumer: str, network: str, state: str, form: str = "onnx", scheme: str = "float32") -> dict[str, str]:
    return {"consumer": consumer, "network": network, "format": form, "scheme": scheme, "state": state}


def test_one_wrong_network_is_enough_and_a_slow_one_says_nothing(consumers_block: ModuleType) -> None:
    cells = [
        cell("A", "x", "right"), cell("A", "y", "wrong"), cell("B", "x", "right"), cell("B", "y", "slow"),
        cell("C", "x", "refused"), cell("D", "x", "slow"),
    ]  # fmt: skip
    said = consumers_block.summary({"cells": cells, "networks": ["x", "y", "not tried"]})
    assert said.startswith("4 programs that read such files were asked about 2 networks; ")
    assert "onnx float32 1 of 3 (not A, C); onnx int8 0 of 0;" in said


def test_what_was_not_measured_is_said(consumers_block: ModuleType) -> None:
    assert "not measured yet" in consumers_block.summary(None)
