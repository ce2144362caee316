"""Control characters that a file holds never reach the terminal; spreadsheets and Markdown get texts, not commands."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexport.cli import output
from kexport.reports.csv import _cell
from kexport.reports.md import escape

HOSTILE = "\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x9b31m\u202eevil\x7f\r"
SPELLED = r"\x1b[2J\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x9b31m\u202eevil\x7f\r"


def test_every_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.data(HOSTILE)
    output.message(HOSTILE)
    output.failure(HOSTILE, hint=HOSTILE)
    said = capsys.readouterr()
    assert said.out == f"{SPELLED}\n"
    assert said.err == f"{SPELLED}\nerror: {SPELLED}\nhint: {SPELLED}\n"


def test_tables_keep_their_colours_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.text import Text

    monkeypatch.setenv("FORCE_COLOR", "1")
    output.renderables([Text(f"a{HOSTILE}", style="red")])
    said = capsys.readouterr().out
    assert "\x1b]" not in said
    assert "\x1b[2J" not in said
    assert "\x9b" not in said


@given(st.text())
def test_plain_is_printable_and_stable(text: str) -> None:
    found = output.plain(text)
    assert not any((ord(letter) < 32 and letter not in "\t\n") or 127 <= ord(letter) < 160 for letter in found)
    assert output.plain(found) == found


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", '=HYPERLINK("http://x")', "\tx"])
def test_a_formula_is_a_text(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([_cell(text), _cell(-1.5), _cell("plain")])
    (row,) = csv.reader(io.StringIO(stream.getvalue()))
    assert row == [f"'{text}", "-1.5", "plain"]


@pytest.mark.parametrize(
    "text",
    ["![x](http://e/p.png)", "[x](javascript:alert(1))", "<img src=x>", "http://evil/", "www.evil.example", "[x][y]"],
)
def test_markdown_is_a_text(text: str) -> None:
    found = escape(text)
    assert "](" not in found.replace("\\](", "")
    assert "][" not in found.replace("\\][", "")
    assert "<" not in found
    assert "://" not in found
    assert "www." not in found
