"""Never slower in silence: where a scheme was measured slower than float32, which one to take instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexport.records import Record, Status
from kexport.reports.tables import RUNTIMES, milliseconds
from kexport.reports.tradeoff import BASELINE, Row, every_row

_MADE = (Status.PASS, Status.UNPROVEN)


def instead(records: Sequence[Record]) -> tuple[str, ...]:
    """A line for every file that takes longer than float32 of its format, where the measurement can be trusted."""
    return tuple(_lines(every_row([record for record in records if record.artifact is not None])))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        best = _fastest(rows, row) if row.slower and row.scheme != BASELINE else None
        if best is not None and row.speed_up and row.median_seconds is not None:
            runtime = RUNTIMES.get(row.runtime or "", row.runtime)
            float32 = row.speed_up * row.median_seconds
            other = "" if best.scheme == BASELINE else f", which takes {milliseconds(best.median_seconds)} ms"
            yield (
                f"{row.kind} is slower than {BASELINE} on {runtime}: {row.model} {row.format} takes "
                f"{milliseconds(row.median_seconds)} ms, {BASELINE} {milliseconds(float32)} ms; "
                f"take --schemes {best.scheme} instead{other}"
            )


def _fastest(rows: Sequence[Row], slow: Row) -> Row | None:
    """The fastest of those that were made and measured alike; the float32 file at the latest."""
    alike = [row for row in rows if _place(row) == _place(slow) and row.status in _MADE and not row.latency_doubt]
    return min(alike, key=lambda row: row.median_seconds or float("inf"), default=None)


def _place(row: Row) -> tuple[object, ...]:
    return row.model, row.format, row.runtime, row.device, row.threads, row.batch
