"""Markdown: the verdict and every table, ready for a repository or a pull request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from kexport.records import Record
from kexport.reports.auto import auto_table
from kexport.reports.profile import missing, profile_tables
from kexport.reports.tables import Table, benchmark_table, caveats, comparison_table, parity_table, size_table
from kexport.reports.tradeoff import tradeoff_table
from kexport.reports.verdict import failed, summary

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SPECIAL = str.maketrans({"|": "\\|", "<": "&lt;", "&": "&amp;", "\n": " ", "\r": " "})


def render(records: Sequence[Record]) -> str:
    """The records as Markdown with GitHub's tables."""
    sections = ["# kexport report", f"**{summary(records)}**"]
    if first := caveats(records):
        sections.append("## To be known before any number\n\n" + "\n".join(f"* {escape(line)}" for line in first))
    if failed(records):
        sections.append(
            "## Not passed\n\n" + "\n".join(line for record in failed(records) for line in _failure(record))
        )
    sections += [f"## {table.title}\n\n{markdown(table)}" for table in all_tables(records)]
    sections += [escape(line) for line in missing(records)]
    return "\n\n".join(sections) + "\n"


def all_tables(records: Sequence[Record]) -> tuple[Table, ...]:
    """Every table that has a row, in the order of reading."""
    makers: tuple[Callable[[Sequence[Record]], Table], ...] = (
        auto_table, parity_table, tradeoff_table, comparison_table, benchmark_table, size_table,
    )  # fmt: skip
    return (*(table for maker in makers if (table := maker(records)).rows), *profile_tables(records))


def _failure(record: Record) -> Iterator[str]:
    yield f"* {record.status} **{escape(record.model)} {record.format} {record.kind}**: {escape(record.reason)}"
    if record.hint:
        yield f"  * hint: {escape(record.hint)}"
    if record.reproduce:
        yield f"  * again: {_code(record.reproduce)}"


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown and its notes, without the title."""
    return "\n".join(_table(table))


def _table(table: Table) -> Iterator[str]:
    yield _row(table.header)
    yield _row("---" if index < table.text_columns else "---:" for index in range(len(table.header)))
    yield from map(_row, table.rows)
    for note in table.notes:
        yield f"\n{escape(note, star=True)}"
    if table.origin:
        yield f"\n<sub>{escape(table.origin)}</sub>"


def _row(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _code(text: str) -> str:
    """Text as code, behind a fence that is longer than any in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inside = _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], " ".join(text.split()))
    return f"{fence} {inside} {fence}" if len(fence) > 1 else f"{fence}{inside}{fence}"


def escape(text: str, *, star: bool = False) -> str:
    """Text that neither breaks a table nor starts markup, a link or an image.

    ``star`` keeps a leading star from making a list.
    """
    plain = _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text.translate(_SPECIAL)).replace("](", "\\](")
    plain = plain.replace("][", "\\][").replace("://", "&#58;//").replace("www.", "www&#46;")
    return f"\\{plain}" if star and plain.startswith("*") else plain
