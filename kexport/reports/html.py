"""HTML: one page that stands alone, to be read in a minute, sorted and filtered; its drawings are plotly's.

Every number has its unit, and a star with the reason where it is not to be trusted. Nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kexport.evidence.latency import Latency, summarize
from kexport.records import BenchRecord, Check, Record
from kexport.reports import depth, page, profile_page, trust
from kexport.reports.auto import auto_table
from kexport.reports.origin import origin, weights
from kexport.reports.tables import NONE, RUNTIMES, megabytes, milliseconds, number, worst
from kexport.reports.tradeoff import BASELINE
from kexport.reports.verdict import counts, summary

COLUMNS = (
    ("model", "", "text"), ("format", "", "text"), ("scheme", "", "text"), ("weights", "", "text"),
    ("status", "", "text"), ("size", "MB", "number"), ("error", "of bound", "number"), ("SQNR", "dB", "number"),
    ("agreement", "%", "number"), ("top-1", "%", "number"), ("drop", "points", "number"),
    ("latency", "ms", "number"), ("float32 takes", "times", "number"),
)  # fmt: skip

SHARES = ("cosine", "agreement")
"""Ends of the names of checks that ask for at least so much of one."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A cell of the table: what is shown, what is sorted by, and why it is not to be trusted."""

    text: str
    value: float | str | None = None
    doubt: str = ""
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A record, ready for the page."""

    record: Record
    name: str
    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    sessions: tuple[dict[str, Any], ...]
    point: dict[str, Any] | None = field(default=None)


def render(records: Sequence[Record]) -> str:
    """The page. MissingDependencyError where the extra ``report`` is not installed."""
    cells = [_cell(record, _float32_of(record, records)) for record in records]
    text = page.filled(
        "report.html.jinja",
        summary=summary(records),
        counts=[(str(status), count) for status, count in counts(records).items()],
        first=_first(records),
        origin=origin(records),
        columns=COLUMNS,
        cells=cells,
        kinds={name: sorted({str(getattr(record, name)) for record in records}) for name in _FILTERS},
        points=[cell.point for cell in cells if cell.point is not None],
        bars=any(cell.sessions for cell in cells),
        drawn=[
            {key: value for key, value in session.items() if key != "told"}
            for cell in cells
            for session in cell.sessions
        ],
        axis=_axis(records),
        profiles=profile_page.shown(records),
        tried=auto_table(records),
        depths=depth.lines(records),
        plotly=page.plotly_script(),
    )
    return text.rstrip("\n") + "\n"


_FILTERS = ("format", "scheme", "status")


def _first(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """What is to be known before any number, and of which models."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for caveat in record.accuracy.caveats if record.accuracy is not None else ():
            found.setdefault(caveat, {})[record.model] = None
    return [(caveat, list(models)) for caveat, models in found.items()]


def _float32_of(record: Record, records: Sequence[Record]) -> Record | None:
    place = (record.model, record.format, BASELINE)
    found = [each for each in records if (each.model, each.format, each.scheme) == place]
    return next((each for each in found if not each.variant), found[0] if found else None)


def _cell(record: Record, baseline: Record | None) -> Cell:
    sessions = [(session, _latency(session)) for session in record.benchmarks if session.samples_seconds]
    own = [(session, latency) for session, latency in sessions if session.runtime != "keras"]
    checks = record.parity.checks if record.parity is not None else ()
    return Cell(
        record=record,
        name=record.label,
        figures=(*_words(record), *_proof(record, checks), *_accuracy(record), *_speed(own, baseline)),
        checks=checks,
        sessions=tuple(_bar(record, session, latency) for session, latency in sessions),
        point=_point(record),
    )


def _words(record: Record) -> Iterator[Figure]:
    for text in (record.model, record.format, record.kind, weights(record) or NONE, str(record.status)):
        yield Figure(text=text, value=text.casefold())
    size = record.artifact.size_bytes if record.artifact is not None else None
    yield Figure(text=megabytes(size), value=size)


def _proof(record: Record, checks: Sequence[Check]) -> Iterator[Figure]:
    doubt = trust.of_parity(record)
    used = worst((_used(check) for check in checks), max)
    yield _figure(
        used, ".2g", doubt, more="; ".join(f"{check.name} {check.value:.3g} of {check.bound:.3g}" for check in checks)
    )
    outputs = record.parity.outputs if record.parity is not None else ()
    yield _figure(worst((each.sqnr_db for each in outputs), min), ".1f", doubt)
    scored = record.accuracy
    share = scored.top1_agreement if scored is not None else worst((each.top1_agreement for each in outputs), min)
    where = f"on {scored.images} photographs" if scored is not None else "on the inputs of the comparison"
    yield _figure(None if share is None else 100 * share, ".1f", trust.of_accuracy(record) or doubt, more=where)


def _used(check: Check) -> float:
    """How much a check uses of the error that its bound allows: 0 is no error, 1 the bound itself.

    Decibels are compared as amplitudes, shares of at least so much by what they lack of one.
    """
    if math.isnan(check.value):
        return math.nan
    if check.name.endswith("_db"):
        return float(10 ** ((check.bound - check.value) / 20))
    least = check.name.endswith(SHARES)
    error, allowed = (1 - check.value, 1 - check.bound) if least else (check.value, check.bound)
    return error / allowed if allowed else math.inf if error else 0.0


