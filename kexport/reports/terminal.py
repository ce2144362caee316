"""Rich renderables of the tables and of the verdict. rich is imported when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kexport.records import Record, Status
from kexport.reports.fitting import Fitting
from kexport.reports.tables import Table, benchmark_table, caveats, comparison_table, parity_table
from kexport.reports.tradeoff import tradeoff_table
from kexport.reports.verdict import verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

STYLES = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.UNPROVEN: "bold yellow",
    Status.UNSUPPORTED: "yellow",
    Status.ERROR: "bold red",
}


def tables(records: Sequence[Record]) -> tuple[RenderableType, ...]:
    """What is to be known first, then parity, size against accuracy, the runtimes compared and the latencies."""
    ordered = sorted(records, key=lambda record: (record.model, record.format, record.scheme))
    made = (parity_table(ordered), tradeoff_table(ordered), comparison_table(ordered), benchmark_table(ordered))
    return (*_caveats(ordered), *(item for table in made if table.rows for item in shown(table)))


def shown(table: Table) -> tuple[RenderableType, ...]:
    """One table and its notes."""
    return (_rich(table), *_notes(table), *_origin(table))


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
