"""Many small fine-tuned models in one run: processor time for each, forked, started anew, and by an earlier kexport.

    python -m tests.benchmarks.many_models [--models 60] [--before CHECKOUT] [--singles 5]

Models are MobileNet (alpha 0.25, 64x64) with a head of their own, each with its own seeded weights, saved as
``.keras``. Each way exports all of them to ONNX with one command; the processor time is that of the command and all
its processes. Forked and fresh files must have the same bytes: exit 1 otherwise. ``--singles`` measures the wall time
of one export of MobileNetV3Small in two formats as well, that many times each.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kexport.files import file_digest
from tests.places import ROOT

SINGLE = ("MobileNetV3Small", "--formats", "onnx,tflite", "--weights", "random:0")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to export: a checkout, and what is typed more."""

    name: str
    checkout: Path
    more: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one command took, with all its processes."""

    wall_seconds: float
    cpu_seconds: float


def save_models(folder: Path, count: int) -> list[Path]:
    """So many fine-tuned models, by a process of its own; their answers differ, so every version can compare them."""
    code = (
        "import sys; import keras\n"
        "from kexport.sources.weights import random\n"
        "for number in range(int(sys.argv[2])):\n"
        "    keras.backend.clear_session(); keras.utils.set_random_seed(number)\n"
        "    shape = (64, 64, 3)\n"
        "    base = keras.applications.MobileNet(input_shape=shape, alpha=0.25, include_top=False, weights=None)\n"
        "    values = keras.layers.GlobalAveragePooling2D()(base.output)\n"
        "    outputs = keras.layers.Dense(5, name='head')(values)\n"
        "    model = keras.Model(base.input, outputs)\n"
        "    random.randomize(model, seed=number, low=-1.0, high=1.0)\n"
        "    model.save(f'{sys.argv[1]}/flowers{number:03}.keras')\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(count)]
    said(subprocess.run(command, check=False, capture_output=True, cwd=ROOT))
    return sorted(folder.glob("*.keras"))


def said(done: subprocess.CompletedProcess[bytes]) -> None:
    """End the measurement with what a process said, if it did not end well."""
    if done.returncode:
        words = " ".join(map(str, done.args))
        raise SystemExit(f"{words}\nended with {done.returncode}:\n{done.stderr.decode(errors='replace')[-4000:]}")


def export(way: Way, words: Sequence[str], out: Path) -> Cost:
    """Run one command. Raises SystemExit with what it said if it does not end well."""
    command = [sys.executable, "-m", "kexport", "export", *words, *way.more, "-o", str(out)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(way.checkout)}
    said(subprocess.run(command, check=False, capture_output=True, env=environment, cwd=way.checkout))
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_seconds=wall, cpu_seconds=cpu)


def digests(out: Path) -> dict[str, str]:
    """The artifacts of a run."""
    return {path.name: file_digest(path) for path in sorted(out.rglob("*")) if path.suffix in (".onnx", ".tflite")}


def ways(before: Path | None) -> list[Way]:
    """The ways that are measured, in one run."""
    now = [Way(name="forked", checkout=ROOT), Way(name="fresh", checkout=ROOT, more=("--isolate",))]
    return now if before is None else [Way(name="before", checkout=before), *now]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one line a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--singles", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return measure(folder, options.models, ways(options.before), options.singles)


def measure(folder: Path, count: int, how: Sequence[Way], singles: int) -> int:
    """All models by each way, then single exports by turns."""
    models, found = save_models(folder, count), {}
    for way in how:
        cost = export(way, [*map(str, models), "--formats", "onnx"], folder / way.name)
        found[way.name] = digests(folder / way.name)
        print(f"{way.name}: {count} models, {cost.cpu_seconds / count:.2f} CPU s each, wall {cost.wall_seconds:.1f} s, "
              f"{len(found[way.name])} files", flush=True)  # fmt: skip
    single = {way.name: [export(way, SINGLE, folder / f"{way.name}{turn}") for turn in range(singles)] for way in how}
    for name, costs in single.items():
        if costs:
            walls, cpu = [cost.wall_seconds for cost in costs], statistics.median(cost.cpu_seconds for cost in costs)
            spread = f"{statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f})"
            print(f"{name}: one export, median of {singles}: wall {spread}, {cpu:.2f} CPU s", flush=True)
    same = found["forked"] == found["fresh"] and len(found["forked"]) == count
    print(f"forked and fresh: {'the same bytes' if same else 'OTHER BYTES'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
