"""The tables that every report shows, as text cells: derived from records, formatted once.

Sizes in MB are 10**6 bytes, as keras.io has them; memory in MiB; latency in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kexport.evidence.latency import REMEDY, Latency, summarize
from kexport.records import BenchRecord, OutputParity, Record
from kexport.reports import origin, trust

NONE = "-"
_SMALL_BYTES = 100_000
RUNTIMES = {"keras": "Keras", "onnxruntime": "ONNX Runtime", "litert": "LiteRT", "savedmodel": "SavedModel"}
Condition = tuple[str, str, str, int, int]  # model, scheme, device, threads, batch


@dataclass(frozen=True, kw_only=True)
class Table:
    """A title, a header, rows of text, and notes below. The first ``text_columns`` are not numbers.

    ``spare`` are columns that a narrow terminal may leave out, the first of them first. ``origin`` says where the
    numbers come from: weights, date, machine, versions.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int
    notes: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    origin: str = ""


def caveats(records: Iterable[Record]) -> tuple[str, ...]:
    """What is to be read before any number, each once: Keras at chance, what was guessed, what was assumed."""
    found = [
        f"{record.model}: {caveat}"
        for record in records
        for caveat in (record.accuracy.caveats if record.accuracy else ())
    ]
    return tuple(dict.fromkeys(found))


def parity_table(records: Sequence[Record]) -> Table:
    """One row per cell. With several outputs the worst one is shown."""
    header = (
        "model", "format", "scheme", "weights", "engine", "status", "MB", "max logits error", "SQNR dB",
        "top-1 agreement",
    )  # fmt: skip
    return Table(
        title="Parity",
        header=header,
        rows=tuple(map(_parity_row, records)),
        text_columns=6,
        notes=(*_doubts(records), *_elsewhere(records)),
        spare=("engine", "weights", "max logits error", "top-1 agreement"),
        origin=origin.line(records),
    )


