"""A summary to be committed: the records without what grows large, for `kexport diff` to compare a later run with.

It has what a comparison needs and nothing else: of labels a digest, of Keras's and the cells' logs nothing. It is a
document as `kexport.reports.json` writes it, and read as such.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from kexport.records import SCHEMA_VERSION, Record, SourceFacts, encode
from kexport.reports.verdict import counts

DIGEST = "sha256:"


def render(records: Sequence[Record]) -> str:
    """One record a line, so that a change of one cell is a change of one line."""
    lines = [json.dumps(json.loads(encode(short(record))), sort_keys=True) for record in records]
    head = json.dumps({"counts": counts(records), "schema": SCHEMA_VERSION}, sort_keys=True)
    return f'{head[:-1]}, "records": [\n' + ",\n".join(lines) + "\n]}\n"


def short(record: Record) -> Record:
    """The record without its log, and with a digest in place of the labels."""
    source = replace(record.source, labels=digested(record.source)) if record.source is not None else None
    return replace(record, source=source, traceback="")


def digested(source: SourceFacts) -> tuple[str, ...]:
    """What stands for the labels in a summary: their number and their digest; of a summary's own they stay."""
    if not source.labels or source.labels[0].startswith(DIGEST):
        return source.labels
    digest = hashlib.sha256("\n".join(source.labels).encode()).hexdigest()
    return (f"{DIGEST}{digest} of {len(source.labels)}",)
