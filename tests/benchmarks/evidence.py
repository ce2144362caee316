"""Measurements, made small enough to be committed: records, peer comparisons and run logs to JSON values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kexport import machine, store
from kexport.evidence.latency import summarize
from kexport.records import BenchRecord, Record
from kexport.reports.tables import worst

SCHEMA = 1
SCHEME = "float32"
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+){2,}")
VERDICT = re.compile(
    r"^(?P<summary>\d+ cells?: [^\n]*)$.*"
    r"^peak memory of any process: (?P<peak>[\d.]+) GiB · wall time: (?:(?P<minutes>\d+) min )?(?P<seconds>[\d.]+) s$",
    re.MULTILINE | re.DOTALL,
)


def from_records(directories: Sequence[Path], scheme: str = SCHEME) -> dict[str, Any]:
    """The records of one scheme in all directories; the later directory wins. ValueError if machines differ."""
    found = {
        (record.model, record.format): record
        for directory in directories
        for record in store.read_records(directory)
        if record.scheme == scheme
    }
    records = [found[key] for key in sorted(found)]
    if not records:
        raise ValueError(f"no {scheme} records in {', '.join(path.name for path in directories)}")
    sessions = list(_sessions(records))
    return {
        "schema": SCHEMA,
        "machine": _machine([session for _, session in sessions]),
        "versions": _agreed("versions", (_versions(record) for record in records)),
        "weights": sorted({record.source.weights for record in records if record.source}),
        "cells": [_cell(record) for record in records],
        "sessions": [_session(*pair) for pair in sessions],
    }


def beside(given: dict[str, Any], committed: dict[str, Any] | None) -> dict[str, Any]:
    """What was measured now, and the committed cells of formats that were not, of the same machine and versions."""
    facts = ("schema", "machine", "versions", "weights")
    if committed is None or any(given[fact] != committed[fact] for fact in facts):
        return given
    measured = {cell["format"] for cell in given["cells"]}
    kept = [cell for cell in committed["cells"] if cell["format"] not in measured]
    return given | {"cells": sorted([*given["cells"], *kept], key=lambda cell: (cell["model"], cell["format"]))}


def from_comparison(path: Path) -> dict[str, Any]:
    """What a peer comparison wrote with ``--json``, without paths of the machine. ValueError if it is another file."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict) or not {"title", "machine", "rows"} <= value.keys():
        raise ValueError(f"{path.name}: expected the --json of a peer comparison (title, machine, rows)")
    found: dict[str, Any] = _without_paths(value)
    return found


def from_log(text: str) -> dict[str, Any]:
    """The last lines of `kexport all` on standard error: counts, peak memory, wall time. ValueError without them."""
    found = VERDICT.search(text)
    if found is None:
        raise ValueError("the log has no verdict: expected the standard error of a kexport all that ended")
    seconds = 60 * int(found["minutes"] or 0) + float(found["seconds"])
    return {
        "summary": found["summary"],
        "peak_gib": float(found["peak"]),
        "wall_seconds": seconds,
        "machine": machine.describe(),
    }


def figure(value: float | None) -> float | str | None:
    """Four significant digits; what JSON cannot carry as text."""
    if value is None:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _sessions(records: Iterable[Record]) -> Iterator[tuple[Record, BenchRecord]]:
    """Sessions that have samples; one that stands in several records of a model (Keras) is given once."""
    seen: dict[str, list[BenchRecord]] = {}
    for record in records:
        known = seen.setdefault(record.model, [])
        for session in record.benchmarks:
            if session.samples_seconds and session not in known:
                known.append(session)
                yield record, session


def _cell(record: Record) -> dict[str, Any]:
    outputs = record.parity.outputs if record.parity else ()
    artifact, cost = record.artifact, record.cost
    return {
        "model": record.model,
        "format": record.format,
        "status": str(record.status),
        "reason": _without_paths(record.reason),
        "engine": artifact.engine if artifact else None,
        "size_bytes": artifact.size_bytes if artifact else None,
        "parameters": record.source.parameters if record.source else None,
        "effective": record.parity.effective if record.parity else None,
        "notes": list(artifact.notes) if artifact else [],
        "samples": record.parity.samples if record.parity else 0,
        "logits_max_abs_error": figure(worst((o.logits_max_abs_error for o in outputs), max)),
        "error_to_signal": figure(worst((o.logits_max_abs_error / o.signal for o in outputs if o.signal), max)),
        "sqnr_db": figure(worst((o.sqnr_db for o in outputs), min)),
        "top1_agreement": figure(worst((o.top1_agreement for o in outputs), min)),
        "seconds": figure(sum(cost.seconds.values())) if cost else None,
        "peak_memory_bytes": cost.peak_memory_bytes if cost else None,
    }


def _session(record: Record, session: BenchRecord) -> dict[str, Any]:
    latency = summarize(session.samples_seconds, batch=session.batch)
    return {
        "model": record.model,
        "format": None if session.runtime == "keras" else record.format,
        "runtime": session.runtime,
        "effective": session.effective,
        "device": session.device,
        "threads": session.threads,
        "batch": session.batch,
        "count": latency.count,
        "median_seconds": figure(latency.median_seconds),
        "low_seconds": figure(latency.low_seconds),
        "high_seconds": figure(latency.high_seconds),
        "p90_seconds": figure(latency.p90_seconds),
        "p99_seconds": figure(latency.p99_seconds),
        "peak_memory_bytes": session.peak_memory_bytes,
        "noise": list(latency.noise),
    }


def _versions(record: Record) -> dict[str, str]:
    return {name: version for name, version in record.versions.items() if name != "request"}


def _machine(sessions: Sequence[BenchRecord]) -> dict[str, str]:
    """The machine of the sessions; without any, this one made the records or nobody says."""
    return _agreed("machines", (session.machine for session in sessions)) if sessions else machine.describe()


def _agreed(what: str, values: Iterable[dict[str, str]]) -> dict[str, str]:
    """The one value that all have. ValueError names the keys that differ: numbers of two machines do not mix."""
    distinct = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    if len(distinct) > 1:
        keys = sorted({key for value in distinct for key in value if value.get(key) != distinct[0].get(key)})
        raise ValueError(f"the records are of {len(distinct)} {what}, they differ in {', '.join(keys)}; measure again")
    return distinct[0] if distinct else {}


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return ABSOLUTE_PATH.sub("PATH", value) if isinstance(value, str) else value