def _accuracy(record: Record) -> Iterator[Figure]:
    scored, doubt = record.accuracy, trust.of_accuracy(record)
    top1 = scored.top1 if scored is not None else None
    yield _figure(None if top1 is None else 100 * top1, ".2f", doubt)
    drop = scored.top1_drop_points if scored is not None else None
    interval = "" if scored is None or scored.low_points is None else (
        f"95 % interval {scored.low_points:+.2f} to {scored.high_points:+.2f}, {scored.images} images"
    )  # fmt: skip
    yield _figure(drop, "+.2f", doubt, more=interval)


def _speed(own: Sequence[tuple[BenchRecord, Latency]], baseline: Record | None) -> Iterator[Figure]:
    if not own:
        yield from (Figure(text=NONE), Figure(text=NONE))
        return
    session, latency = min(own, key=lambda pair: pair[1].median_seconds)
    interval = f"{milliseconds(latency.low_seconds)} to {milliseconds(latency.high_seconds)} ms"
    yield Figure(
        text=milliseconds(latency.median_seconds),
        value=latency.median_seconds,
        doubt=trust.of_latency(latency),
        more=f"{interval}, {latency.count} samples, {_condition(session)}",
    )
    alike = [
        _latency(each) for each in (baseline.benchmarks if baseline is not None else ())
        if each.samples_seconds and _condition(each) == _condition(session)
    ]  # fmt: skip
    fastest = min(alike, key=lambda each: each.median_seconds, default=None)
    ratio = fastest.median_seconds / latency.median_seconds if fastest is not None and latency.median_seconds else None
    doubt = trust.of_latency(latency) or (trust.of_latency(fastest) if fastest is not None else "")
    yield _figure(ratio, ".2f", doubt, more="median of float32 of the same format over this one")


def _figure(value: float | None, spec: str, doubt: str = "", *, more: str = "") -> Figure:
    shown = value is not None
    sorted_by = value if value is not None and math.isfinite(value) else None
    return Figure(text=number(value, spec), value=sorted_by, doubt=doubt if shown else "", more=more if shown else "")


def _latency(session: BenchRecord) -> Latency:
    return summarize(session.samples_seconds, batch=session.batch)


def _condition(session: BenchRecord) -> str:
    runtime = RUNTIMES.get(session.runtime, session.runtime)
    return f"{runtime}, {session.device}, {session.threads} threads, batch {session.batch}"


def _bar(record: Record, session: BenchRecord, latency: Latency) -> dict[str, Any]:
    """A session for the drawing: milliseconds."""
    name = RUNTIMES["keras"] if session.runtime == "keras" else f"{record.format} {record.kind}"
    return {
        "cell": record.label,
        "model": record.model,
        "series": name,
        "condition": _condition(session),
        "median": 1000 * latency.median_seconds,
        "low": 1000 * latency.low_seconds,
        "high": 1000 * latency.high_seconds,
        "samples": [round(1000 * each, 4) for each in session.samples_seconds[:200]],
        "doubt": trust.of_latency(latency),
        "told": _told(session, latency),
    }


def _told(session: BenchRecord, latency: Latency) -> str:
    """What the details say of a session: what really ran, how long it took to be ready, the memory of its process."""
    first = "" if session.first_seconds is None else f"the first run {milliseconds(session.first_seconds)} ms, "
    return (
        f"{_condition(session)}: median {milliseconds(latency.median_seconds)} ms, p90 "
        f"{milliseconds(latency.p90_seconds)}, p99 {milliseconds(latency.p99_seconds)}, {latency.count} samples; "
        f"{first}loaded in {milliseconds(session.load_seconds)} ms, peak memory of the process "
        f"{session.peak_memory_bytes / 2**20:.0f} MiB; ran on {session.effective}"
    )


def _point(record: Record) -> dict[str, Any] | None:
    """A cell in the drawing of size against accuracy; None where it has neither photographs nor a comparison."""
    if record.artifact is None or not record.artifact.size_bytes:
        return None
    found = {
        "cell": record.label,
        "model": record.model,
        "series": f"{record.format} {record.kind}",
        "size": record.artifact.size_bytes / 1e6,
    }
    scored = record.accuracy
    if scored is not None and scored.top1_drop_points is not None:
        assert scored.low_points is not None
        assert scored.high_points is not None
        ends = {"low": -scored.high_points, "high": -scored.low_points}
        return {**found, "y": -scored.top1_drop_points, **ends, "doubt": trust.of_accuracy(record)}
    outputs = record.parity.outputs if record.parity is not None else ()
    sqnr = worst((each.sqnr_db for each in outputs), min)
    if sqnr is None or not math.isfinite(sqnr):
        return None
    return {**found, "y": sqnr, "doubt": trust.of_parity(record)}


def _axis(records: Sequence[Record]) -> str:
    """What the height of a point says. Where accuracy was measured for some, the others are left out there."""
    if any(record.accuracy is not None and record.accuracy.top1_drop_points is not None for record in records):
        return "top-1 against Keras on the same photographs, points"
    return "SQNR of the logits against Keras, dB"
