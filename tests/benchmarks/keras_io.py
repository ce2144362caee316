"""The table of keras.io/api/applications, measured: every application in Keras, ONNX and TFLite, float32 and int8.

    PYTHONPATH=. python tests/benchmarks/keras_io.py ROWS FOLDER... [--full MobileNet] [--until 14:00] [--json FILE]

FOLDERs are those of `kexport all --formats onnx,tflite --schemes float32,int8`. Every cell is measured in a process of
its own, as `kexport bench --protocol keras.io` does: batch 32, and the first run is the warm-up. Ten batches are kept,
or as many as `SECONDS` take, at least three; ``--full`` keeps all 300 of the protocol. Models go from the cheapest to
the dearest; one whose files are not there yet is left for the end. ROWS gets one line of JSON per cell when it is
measured, and only what failed is measured twice, so that a run can be ended and goes on later, on another machine too:
a model of which that one has not all cells is measured anew there. No cell begins after ``--until``.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import keras_io_blocks
import psutil
from keras_io_blocks import BATCH, CELLS, FULL, KERAS, Cell, Json

from kexport import machine, runtimes, store
from kexport.errors import KexportError
from kexport.evidence.benchmark import BenchRequest, BenchSettings
from kexport.evidence.protocols import PROTOCOLS
from kexport.pipeline.measuring import alone
from kexport.sources import catalog
from kexport.specs import ModelSpec, WeightsSpec

TITLE = "keras.io/api/applications, measured: batch 32"
REPETITIONS, SECONDS = 10, 12.0
WAIT_SECONDS = 20
FORTY = Path(__file__).resolve().parents[2] / "parity" / "float32-forty.json"
Files = dict[tuple[str, str], Path]
SHORT = BenchSettings(batch=BATCH, warmup=0, repetitions=REPETITIONS, max_seconds=SECONDS)


def main(arguments: Sequence[str]) -> int:
    """The command line; exit code 1 where a cell is missing or failed."""
    options = _parse(arguments)
    rows = _read(options.rows)
    for row in _measured(options, rows):
        rows.append(row)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
        print(f"{datetime.now(UTC):%H:%M:%S} {keras_io_blocks.told(row)}", file=sys.stderr, flush=True)
    result = {"title": TITLE, "machine": machine.describe(), "rows": rows}
    if options.json:
        text = json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n"
        options.json.write_text(text, encoding="utf-8")
    print(keras_io_blocks.whole(result))
    return int(len(rows) < len(catalog.APPLICATIONS) * len(CELLS) or any(row["reason"] for row in rows))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("rows", type=Path, help="JSON lines: what is measured, and what is measured already")
    parser.add_argument("folders", type=Path, nargs="+", help="artifact directories")
    parser.add_argument("--models", type=lambda text: text.split(","), default=ordered(), help="default: all")
    parser.add_argument("--full", type=lambda text: text.split(","), default=[], help="measured by the whole protocol")
    parser.add_argument("--until", type=_clock, help="HH:MM, UTC: no cell begins after it")
    parser.add_argument("--wait", action="store_true", help="wait for files that are not there yet")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    return parser.parse_args(arguments)


def ordered() -> list[str]:
    """All applications, by the time of one image in all runtimes, as the table of float32 has it."""
    known: Json = json.loads(FORTY.read_text(encoding="utf-8"))
    cost: Counter[str] = Counter()
    for session in known["sessions"]:
        cost[session["model"]] += session["median_seconds"]
    return sorted((each.name for each in catalog.APPLICATIONS), key=lambda name: cost.get(name, math.inf))


def _clock(text: str) -> datetime:
    """The nearest such time: in the evening 00:30 is tonight, not that of this morning."""
    hour, minute = map(int, text.split(":"))
    now = datetime.now(UTC)
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return min((today + timedelta(days=days) for days in (-1, 0, 1)), key=lambda found: abs(found - now))


def _read(path: Path) -> list[Json]:
    """What is measured already: a cell that failed is not, nor a part of a model that another machine has begun."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()
    good = [row for row in rows if not row["reason"]]
    counts = Counter(map(_run_of, good))
    here = processor()
    return [row for row in good if row["processor"] == here or counts[_run_of(row)] == len(CELLS)]


