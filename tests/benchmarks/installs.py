"""parity/installs.md and .json: what each way to install takes, and what the light one exports.

    python tests/benchmarks/installs.py --size EXTRA=SITE_PACKAGES ... --light DIR --log FILE

``--size``: the folder of a fresh environment with that extra alone; ``none`` is one with nothing but pip, and ``light``
has to be among them. ``--light``: the artifact directory of an export with Keras on JAX, ``--log`` its standard error.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from md_text import table

from kexport import store

PLACE = Path(__file__).resolve().parents[2] / "parity"
WHAT = {
    "none": "pip alone",
    "run": "classify, bench, verify, parity from the stored reference, report, inspect, bundle",
    "light": "the same, and export to ONNX and TFLite with Keras on JAX",
    "cpu": "everything: SavedModel, the engines tf2onnx and tflite-converter as well",
}


def megabytes(folder: Path) -> int:
    """What the blocks of all files take, in MiB, as ``du -sm`` counts."""
    return -(-sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*"))) // 2**20)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the page tells."""
    folders = dict(size.split("=", 1) for size in options.size)
    installed = {each.name: each.version for each in distributions(path=[folders["light"]])}
    records, log = store.read_records(options.light), options.log.read_text(encoding="utf-8")
    ending = re.search(r"peak memory of any process: ([\d.]+) GiB · wall time: (.+)", log)
    assert ending is not None, "the log of a run that ended"
    return {
        "megabytes": {extra: megabytes(Path(folder)) for extra, folder in folders.items()},
        "versions": {name: installed[name] for name in ("keras", "jax", "onnxruntime", "ai-edge-litert")},
        "processor": records[0].machine["processor"],
        "networks": sorted({record.model for record in records}),
        "cells": len(records),
        "passed": sum(record.status == "PASS" for record in records),
        "peak_gib": float(ending[1]),
        "wall": ending[2],
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    rows = [(f"`{extra}`", f"{size:,}", WHAT[extra]) for extra, size in found["megabytes"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield from (
        "# Installs",
        "",
        "`tests/benchmarks/installs.py`: packages of a fresh environment with Python 3.11, pip and setuptools among",
        "them.",
        "",
        table(("extra", "MiB", "for"), rows, text_columns=3),
        "",
        "## Keras on JAX",
        "",
        f"`light`, {versions}, on {found['processor']}, a machine that others used as well:",
        "",
        f"* `kexport export {' '.join(found['networks'])} --formats onnx,tflite --weights random:0`:",
        f"  {found['passed']} of {found['cells']} cells PASS, wall time {found['wall']}, peak memory of any process",
        f"  {found['peak_gib']:.2f} GiB. Nothing is claimed here of other applications.",
        "* JAX compiles every operation of every shape once: that is most of the time of building a network.",
        "* `random:SEED` begins with the same random numbers, and then scales layers by what they compute: the",
        "  weights, and with them the sha256 of artifacts, are not those that TensorFlow gives.",
    )


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", action="append", required=True)
    parser.add_argument("--light", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    found = measured(parser.parse_args())
    (PLACE / "installs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (PLACE / "installs.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
