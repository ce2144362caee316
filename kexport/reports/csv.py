"""CSV: size against accuracy against speed as plain numbers, one line per artifact and measuring condition."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields

from kexport.records import Record
from kexport.reports.tradeoff import Row, every_row

COLUMNS = tuple(field.name for field in fields(Row))


def render(records: Sequence[Record]) -> str:
    """A header with the fields of `kexport.reports.tradeoff.Row`, then the rows; what was not measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_cell, astuple(row)) for row in every_row(records))
    return text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would calculate (``=HYPERLINK(...)``) begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
