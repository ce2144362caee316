"""From ``kexport.export(model)`` to its records: a live model in two formats, against another version of kexport.

    python tests/benchmarks/live_model.py --old FOLDER [--rounds 5] [--json FILE]

FOLDER is a checkout of that version: ``git worktree add FOLDER e7d3c2d`` gives 0.1. Each version has one process, which
holds Keras and the model; the two export in turn, so that what else the machine does hits both. The first call of a
process, which is what a script sees, is told apart from those after it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOLDER = r"""
import os, sys, tempfile, time
import keras, kexport
out, sys.stdout = sys.stdout, sys.stderr
assert os.path.dirname(os.path.dirname(kexport.__file__)) == sys.argv[2], f"another version: {kexport.__file__}"
model = keras.applications.MobileNetV3Small(input_shape=(224, 224, 3), weights=None)
model.load_weights(sys.argv[1])
out.write("ready\n"); out.flush()
for _ in sys.stdin:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        records = kexport.export(model, formats=("onnx", "tflite"), directory=folder, force=True)
        seconds = time.perf_counter() - start
    assert [record.status for record in records] == ["PASS", "PASS"], records
    out.write(f"{seconds}\n"); out.flush()
"""
MAKER = """
import sys
import keras
from kexport.sources.weights import random
model = keras.applications.MobileNetV3Small(input_shape=(224, 224, 3), weights=None)
random.randomize(model, seed=0, low=0.0, high=255.0)
model.save_weights(sys.argv[1])
"""
"""Those of ``--weights random:0``: the statistics of what reaches each layer, so that the answers differ."""


class Holder:
    """The process of one version."""

    def __init__(self, tree: Path, weights: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(weights), str(tree.resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(tree), cwd=tree,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"the process ended with {self._process.wait()}")
        return line

    def seconds(self) -> float:
        """One export."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def environment(tree: Path) -> dict[str, str]:
    """What a process of the version in ``tree`` is started with."""
    return {**os.environ, "PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}


def measure(old: Path, rounds: int) -> dict[str, Any]:
    """The seconds of every round, and the ratio of the medians."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "m.weights.h5"
        subprocess.run([sys.executable, "-c", MAKER, str(weights)], env=environment(ROOT), check=True)
        return _in_turn({"old": Holder(old, weights), "new": Holder(ROOT, weights)}, rounds)


def _in_turn(holders: Mapping[str, Holder], rounds: int) -> dict[str, Any]:
    try:
        found: dict[str, list[float]] = {name: [] for name in holders}
        for _ in range(rounds + 1):
            for name, holder in holders.items():
                found[name].append(holder.seconds())
    finally:
        for holder in holders.values():
            holder.close()
    first = {name: values.pop(0) for name, values in found.items()}
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratios = {"ratio": medians["new"] / medians["old"], "first_ratio": first["new"] / first["old"]}
    return {"first": first, "seconds": found, "medians": medians, **ratios}


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {"model": "MobileNetV3Small", "formats": ["onnx", "tflite"], **measure(options.old, options.rounds)}
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
        options.json.with_suffix(".md").write_text(page(found))


def page(found: dict[str, Any]) -> str:
    """What a reader sees of it."""
    versions = {"old": "0.1", "new": "now"}
    lines = [
        f"| {versions[name]} | {found['first'][name]:.2f} | {found['medians'][name]:.2f} "
        f"| {', '.join(f'{each:.2f}' for each in seconds)} |"
        for name, seconds in found["seconds"].items()
    ]
    return "\n".join([
        "# From a live model to its records",
        "",
        "`kexport.export(model)` with a live MobileNetV3Small, ONNX and TFLite, from the call to both records;",
        "0.1 and this version in turn, nothing else running (`tests/benchmarks/live_model.py`).",
        "",
        "| version | first call, s | later calls, median s | all of them, s |",
        "| --- | ---: | ---: | --- |",
        *lines,
        "",
        f"Ratio of the first calls: {found['first_ratio']:.3f}; of the medians of later ones: {found['ratio']:.3f}.",
        "At most 0.3 is wanted.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
