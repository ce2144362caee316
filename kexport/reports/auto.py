"""What ``--schemes auto`` has tried: size against drop against time, what nothing else beats, and what is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kexport.evidence.choice import FLOAT32, latency_of
from kexport.records import Record
from kexport.reports.tables import NONE, Table, megabytes, milliseconds, number
from kexport.reports.trust import of_latency, starred

Costs = tuple[float, ...]


def auto_table(records: Sequence[Record]) -> Table:
    """A row for every file that was tried. On the front are those that none beats in size, time and drop at once."""
    tried = sorted((each for each in records if each.auto), key=lambda each: (each.model, each.format, not each.taken))
    return Table(
        title="Tried by --schemes auto",
        header=("model", "format", "scheme", "front", "choice", "MB", "drop", "agreement", "median ms"),
        rows=tuple(_row(each, tried) for each in tried),
        text_columns=5,
        notes=tuple(f"{each.label}: {each.auto}" for each in tried if each.taken or not _is_time(each)),
        spare=("agreement", "drop", "front", "MB"),
    )


def _is_time(record: Record) -> bool:
    """Whether what is said of a file that was left is its time, which the row has."""
    return re.fullmatch(r"left: [\d.]+ ms", record.auto) is not None


def chosen(records: Sequence[Record]) -> tuple[str, ...]:
    """A line for every format of a model: what to take."""
    return tuple(
        f"auto: {each.model} {each.format}: {each.kind}, {each.auto.partition(': ')[2]}{_unmeasured(each)}"
        for each in records
        if each.taken
    )


def _unmeasured(record: Record) -> str:
    """What is not known of a file whose answers were not compared on data of the user's own."""
    known = record.accuracy is not None or record.scheme == FLOAT32
    return "" if known else "; what it loses was not measured: --eval photos --max-drop 0.5"


def _row(record: Record, tried: Sequence[Record]) -> tuple[str, ...]:
    size = record.artifact.size_bytes if record.artifact is not None else None
    latency, scored = latency_of(record), record.accuracy
    figure = scored.headline if scored is not None else None
    return (
        record.model,
        record.format,
        record.kind,
        "yes" if _on_front(record, tried) else "no",
        record.auto.partition(":")[0],
        megabytes(size),
        NONE if figure is None else f"{figure.drop:+.3g} {figure.drop_unit}",
        number(scored.top1_agreement if scored is not None else None, ".4f"),
        NONE if latency is None else starred(milliseconds(latency.median_seconds), of_latency(latency)),
    )


def _on_front(record: Record, tried: Sequence[Record]) -> bool:
    """Whether it was published, and no other file of its model and format is as good in all and better in one."""
    costs = _costs(record)
    rivals = [_costs(each) for each in tried if (each.model, each.format) == (record.model, record.format)]
    return costs is not None and not any(other is not None and _beats(other, costs) for other in rivals)


def _beats(other: Costs, costs: Costs) -> bool:
    return all(one <= two for one, two in zip(other, costs, strict=True)) and other != costs


def _costs(record: Record) -> Costs | None:
    """Bytes, seconds, and what is lost: the drop, else decisions that differ. None where it is not known or failed."""
    latency, scored = latency_of(record), record.accuracy
    if not record.published or record.artifact is None or latency is None or latency.noisy:
        return None
    figure = scored.headline if scored is not None else None
    agreed = scored.top1_agreement if scored is not None else None
    lost = figure.drop if figure is not None else 1 - agreed if agreed is not None else 0.0
    return float(record.artifact.size_bytes), latency.median_seconds, lost
