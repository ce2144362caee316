"""Folders of very many records: what `--resume`, `verify` and `report` take, and how it grows.

    python -m tests.benchmarks.many_records [--counts 1000 10000]

Each record is that of one small model in ONNX, written by a real export once and then repeated under other names, with
the fingerprint of its own request. `--resume` finds all of them complete and writes the manifest anew. Times are wall
seconds of a command with its start; the growth is the time over that of the first count, per factor of ten.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kexport import store
from kexport.pipeline import resume
from kexport.records import Record
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.places import ROOT

COMMANDS = {
    "resume": ("export", "@{folder}/sources.txt", "--formats", "onnx", "--resume", "-o", "{folder}/out"),
    "verify": ("verify", "{folder}/out"),
    "report, terminal": ("report", "{folder}/out"),
    "report, md": ("report", "{folder}/out", "--format", "md"),
    "report, json": ("report", "{folder}/out", "--format", "json"),
}
MODEL = """
import sys, keras
keras.utils.set_random_seed(0)
layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
keras.Sequential(layers).save(sys.argv[1])
"""


def made_once(folder: Path) -> tuple[Path, Record, bytes]:
    """One model file, its record and its artifact, by the program itself."""
    source = folder / "once.keras"
    run([sys.executable, "-c", MODEL, str(source)])
    command = [sys.executable, "-m", "kexport", "export", str(source), "--formats", "onnx", "-o", str(folder / "once")]
    run(command)
    (record,) = store.read_records(folder / "once")
    assert record.artifact is not None
    return source, record, (folder / "once" / record.artifact.path).read_bytes()


def fill(folder: Path, count: int, source: Path, record: Record, artifact: bytes) -> None:
    """So many sources and records, and the list of the sources."""
    names = [f"flowers{number:05}" for number in range(count)]
    out, sources = folder / "out", folder / "sources"
    sources.mkdir(parents=True)
    for name in names:
        path = sources / f"{name}.keras"
        path.write_bytes(source.read_bytes())
        cell = Cell(model=ModelSpec(file=str(path), weights=WeightsSpec(kind="model")), format=Format.ONNX)
        assert record.artifact is not None
        place = f"{name}/{cell.file_name}"
        own = replace(
            record,
            model=name,
            artifact=replace(record.artifact, path=place),
            parity=None if record.parity is None else replace(record.parity, reference_sha256=""),
            versions={**record.versions, resume.REQUEST: resume.fingerprint(cell)},
            provenance=None,
        )
        (out / name).mkdir(parents=True)
        (out / place).write_bytes(artifact)
        store.write_record(out, own, cell.file_name)
    (folder / "sources.txt").write_text("".join(f"{sources / name}.keras\n" for name in names))
    store.write_manifest(out)


def run(command: Sequence[str]) -> float:
    """Wall seconds of a command that has to end well."""
    start = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr.decode()[-3000:]}")
    return time.monotonic() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one line a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    counts = parser.parse_args(arguments).counts
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        once = made_once(Path(name))
        for count in counts:
            folder = Path(name) / str(count)
            fill(folder, count, *once)
            for what, words in COMMANDS.items():
                command = [sys.executable, "-m", "kexport", *(word.format(folder=folder) for word in words)]
                found[what].append(run(command))
    for what, seconds in found.items():
        told = ", ".join(f"{second:.1f} s for {count}" for second, count in zip(seconds, counts, strict=True))
        tens = math.log10(counts[-1] / counts[0])
        growth = f", {(seconds[-1] / seconds[0]) ** (1 / tens):.1f} times per factor of ten" if tens else ""
        print(f"{what}: {told}{growth}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
