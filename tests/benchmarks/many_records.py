"""Folders of very many records: what `--resume`, `verify` and `report` take, and how it grows.

    python -m tests.benchmarks.many_records [--counts 1000 10000] [-o parity/many-records.md]

Each record is that of one small model in ONNX, written by a real export once and then repeated under other names, with
the fingerprint of its own request. `--resume` finds all of them complete and writes the manifest anew. Times are those
of a command with its start, wall and CPU; the growth is the CPU time over that of the first count, per factor of ten.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kexport import machine, store
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


def run(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that has to end well."""
    start, before = time.monotonic(), cpu_seconds()
    done = subprocess.run(command, check=False, capture_output=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr.decode()[-3000:]}")
    return time.monotonic() - start, cpu_seconds() - before


def cpu_seconds() -> float:
    """Of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write a table, to stdout unless said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args(arguments)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        once = made_once(Path(name))
        for count in asked.counts:
            folder = Path(name) / str(count)
            fill(folder, count, *once)
            for what, words in COMMANDS.items():
                command = [sys.executable, "-m", "kexport", *(word.format(folder=folder) for word in words)]
                found[what].append(run(command))
                print(f"{what}, {count}: %.1f s, CPU %.1f s" % found[what][-1], file=sys.stderr, flush=True)
    text = page(asked.counts, found)
    if asked.output is None:
        print(text, end="")
    else:
        asked.output.write_text(text, encoding="utf-8")
    return 0


def page(counts: Sequence[int], found: dict[str, list[tuple[float, float]]]) -> str:
    """The table in Markdown."""
    tens = math.log10(counts[-1] / counts[0])
    header = ["command", *(f"{count:,} records: wall s | CPU s" for count in counts), "growth of CPU per factor of ten"]
    lines = [f"| {' | '.join(header)} |", "| --- |" + " ---: |" * (2 * len(counts) + 1)]
    for what, times in found.items():
        growth = f"{(times[-1][1] / times[0][1]) ** (1 / tens):.1f}" if tens else "-"
        lines.append(f"| {what} | {' | '.join(f'{wall:.1f} | {cpu:.1f}' for wall, cpu in times)} | {growth} |")
    told = ", ".join(f"{key} {value}" for key, value in machine.hardware().items())
    return "\n".join([HEAD, *lines, "", f"Machine: {told}.", ""])


HEAD = """# Many records

`python -m tests.benchmarks.many_records -o parity/many-records.md` writes this page: folders of records of one small
model in ONNX under other names, and what each command takes over all of them, its start included. Ten seconds each are
wanted for 10,000 records. CPU seconds count where the machine is busy with other work.
"""


if __name__ == "__main__":
    sys.exit(main())
