"""The last lines of a run, and its exit code."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from kexport.cli.progress import duration
from kexport.options.place import Url
from kexport.records import Record
from kexport.reports.auto import chosen
from kexport.reports.instead import instead
from kexport.reports.verdict import failed, failure_line, skipped, summary


def exit_code(records: Sequence[Record]) -> int:
    """0 when all passed; the failures' own code where they agree (3: environment); else 1."""
    codes = {record.exit_code for record in failed(records)}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else 1


def text(records: Sequence[Record], *, directory: Path | Url | None = None, seconds: float) -> str:
    """Counts, one line and one command per failure, memory, time, where everything is, and commands to be pasted."""
    return "\n".join(_lines(records, directory, seconds))


def peak_memory_bytes(records: Sequence[Record]) -> int:
    """The most that any process of the run had resident; 0 when nothing was measured."""
    costs = [record.cost.peak_memory_bytes for record in records if record.cost is not None]
    sessions = [session.peak_memory_bytes for record in records for session in record.benchmarks]
    return max([*costs, *sessions], default=0)


def _lines(records: Sequence[Record], directory: Path | Url | None, seconds: float) -> Iterator[str]:
    yield summary(records)
    yield from (f"  {line}" for line in skipped(records))
    for record in failed(records):
        yield f"  {failure_line(record)}"
        if record.hint:
            yield f"    hint: {record.hint}"
    yield from chosen(records)
    yield from (f"note: {line}" for line in instead(records) if not chosen(records))
    memory = peak_memory_bytes(records)
    peak = f"{memory / 2**30:.2f} GiB" if memory else "not measured"
    yield f"peak memory of any process: {peak} · wall time: {duration(seconds)}"
    if directory is not None:
        yield f"records: {directory}/<Model>/*.json; what to type next:"
        yield shlex.join(["kexport", "report", str(directory)])
        yield from dict.fromkeys(record.reproduce for record in failed(records) if record.reproduce)