def _doubts(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        if why := trust.of_parity(record):
            yield f"* {record.label}: {why}"


def _elsewhere(records: Sequence[Record]) -> Iterator[str]:
    """A line for every other backend of Keras that files were compared with."""
    found = [other for record in records if record.parity is not None for other in record.parity.others]
    for backend in dict.fromkeys(other.backend for other in found):
        there = [other for other in found if other.backend == backend]
        ours, itself = _largest(each.outputs for each in there), _largest(each.itself for each in there)
        yield (
            f"compared with Keras on {backend} as well: {len(there)} of {len(records)} cells, max logits error {ours}; "
            f"Keras itself differs by {itself} between the backends"
        )


def _largest(outputs: Iterable[Iterable[OutputParity]]) -> str:
    return number(worst((each.logits_max_abs_error for several in outputs for each in several), max), ".1e")


def size_table(records: Sequence[Record]) -> Table:
    """One row per artifact: bytes against the parameters that it holds, and what making it took."""
    header = ("model", "format", "scheme", "MB", "parameters", "bytes per parameter", "seconds", "peak MiB")
    rows = tuple(_size_row(record) for record in records if record.artifact is not None)
    return Table(title="Size and cost", header=header, rows=rows, text_columns=3, origin=origin.line(records))


def benchmark_table(records: Sequence[Record]) -> Table:
    """One row per session: statistics of its raw samples; `*` marks those that the machine was too noisy for."""
    header = (
        "model", "format", "scheme", "runtime", "effective", "device", "threads", "batch", "median ms", "interval ms",
        "p90 ms", "p99 ms", "load ms", "first ms", "rows/s", "peak MiB", "samples",
    )  # fmt: skip
    sessions = [(record, session, _latency(session)) for record, session in _sessions(records)]
    notes = tuple(
        f"* {record.label} on {session.runtime}: {'; '.join(latency.noise)}; {REMEDY}"
        for record, session, latency in sessions
        if latency.noisy
    )
    rows = tuple(_benchmark_row(*session) for session in sessions)
    spare = (
        "effective", "first ms", "load ms", "peak MiB", "p99 ms", "p90 ms", "rows/s", "device", "samples", "batch",
        "interval ms",
    )  # fmt: skip
    return Table(
        title="Latency",
        header=header,
        rows=rows,
        text_columns=6,
        notes=notes,
        spare=spare,
        origin=origin.line(records),
    )


def comparison_table(records: Sequence[Record]) -> Table:
    """Median milliseconds of each runtime beside each other, and how many times faster than Keras each is.

    One row per model, scheme, device, threads and batch with two runtimes or more. Of repeated sessions the
    fastest counts. Keras computes in float32, whatever the scheme.
    """
    found = _medians(records)
    compared = {key: medians for key, medians in sorted(found.items()) if len(medians) > 1}
    present = {runtime for medians in compared.values() for runtime, _ in medians.items()}
    runtimes = [*(name for name in RUNTIMES if name in present), *sorted(present - set(RUNTIMES))]
    others = [runtime for runtime in runtimes if runtime != "keras" and "keras" in runtimes]
    labels = {name: RUNTIMES.get(name, name) for name in runtimes}
    header = (
        "model", "scheme", "device", "threads", "batch",
        *(f"{labels[name]} ms" for name in runtimes), *(f"{labels[name]} speed-up" for name in others),
    )  # fmt: skip
    rows = tuple(
        (*map(str, key), *(_median(medians.get(name)) for name in runtimes), *_speed_ups(medians, others))
        for key, medians in compared.items()
    )
    notes = ("* a session that the machine was too noisy for, or with too few samples",) if _starred(rows) else ()
    return Table(
        title="Runtimes compared",
        header=header,
        rows=rows,
        text_columns=3,
        notes=notes,
        spare=("device", "batch"),
        origin=origin.line(records),
    )


def _starred(rows: Iterable[Sequence[str]]) -> bool:
    return any(cell.endswith(trust.STAR) for row in rows for cell in row)


def worst(values: Iterable[float], pick: Callable[[Iterable[float]], float]) -> float | None:
    """The largest or smallest value by ``pick``; NaN if any is NaN, None without values."""
    found = tuple(values)
    if not found:
        return None
    return math.nan if any(map(math.isnan, found)) else pick(found)


def _parity_row(record: Record) -> tuple[str, ...]:
    outputs: tuple[OutputParity, ...] = record.parity.outputs if record.parity is not None else ()
    artifact, doubt = record.artifact, trust.of_parity(record)
    return (
        record.model,
        record.format,
        record.kind,
        origin.weights(record) or NONE,
        artifact.engine if artifact is not None else NONE,
        str(record.status),
        megabytes(artifact.size_bytes if artifact is not None else None),
        trust.starred(number(worst((output.logits_max_abs_error for output in outputs), max), ".1e"), doubt),
        trust.starred(number(worst((output.sqnr_db for output in outputs), min), ".1f"), doubt),
        trust.starred(number(worst((output.top1_agreement for output in outputs), min), ".3f"), doubt),
    )


def _size_row(record: Record) -> tuple[str, ...]:
    assert record.artifact is not None
    parameters = record.source.parameters if record.source is not None else 0
    cost = record.cost
    return (
        record.model,
        record.format,
        record.kind,
        megabytes(record.artifact.size_bytes),
        f"{parameters:,}" if parameters else NONE,
        number(record.artifact.size_bytes / parameters if parameters else None, ".2f"),
        number(sum(cost.seconds.values()) if cost is not None else None, ".1f"),
        number(cost.peak_memory_bytes / 2**20 if cost is not None else None, ".0f"),
    )


def _benchmark_row(record: Record, session: BenchRecord, latency: Latency) -> tuple[str, ...]:
    return (
        record.model,
        record.format,
        record.kind,
        RUNTIMES.get(session.runtime, session.runtime),
        session.effective,
        session.device,
        str(session.threads),
        str(session.batch),
        milliseconds(latency.median_seconds) + ("*" if latency.noisy else ""),
        f"{milliseconds(latency.low_seconds)} to {milliseconds(latency.high_seconds)}",
        milliseconds(latency.p90_seconds),
        milliseconds(latency.p99_seconds),
        milliseconds(session.load_seconds),
        milliseconds(session.first_seconds),
        number(latency.rows_per_second, ".1f"),
        number(session.peak_memory_bytes / 2**20, ".0f"),
        str(latency.count),
    )


def _sessions(records: Iterable[Record]) -> list[tuple[Record, BenchRecord]]:
    """Sessions that have samples, in the order of their records."""
    return [(record, session) for record in records for session in record.benchmarks if session.samples_seconds]


def _latency(session: BenchRecord) -> Latency:
    return summarize(session.samples_seconds, batch=session.batch)


def _median(latency: Latency | None) -> str:
    return NONE if latency is None else trust.starred(milliseconds(latency.median_seconds), trust.of_latency(latency))


def _medians(records: Iterable[Record]) -> dict[Condition, dict[str, Latency]]:
    """Condition -> runtime -> its latency; a Keras session counts for every scheme of its model."""
    sessions = _sessions(records)
    schemes: dict[str, set[str]] = {}
    for record, _ in sessions:
        schemes.setdefault(record.model, set()).add(record.kind)
    found: dict[Condition, dict[str, Latency]] = {}
    for record, session in sessions:
        latency = _latency(session)
        for scheme in schemes[record.model] if session.runtime == "keras" else {record.kind}:
            key = (record.model, scheme, session.device, session.threads, session.batch)
            medians = found.setdefault(key, {})
            known = medians.get(session.runtime, latency)
            medians[session.runtime] = min(latency, known, key=lambda each: each.median_seconds)
    return found


def _speed_ups(medians: dict[str, Latency], runtimes: Iterable[str]) -> tuple[str, ...]:
    keras = medians.get("keras")
    return tuple(_speed_up(keras, medians.get(name)) for name in runtimes)


def _speed_up(keras: Latency | None, other: Latency | None) -> str:
    if keras is None or other is None or not other.median_seconds:
        return NONE
    doubt = trust.of_latency(keras) or trust.of_latency(other)
    return trust.starred(f"{keras.median_seconds / other.median_seconds:.1f}x", doubt)


def megabytes(size_bytes: int | None) -> str:
    """Millions of bytes, one digit after the point; two significant digits of a file below a tenth of one."""
    if size_bytes is None:
        return NONE
    return f"{size_bytes / 1e6:.1f}" if size_bytes >= _SMALL_BYTES else f"{size_bytes / 1e6:.2g}"


def milliseconds(seconds: float | None) -> str:
    """Three significant digits."""
    if seconds is None:
        return NONE
    value = seconds * 1000
    digits = 2 - math.floor(math.log10(value)) if value > 0 and math.isfinite(value) else 2
    return f"{value:.{min(6, max(0, digits))}f}"


def number(value: float | None, spec: str) -> str:
    """By the format specification, or a dash."""
    return NONE if value is None else f"{value:{spec}}"
