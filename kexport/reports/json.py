"""JSON: the records themselves, raw samples included, in one versioned document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kexport.documents import encode_many
from kexport.records import SCHEMA_VERSION, Record, decode_as
from kexport.reports.tradeoff import rows
from kexport.reports.verdict import counts


def render(records: Sequence[Record]) -> str:
    """``{"schema": 1, "counts": {status: cells}, "records": [...], "tradeoff": [...]}``.

    Each record is as its file has it. ``tradeoff`` are the rows of `kexport.reports.tradeoff`, empty where nothing
    is traded.
    """
    document = {
        "schema": SCHEMA_VERSION,
        "counts": counts(records),
        "records": records,
        "tradeoff": rows(records),
    }
    return encode_many(document)


@dataclass(frozen=True, kw_only=True)
class _Document:
    records: tuple[Record, ...]
    schema: int = SCHEMA_VERSION


def read(text: str | bytes, *, told: str) -> tuple[Record, ...]:
    """The records of a document of `render`, or of a summary. Raises StoreError that names every mistake."""
    document: _Document = decode_as(_Document, text, told=told)
    return document.records
