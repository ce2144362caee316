"""A new head on a known backbone: the same model exported again with other weights in its head, in one program.

    python tests/benchmarks/new_head.py [--schemes float32 int8] [--kinds live file] [--rounds 5] [--json FILE]

MobileNetV3Small at 224x224 with a head of five classes; the weights of the backbone and the photographs of calibration
come from ``KEXPORT_LAB`` (34 are taken), else the weights are seeded and the images synthetic. The program holds Keras;
the memory of int8 lies in an empty folder. The first export is told apart from those after it, each of which has a head
of its own. Seconds are wall and CPU, the latter of the program and of every process below it, the warm ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAB = Path(os.environ.get("KEXPORT_LAB") or ROOT.parent / "shared" / "imagenet")
IMAGES = 34
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """Of a process, of those below it, and of those below it that have ended."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        number = int(path.parent.name)
        parents[number], used[number] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    below, grown = {root}, True
    while grown:
        more = {number for number, parent in parents.items() if parent in below} - below
        below, grown = below | more, bool(more)
    return sum(used[number] for number in below)


def backbone_and_head() -> Any:
    """The model with its known weights, its head seeded."""
    import keras

    weights = LAB / "mobilenetv3small_1.0_224.weights.h5"
    known = keras.applications.MobileNetV3Small(input_shape=(224, 224, 3), weights=None)
    if weights.is_file():
        known.load_weights(weights)
    else:
        from kexport.sources.weights import random

        random.randomize(known, seed=0, low=0.0, high=255.0)
    features = keras.layers.GlobalAveragePooling2D()(known.get_layer("activation_17").output)
    return keras.Model(known.input, keras.layers.Dense(5, activation="softmax", name="head")(features), name="flowers")


def other_head(model: Any, number: int) -> None:
    """Other weights in the head."""
    import numpy as np

    head = model.get_layer("head")
    drawn = np.random.default_rng(number).normal(size=head.kernel.shape) * 0.05
    head.set_weights([drawn.astype(np.float32), np.zeros(head.bias.shape, np.float32)])


def photographs(folder: Path) -> str:
    """The calibration set."""
    found = sorted((LAB / "images").glob("*.jpg"))[:IMAGES]
    if not found:
        return "synthetic:0"
    folder.mkdir()
    for path in found:
        shutil.copy(path, folder)
    return str(folder)


def exported(source: Any, scheme: str, calibration: str, folder: Path) -> dict[str, Any]:
    """One export and what it took; step seconds are wall."""
    import kexport

    start, before = time.perf_counter(), cpu_seconds(os.getpid())
    options = {"calibration": calibration} if scheme == "int8" else {}
    (record,) = kexport.export(source, formats="onnx", schemes=scheme, directory=str(folder), **options)
    found = {"wall_s": time.perf_counter() - start, "cpu_s": cpu_seconds(os.getpid()) - before}
    assert record.artifact is not None, record.reason
    return {**found, "steps": dict(record.cost.seconds), "sha256": record.artifact.sha256}


def measure(kind: str, scheme: str, rounds: int) -> dict[str, Any]:
    """One program: an export, then ``rounds`` more, each with another head."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["KEXPORT_CACHE"] = f"{name}/cache"
        model, calibration = backbone_and_head(), photographs(Path(name) / "photographs")
        found = []
        for number in range(rounds + 1):
            other_head(model, number)
            source: Any = model
            if kind == "file":
                source = f"{name}/flowers{number}.keras"
                model.save(source)
            found.append(exported(source, scheme, calibration, Path(name) / f"out{number}"))
            print(kind, scheme, number, json.dumps(found[-1]), file=sys.stderr, flush=True)
    return {"kind": kind, "scheme": scheme, "first": found[0], "later": found[1:]}


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemes", nargs="+", default=["float32", "int8"])
    parser.add_argument("--kinds", nargs="+", default=["live", "file"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="in this program: the first kind and scheme")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.kinds[0], asked.schemes[0], asked.rounds)))
        return
    found = [_apart(kind, scheme, asked.rounds) for kind in asked.kinds for scheme in asked.schemes]
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found), end="")


def _apart(kind: str, scheme: str, rounds: int) -> dict[str, Any]:
    """As `measure`, in a program of its own."""
    words = ["--one", "--kinds", kind, "--schemes", scheme, "--rounds", str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(found: list[dict[str, Any]]) -> str:
    """The medians in Markdown."""
    lines = [
        "| model | scheme | first: wall s | CPU s | later, medians: wall s | CPU s | all later: wall s |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in found:
        first, later = each["first"], each["later"]
        wall, cpu = (statistics.median(one[name] for one in later) for name in ("wall_s", "cpu_s"))
        every = ", ".join(f"{one['wall_s']:.2f}" for one in later)
        times = f"{first['wall_s']:.2f} | {first['cpu_s']:.2f} | {wall:.2f} | {cpu:.2f}"
        lines.append(f"| {each['kind']} | {each['scheme']} | {times} | {every} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
