"""Rich renderables of the tables and of the verdict. rich is imported when they are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kexport.records import Record, Status
from kexport.reports.auto import auto_table
from kexport.reports.fitting import Fitting
from kexport.reports.profile import missing, profile_tables
from kexport.reports.tables import Table, benchmark_table, caveats, comparison_table, parity_table
from kexport.reports.tradeoff import tradeoff_table
from kexport.reports.verdict import verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

NAME_WIDTH = 26
MOST, FEW = 500, 100
"""Rows of a table in a terminal, and of one that cannot have all: nobody reads it to its end."""
STYLES = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.UNPROVEN: "bold yellow",
    Status.UNSUPPORTED: "yellow",
    Status.ERROR: "bold red",
}


def tables(records: Sequence[Record]) -> tuple[RenderableType, ...]:
    """What is to be known first, then parity, size against accuracy, the runtimes compared and the latencies.

    Of more than `MOST` records `FEW` are shown, those that did not pass before the others, and it is said.
    """
    from rich.text import Text

    ordered, left_out = _legible(records)
    made = (
        auto_table(ordered),
        parity_table(ordered),
        tradeoff_table(ordered),
        comparison_table(ordered),
        benchmark_table(ordered),
    )
    first = (*_caveats(records), *_left_out(len(ordered), left_out))
    profiled = (item for table in profile_tables(ordered) for item in shown(_short_lines(table)))
    last = (Text(line, style="yellow") for line in missing(ordered))
    return (*first, *(item for table in made if table.rows for item in shown(table)), *profiled, *last)


def _legible(records: Sequence[Record]) -> tuple[list[Record], int]:
    """By model, format and scheme: as many as anybody reads, and how many more there are."""
    first = sorted(records, key=lambda record: (record.status is Status.PASS, *_order(record)))
    count = len(first) if len(first) <= MOST else FEW
    return sorted(first[:count], key=_order), len(first[count:])


def _order(record: Record) -> tuple[str, str, str]:
    return record.model, record.format, record.kind


def _left_out(shown: int, more: int) -> tuple[RenderableType, ...]:
    from rich.text import Text

    note = (
        f"{shown} of {shown + more} records are shown, those that did not pass before the others; "
        "all: kexport report DIR --format md, html, csv or json"
    )
    return (Text(note, style="bold yellow"),) if more else ()


def shown(table: Table) -> tuple[RenderableType, ...]:
    """One table and its notes."""
    return (_rich(table), *_notes(table), *_origin(table))


def _short_lines(table: Table) -> Table:
    """The names of the first column in lines that leave room for numbers, broken where their words end."""
    return replace(table, rows=tuple((_broken(name), *others) for name, *others in table.rows))


def _broken(name: str) -> str:
    lines, line = [], ""
    for part in re.split(r"(?<=[_/])", name):
        if line and len(line) + len(part) > NAME_WIDTH:
            lines.append(line)
            line = ""
        line += part
    return "\n".join([*lines, line])


def verdict_text(records: Sequence[Record]) -> Text:
    """The lines of `verdict`, with their statuses in colour."""
    from rich.text import Text

    text = Text("\n".join(verdict(records)))
    text.highlight_words([str(status) for status in (Status.FAIL, Status.ERROR)], "bold red")
    return text


def _rich(table: Table) -> Fitting:
    return Fitting(
        title=table.title,
        header=table.header,
        rows=table.rows,
        numeric=tuple(index >= table.text_columns for index in range(len(table.header))),
        styles={str(status): style for status, style in STYLES.items()},
        spare=table.spare,
    )


def _caveats(records: Sequence[Record]) -> tuple[RenderableType, ...]:
    from rich.text import Text

    return tuple(Text(f"Note first: {caveat}", style="bold yellow") for caveat in caveats(records))


def _origin(table: Table) -> tuple[RenderableType, ...]:
    from rich.text import Text

    return (Text(table.origin, style="dim"),) if table.origin else ()


def _notes(table: Table) -> tuple[RenderableType, ...]:
    from rich.text import Text

    return tuple(Text(note, style="yellow") for note in table.notes)
