"""Tables at every width: no line is longer, no number breaks, colours only where a terminal wants them."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from kexport.cli import output
from kexport.reports import terminal
from kexport.reports.fitting import Fitting
from tests.reports import made_up

TABLE = Fitting(
    title="Latency",
    header=("model", "effective", "median ms", "interval ms", "bytes", "drop points"),
    rows=(
        ("MobileNetV3Small", "onnxruntime CPUExecutionProvider", "0.123456", "0.1234 to 0.4567", "4,253,864", "+0.25"),
        ("tiny", "LiteRT XNNPACK (4 of 4 operators)", "12345.6*", "12.3 to 45.6", "1,780", "-"),
    ),
    numeric=(False, False, True, True, True, True),
    styles={"tiny": "bold red"},
)  # fmt: skip
NUMBERS = [cell for row in TABLE.rows for cell in row[2:]]


def shown(width: int, **options: object) -> str:
    file = io.StringIO()
    Console(file=file, width=width, **options).print(TABLE)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160, 300])
def test_no_number_breaks_and_no_line_is_too_long(width: int) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    words = [word for number in NUMBERS for word in number.split()]
    assert all(re.search(rf"(^|\s){re.escape(word)}($|\s)", text, re.MULTILINE) for word in words)


def test_what_does_not_fit_becomes_blocks_with_every_value_beside_its_name() -> None:
    text = shown(60)
    assert text.splitlines()[:9] == [
        "Latency",
        "",
        "model        MobileNetV3Small",
        "effective    onnxruntime CPUExecutionProvider",
        "median ms    0.123456",
        "interval ms  0.1234 to 0.4567",
        "bytes        4,253,864",
        "drop points  +0.25",
        "",
    ]


def test_what_fits_is_a_table_with_one_line_a_row() -> None:
    text = shown(160)
    (line,) = [line for line in text.splitlines() if "MobileNetV3Small" in line]
    assert all(number in line for number in NUMBERS[:4])


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in shown(80, force_terminal=True)
    assert "\x1b[" not in shown(80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in shown(80, force_terminal=True)
    assert not re.search(r"\x1b\[[\d;]*3\d", shown(80, force_terminal=True)), "no colour, whatever else"


ROWS = [["VGG16", 138357544, None, "yes"], ["a", 1, 71.3, None]]
HEADER = ["name", "parameters", "top-1 %", "installed"]


def test_lists_are_plain_and_whole_where_no_terminal_reads_them() -> None:
    assert output.columns(HEADER, ROWS) == (
        "name    parameters  top-1 %  installed\nVGG16  138,357,544        -  yes\na                1     71.3  -"
    )


def test_a_list_in_a_narrow_terminal_becomes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    lines = output.columns(HEADER, ROWS).splitlines()
    assert max(map(len, lines)) <= 30
    assert [line for line in lines if line] == [
        "name        VGG16", "parameters  138,357,544", "top-1 %     -", "installed   yes",
        "name        a", "parameters  1", "top-1 %     71.3", "installed   -",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 140])
def test_every_table_of_a_run_stays_a_table_at_80_columns(width: int) -> None:
    """Columns are left out and named; no line is too long, and no row becomes a block."""
    records = [record for record in made_up.run(models=40) if record.model in ("VGG16", "EfficientNetV2B0")]
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for item in terminal.tables(records):
        console.print(item)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    titles = [line.strip() for line in lines if line.strip() in ("Parity", "Size against accuracy", "Latency")]
    assert len(titles) == 3
    assert sum(line.startswith("┏") for line in lines) == 4
    named = sum(line.startswith("not shown at this width: ") for line in lines)
    assert named >= 3 if width == 80 else named <= 2
    assert sum("weights: random:0 · made: 2026-01-31" in line for line in lines) == 4


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("column", ["median ms", "interval ms", "drop points"])
def test_a_column_without_any_value_is_named_below_and_takes_no_room(width: int, column: str) -> None:
    place = TABLE.header.index(column)
    rows = tuple((*row[:place], "-", *row[place + 1 :]) for row in TABLE.rows)
    file = io.StringIO()
    Console(file=file, width=width).print(replace(TABLE, rows=rows))
    *above, last = file.getvalue().rstrip("\n").rsplit("\n", 1)
    assert last == f"without a value in any row: {column}"
    assert column not in "\n".join(above)
    assert "without a value" not in shown(width), "one row has a value"
