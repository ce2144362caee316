"""A Dask cluster of separate worker processes, one killed in the middle of a run, against the run of one machine.

    python -m tests.pipeline.cluster [--models 200] [--formats onnx] [--workers 4] [--md parity/cluster.md]
        [--json parity/cluster.json]

So many small models of random weights become files of these formats twice: by ``kexport export`` on this machine, and
with ``--cluster`` by workers that are processes of their own. When a quarter of the records are there one of these is
killed (SIGKILL). Then every cell has to be there, no process of the dead worker may be left, ``kexport verify`` has to
find nothing in both folders, all artifacts have to have the same bytes, and all records have to say the same but for
what each run has of its own: times, costs, machine, and the names of the folders. Exit 1 where anything does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kexport import machine, store
from kexport.records import Record, encode
from kexport.store.directory import record_paths

MODELS = """
import sys, keras, numpy as np
folder, count = sys.argv[1], int(sys.argv[2])
layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization(), keras.layers.ReLU()]
layers += [keras.layers.Flatten(), keras.layers.Dense(5)]
model, random = keras.Sequential(layers), np.random.default_rng(0)
for number in range(count):
    model.set_weights([abs(random.normal(size=value.shape)) * 0.1 for value in model.get_weights()])
    model.save(f"{folder}/small{number:03}.keras")
"""
OWN = {"cost", "made", "machine", "provenance", "reproduce"}
"""What each run has of its own."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was seen; ``problems`` is empty if all holds."""

    models: int
    formats: str
    workers: int
    local_seconds: float
    cluster_seconds: float
    killed_at_records: int
    orphans: int
    problems: tuple[str, ...]


def run(*, models: int, workers: int, formats: str = "onnx") -> Result:
    cells = models * len(formats.split(","))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        subprocess.run([sys.executable, "-c", MODELS, str(folder / "models"), str(models)], check=True, timeout=600)
        start = time.monotonic()
        export(folder, "local", formats).wait()
        local = time.monotonic() - start
        with cluster(folder, workers) as (address, processes):
            start = time.monotonic()
            made = export(folder, "cluster", formats, "--cluster", address)
            killed_at = kill_one(made, folder / "cluster", processes, after=cells // 4)
            time.sleep(2.0)
            orphans = [each for each in killed_at[1] if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            made.wait()
            seconds = time.monotonic() - start
        problems = compare(folder / "local", folder / "cluster", cells)
        problems += [f"{len(orphans)} processes of the dead worker are left"] * bool(orphans)
        return Result(
            models=models, formats=formats, workers=workers, local_seconds=round(local, 1),
            cluster_seconds=round(seconds, 1), killed_at_records=killed_at[0], orphans=len(orphans),
            problems=tuple(problems),
        )  # fmt: skip


def export(folder: Path, output: str, formats: str, *more: str) -> subprocess.Popen[bytes]:
    words = ["export", str(folder / "models" / "*.keras"), "--formats", formats, "-o", str(folder / output), *more]
    log = (folder / f"{output}.log").open("wb")
    return subprocess.Popen([sys.executable, "-m", "kexport", *words], stdout=log, stderr=log)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler, and its workers: processes of one thread, without a nanny that starts them again."""
    told = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    python = [sys.executable, "-m"]
    ask = ["--scheduler-file", str(told), "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *ask], **quiet
    )
    started = [
        subprocess.Popen([*python, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *ask], **quiet)
        for _ in range(workers)
    ]
    try:
        while not told.exists():
            time.sleep(0.1)
        yield json.loads(told.read_text())["address"], started
    finally:
        for process in (*started, scheduler):
            process.kill()
            process.wait()


def kill_one(
    made: subprocess.Popen[bytes], folder: Path, processes: Sequence[subprocess.Popen[bytes]], *, after: int
) -> tuple[int, list[psutil.Process]]:
    """Kill the first worker that has processes, once so many records are there; how many, and those processes."""
    while made.poll() is None:
        there = len(record_paths(folder))
        for process in processes if there >= after else ():
            inner = psutil.Process(process.pid).children(recursive=True)
            if inner:
                os.kill(process.pid, signal.SIGKILL)
                return there, inner
        time.sleep(0.2)
    raise SystemExit("the run ended before a worker could be killed:\n" + (folder.parent / "cluster.log").read_text())


def compare(ours: Path, theirs: Path, count: int) -> list[str]:
    problems = [f"{folder.name}: {problem}" for folder in (ours, theirs) for problem in store.verify(folder)]
    local, remote = ({record.label: record for record in store.read_records(folder)} for folder in (ours, theirs))
    problems += [f"{len(found)} records, expected {count}" for found in (local, remote) if len(found) != count]
    for name in sorted(set(local) & set(remote)):
        first, second = said(local[name]), said(remote[name])
        problems += [f"{name}: {key} differs" for key in first if first[key] != second.get(key)]
    return problems


def said(record: Record) -> dict[str, Any]:
    """What a record says, but for what its run has of its own."""
    content: dict[str, Any] = json.loads(encode(record))
    return {key: value for key, value in content.items() if key not in OWN}


def page(result: Result) -> str:
    told = ", ".join(f"{key} {value}" for key, value in machine.hardware().items())
    verdict = "all of it holds" if not result.problems else "**does not hold**: " + "; ".join(result.problems[:5])
    return f"""# A cluster, and a worker that is killed

`python -m tests.pipeline.cluster --models {result.models} --formats {result.formats} --workers {result.workers}` writes
this page: {result.models} small models to {result.formats}, each with its parity, by a run on this machine and by a
Dask cluster of {result.workers} worker processes of one thread each, into a folder that they share. One of them was
killed (SIGKILL) when {result.killed_at_records} records were there.

| way | wall s |
| --- | ---: |
| one machine | {result.local_seconds} |
| cluster of {result.workers} processes on the same machine, one killed | {result.cluster_seconds} |

Every cell complete, no process of the dead worker left after two seconds, `kexport verify` without a finding in both
folders, the same bytes in every artifact, the same records but for {", ".join(sorted(OWN))}:
{verdict}. The workers share the cores of one machine: the times tell the overhead, not what more machines give.

Machine: {told}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--formats", default="onnx")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--md", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    result = run(models=asked.models, workers=asked.workers, formats=asked.formats)
    text = json.dumps({**result.__dict__, "machine": machine.hardware()}, indent=2, sort_keys=True) + "\n"
    print(text, end="")
    if asked.json is not None:
        asked.json.write_text(text, encoding="utf-8")
    if asked.md is not None:
        asked.md.write_text(page(result), encoding="utf-8")
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
