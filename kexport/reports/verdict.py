"""How a run ended, in lines: counts by status, and one line for every cell that did not pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kexport.records import Record, Status


def counts(records: Sequence[Record]) -> dict[Status, int]:
    """How many records have each status, those without any left out, in the order of `Status`."""
    found = Counter(record.status for record in records)
    return {status: found[status] for status in Status if found[status]}


def summary(records: Sequence[Record]) -> str:
    """``80 cells: 78 PASS, 2 FAIL``."""
    tally = ", ".join(f"{count} {status}" for status, count in counts(records).items()) or "nothing was done"
    return f"{len(records)} {'cell' if len(records) == 1 else 'cells'}: {tally}"


def failed(records: Sequence[Record]) -> tuple[Record, ...]:
    """The cells that did not pass, but for those that were left out, or tried in place of which another is taken."""
    return tuple(
        record
        for record in records
        if record.status is not Status.PASS and not record.skipped and not record.only_tried
    )


def skipped(records: Sequence[Record]) -> tuple[str, ...]:
    """A line for every cell that was left out."""
    return tuple(f"skipped {each.label}: {' '.join(each.reason.split())}" for each in records if each.skipped)


def failure_line(record: Record) -> str:
    """Status, cell, reason and the command that reproduces it, on one line."""
    reason = " ".join(record.reason.split())
    again = f" -- {record.reproduce}" if record.reproduce else ""
    return f"{record.status} {record.label}: {reason}{again}"


def verdict(records: Sequence[Record]) -> tuple[str, ...]:
    """The summary, then one line for every failed cell."""
    return (summary(records), *skipped(records), *map(failure_line, failed(records)))
