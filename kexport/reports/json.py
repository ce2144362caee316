"""JSON: the records themselves, raw samples included, in one versioned document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kexport.records import SCHEMA_VERSION, Record, decode_as, encode
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
        "records": [json.loads(encode(record)) for record in records],
        "tradeoff": [json.loads(encode(row)) for row in rows(records)],
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Document:
    records: tuple[Record, ...]
    schema: int = SCHEMA_VERSION


def read(text: str | bytes, *, told: str) -> tuple[Record, ...]:
    """The records of a document of `render`, or of a summary. Raises StoreError that names every mistake."""
    document: _Document = decode_as(_Document, text, told=told)
    return document.records