def _run_of(row: Json) -> tuple[str, str, str]:
    return row["model"], row["protocol"], row["processor"]


def processor() -> str:
    """What a row says of the machine that it was measured on."""
    return str(machine.describe()["processor"])


def _measured(options: argparse.Namespace, rows: Sequence[Json]) -> Iterator[Json]:
    """The cells that are not measured yet, model by model."""
    known = {(row["model"], row["cell"], row["protocol"]) for row in rows}
    left = [*((name, FULL) for name in options.full), *((name, "") for name in options.models)]
    while left:
        there = _artifacts(options.folders)
        ready = next((each for each in left if each[0] in there), None)
        if ready is None and options.wait and not _late(options):
            time.sleep(WAIT_SECONDS)
            continue
        if ready is None:
            return
        left.remove(ready)
        name, protocol = ready
        for cell in CELLS:
            if _late(options):
                return
            if (name, cell.key, protocol) not in known:
                yield _row(name, cell, protocol, there[name])


def _late(options: argparse.Namespace) -> bool:
    return options.until is not None and datetime.now(UTC) >= options.until


def _artifacts(folders: Sequence[Path]) -> dict[str, Files]:
    """Model -> its files by format and scheme, where every cell of the model has one that is as it should be."""
    found: dict[str, Files] = {}
    for folder in folders:
        for record in store.read_records(folder):
            if record.artifact and record.status == "PASS":
                place = found.setdefault(record.model, {})
                place.setdefault((record.format, record.scheme), folder / record.artifact.path)
    needed = {(cell.format, cell.scheme) for cell in CELLS if cell != KERAS}
    return {name: files for name, files in found.items() if needed <= files.keys()}


def _row(name: str, cell: Cell, protocol: str, files: Files) -> Json:
    """The samples of one cell, and what else the machine did meanwhile; or ``reason``: why there are none."""
    request = _request(name, cell, protocol, files)
    row: Json = {"model": name, "cell": cell.key, "protocol": protocol, "reason": "", "batch": BATCH}
    row["processor"] = processor()
    if request.path:
        row["size_bytes"] = Path(request.path).stat().st_size
    before, start = _spent(), time.monotonic()
    try:
        record = alone(request)
    except KexportError as error:
        return row | {"reason": error.message}
    others = (_spent() - before) / (time.monotonic() - start) / (psutil.cpu_count() or 1)
    return row | {
        "others": round(min(1.0, max(0.0, others)), 3),
        "samples_seconds": [float(f"{each:.5g}") for each in record.samples_seconds],
        "first_seconds": record.first_seconds,
        "threads": record.threads,
        "effective": record.effective,
        "peak_memory_bytes": record.peak_memory_bytes,
    }


def _spent() -> float:
    """Processor seconds that all processes of the machine have taken, but for this one and those it has ended."""
    times = psutil.cpu_times()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(each.ru_utime + each.ru_stime for each in usage)
    return times.user + times.nice + times.system - own


def _request(name: str, cell: Cell, protocol: str, files: Files) -> BenchRequest:
    low, high = catalog.input_range(catalog.application(name))
    settings = SHORT
    if protocol == FULL:
        known = PROTOCOLS["keras.io"]
        settings = replace(SHORT, repetitions=known.repetitions, max_seconds=known.max_seconds)
    side = catalog.application(name).default_size
    common: dict[str, Any] = {"settings": settings, "low": low, "high": high, "static_size": (side, side)}
    if cell == KERAS:
        spec = ModelSpec(application=name, weights=WeightsSpec(kind="random", seed=0))
        return BenchRequest(runtime="keras", model=spec, **common)
    path = files[cell.format, cell.scheme]
    return BenchRequest(runtime=runtimes.for_format(cell.format).name, path=str(path), **common)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
