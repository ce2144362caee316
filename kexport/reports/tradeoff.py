"""Size against accuracy against speed: what each scheme gives and costs, measured against float32 of the same format.

Only what was measured under the same conditions is compared: sizes within one model and format, latencies within one
runtime, device, number of threads and batch. What was not measured is left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kexport.evidence.latency import REMEDY, Latency, summarize
from kexport.records import BenchRecord, Record, Score
from kexport.records.proof import POINTS, TOP1
from kexport.reports import origin, trust
from kexport.reports.tables import NONE, RUNTIMES, Table, megabytes, milliseconds, number
from kexport.reports.trust import starred

BASELINE = "float32"
MIXED = ("figure", "drop")
Place = tuple[str, str]  # model, format
Condition = tuple[str, str, int, int]  # runtime, device, threads, batch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One artifact under one measuring condition. Shares in [0, 1], drops in points of 100, times in seconds.

    ``metric`` is the figure of the network that gates hold: top-1, or another one with its own units.

    ``compression`` and ``speed_up`` are how many times smaller and faster than float32. ``slower`` is true where the
    intervals of both medians lie apart and this one above, None where float32 was not measured alike or where one of
    both is not to be trusted. ``latency_doubt`` and ``accuracy_doubt`` say why these figures are not.
    """

    model: str
    scheme: str
    format: str
    status: str
    size_bytes: int | None
    weights: str = ""
    compression: float | None = None
    images: int | None = None
    keras_top1: float | None = None
    keras_top5: float | None = None
    top1: float | None = None
    top5: float | None = None
    top1_drop_points: float | None = None
    low_points: float | None = None
    high_points: float | None = None
    top1_agreement: float | None = None
    output_sqnr_db: float | None = None
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    batch: int | None = None
    median_seconds: float | None = None
    speed_up: float | None = None
    slower: bool | None = None
    metric: str | None = None
    metric_unit: str | None = None
    metric_keras: float | None = None
    metric_value: float | None = None
    metric_drop: float | None = None
    metric_drop_unit: str | None = None
    latency_doubt: str = ""
    accuracy_doubt: str = ""
    made: str = ""
    reason: str = ""
    variant: str = ""

    @property
    def kind(self) -> str:
        """As `Record.kind`."""
        return f"{self.scheme}-{self.variant}" if self.variant else self.scheme


_ACCURACY = (
    "images", "keras_top1", "keras_top5", "top1", "top5", "top1_drop_points", "low_points", "high_points",
    "top1_agreement", "output_sqnr_db",
)  # fmt: skip


def rows(records: Sequence[Record]) -> tuple[Row, ...]:
    """As `every_row`, but none where all is float32 and accuracy was not measured: nothing is traded then."""
    made = [record for record in records if record.artifact is not None]
    traded = any(record.accuracy or record.scheme != BASELINE for record in made)
    return every_row(made) if traded else ()


def every_row(records: Sequence[Record]) -> tuple[Row, ...]:
    """A row per cell and measuring condition, float32 first within a model and format; also of cells that failed."""
    made = [record for record in records if record.artifact is not None]
    ordered = sorted(records, key=lambda each: (each.model, each.format, each.scheme != BASELINE, each.kind))
    usual_last = sorted((each for each in made if each.scheme == BASELINE), key=lambda each: not each.variant)
    sizes = {_place(record): _size(record) for record in usual_last}
    speeds: dict[Place, dict[Condition, Latency]] = {}
    for record in usual_last:
        speeds.setdefault(_place(record), {}).update(_latencies(record))
    return tuple(
        row for record in ordered for row in _rows(record, sizes.get(_place(record)), speeds.get(_place(record), {}))
    )


def tradeoff_table(records: Sequence[Record]) -> Table:
    """The rows as text; below them what Keras reached, what flatters the numbers, and what is slower here."""
    found = rows(records)
    classifiers = all(row.metric in (None, TOP1) for row in found)
    figures = ("top-1 %", "drop points") if classifiers else MIXED
    header = (
        "model", "scheme", "format", "weights", "MB", "compression", *figures, "95 % interval", "agreement",
        "median ms", "speed-up",
    )  # fmt: skip
    notes = (*_keras_notes(found), *_image_notes(records if found else ()), *_speed_notes(found), *_doubts(found))
    return Table(
        title="Size against accuracy",
        header=header,
        rows=tuple(_cells(row, classifiers=classifiers) for row in found),
        text_columns=4,
        notes=tuple(dict.fromkeys(notes)),
        spare=("weights", "compression", "speed-up", "95 % interval", figures[0], "agreement"),
        origin=origin.line(records),
    )


def _rows(record: Record, baseline_bytes: int | None, baseline: dict[Condition, Latency]) -> Iterator[Row]:
    size = _size(record)
    known = {name: getattr(record.accuracy, name) for name in _ACCURACY} if record.accuracy is not None else {}
    known |= _figure(record.accuracy.headline if record.accuracy is not None else None)
    common: dict[str, Any] = {
        "model": record.model,
        "scheme": record.scheme,
        "variant": record.variant,
        "format": record.format,
        "status": str(record.status),
        "size_bytes": size if record.artifact is not None else None,
        "weights": origin.weights(record),
        "compression": baseline_bytes / size if baseline_bytes and size else None,
        "accuracy_doubt": trust.of_accuracy(record),
        "made": record.made,
        "reason": record.reason,
        **known,
    }
    latencies = _latencies(record)
    if not latencies:
        yield Row(**common)
    for condition, latency in latencies.items():
        yield Row(**common, **_speed(condition, latency, baseline.get(condition)))


