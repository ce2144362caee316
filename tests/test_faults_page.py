"""The table of faults: thirty rows, each with its state, and every test that it names is there."""

from __future__ import annotations

import re

import pytest

from tests.places import ROOT

PAGE = ROOT / "docs" / "faults.md"
ROWS = [
    line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)
]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))


def test_thirty_rows_with_a_state_and_a_test() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 31))
    for row in ROWS:
        state, tests = row[2].strip(), row[4]
        assert state in ("pass", "part", "open")
        assert (state == "open") != ("::" in tests), row


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