def _figure(figure: Score | None) -> dict[str, Any]:
    """The figure that gates hold; its interval is that of top-1 already."""
    if figure is None:
        return {}
    return {
        "metric": figure.name,
        "metric_unit": figure.unit,
        "metric_keras": figure.keras,
        "metric_value": figure.value,
        "metric_drop": figure.drop,
        "metric_drop_unit": figure.drop_unit,
        "low_points": figure.low,
        "high_points": figure.high,
    }


def _speed(condition: Condition, latency: Latency, baseline: Latency | None) -> dict[str, Any]:
    runtime, device, threads, batch = condition
    median = latency.median_seconds
    doubt = trust.of_latency(latency) or (trust.of_latency(baseline) if baseline is not None else "")
    return {
        "runtime": runtime,
        "device": device,
        "threads": threads,
        "batch": batch,
        "median_seconds": median,
        "speed_up": baseline.median_seconds / median if baseline is not None and median else None,
        "slower": None if baseline is None or doubt else latency.low_seconds > baseline.high_seconds,
        "latency_doubt": doubt,
    }


def _latencies(record: Record) -> dict[Condition, Latency]:
    """The latency under each condition, Keras left out; of repeated sessions the fastest."""
    found: dict[Condition, Latency] = {}
    for session in record.benchmarks:
        if session.samples_seconds and session.runtime != "keras":
            latency, condition = summarize(session.samples_seconds, batch=session.batch), _condition(session)
            if condition not in found or latency.median_seconds < found[condition].median_seconds:
                found[condition] = latency
    return found


def _condition(session: BenchRecord) -> Condition:
    return session.runtime, session.device, session.threads, session.batch


def _place(record: Record) -> Place:
    return record.model, record.format


def _size(record: Record) -> int:
    return record.artifact.size_bytes if record.artifact is not None else 0


def _cells(row: Row, *, classifiers: bool) -> tuple[str, ...]:
    digits = ".2f" if row.metric_drop_unit in (None, POINTS) else ".4g"
    interval = NONE if row.low_points is None else f"{row.low_points:+{digits}} to {row.high_points:+{digits}}"
    if classifiers:
        figure = number(None if row.top1 is None else 100 * row.top1, ".2f"), number(row.top1_drop_points, "+.2f")
    else:
        figure = _told(row.metric, row.metric_value, row.metric_unit), _told("", row.metric_drop, row.metric_drop_unit)
    return (
        row.model,
        row.kind,
        row.format,
        row.weights or NONE,
        megabytes(row.size_bytes),
        NONE if row.compression is None else f"{row.compression:.2f}x",
        *(starred(each, row.accuracy_doubt) for each in figure),
        interval,
        starred(number(row.top1_agreement, ".4f"), row.accuracy_doubt),
        starred(milliseconds(row.median_seconds), row.latency_doubt),
        NONE if row.speed_up is None else starred(f"{row.speed_up:.2f}x", row.latency_doubt),
    )


def _told(name: str | None, value: float | None, unit: str | None) -> str:
    """``mIoU 81.20 %``: name, value and unit of a figure."""
    if value is None:
        return NONE
    text = f"{value:.2f}" if unit in ("%", POINTS) else f"{value:.4g}"
    return " ".join(filter(None, (name, text, unit)))


def _doubts(found: Iterable[Row]) -> Iterator[str]:
    """What the stars stand for."""
    for row in found:
        place = f"{row.model} {row.format} {row.kind}"
        if row.latency_doubt and row.median_seconds is not None:
            yield f"* {place}, {row.threads} threads, batch {row.batch}: {row.latency_doubt}; {REMEDY}"
        if row.accuracy_doubt:
            yield f"* {row.model} on the photographs: {row.accuracy_doubt}"


def _keras_notes(found: Iterable[Row]) -> Iterator[str]:
    for row in found:
        if row.keras_top1 is not None and row.keras_top5 is not None:
            yield (
                f"{row.model} in Keras: top-1 {100 * row.keras_top1:.2f} %, top-5 {100 * row.keras_top5:.2f} % on the "
                f"same {row.images} images"
            )
        elif row.metric_value is not None:
            keras = "" if row.metric_keras is None else f": {_told(row.metric, row.metric_keras, row.metric_unit)}"
            yield f"{row.model} in Keras{keras} on the same {row.images} images"
        elif row.images is not None:
            yield f"{row.model}: agreement with Keras on {row.images} images without labels"


def _image_notes(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        scored = record.accuracy
        if scored is not None and scored.overlap:
            yield (
                f"{record.model}: {scored.overlap} of the {scored.images} images are in the calibration set too "
                f"(such as {scored.overlap_names[0]}): accuracy is flattered"
            )
        yield from (f"{record.model}: {note}" for note in (scored.notes if scored is not None else ()))


def _speed_notes(found: Iterable[Row]) -> Iterator[str]:
    for row in found:
        if row.scheme == BASELINE or row.speed_up is None or row.median_seconds is None or row.speed_up >= 1:
            continue
        if row.latency_doubt:
            continue
        runtime = RUNTIMES.get(row.runtime or "", row.runtime)
        slower = "slower here" if row.slower else "not faster here (the intervals overlap)"
        yield (
            f"{row.kind} is {slower}: {row.model} {row.format} takes {milliseconds(row.median_seconds)} ms, "
            f"{BASELINE} {milliseconds(row.speed_up * row.median_seconds)} ms ({runtime}, {row.device}, "
            f"{row.threads} threads, batch {row.batch})"
        )
