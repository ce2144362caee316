"""parity/installs.md and .json: what each way to install takes, and what the light one exports.

    python tests/benchmarks/installs.py --size EXTRA=SITE_PACKAGES ... --light DIR --log FILE

``--size``: the folder of a fresh environment with that extra alone; ``none`` is one with nothing but pip, and ``light``
has to be among them; of others the committed number stays. ``--light``: the artifact directory of an export with Keras
on JAX, ``--log`` its standard error.
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
from kexport.records import Record
from kexport.sources.catalog import APPLICATIONS

PLACE = Path(__file__).resolve().parents[2] / "parity"
FORMATS = ("onnx", "tflite")
HEADER = (
    "network", "ONNX", "TFLite", "ONNX: max error", "TFLite: max error", "ONNX: SQNR dB", "TFLite: SQNR dB",
)  # fmt: skip
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
    sizes = json.loads((PLACE / "installs.json").read_text(encoding="utf-8"))["megabytes"]
    return {
        "megabytes": sizes | {extra: megabytes(Path(folder)) for extra, folder in folders.items()},
        "versions": {name: installed[name] for name in ("keras", "jax", "onnxruntime", "ai-edge-litert")},
        "processor": records[0].machine["processor"],
        "cells": [_cell(record) for record in sorted(records, key=lambda record: (record.model, record.format))],
        "peak_gib": float(ending[1]),
        "wall": ending[2],
    }


def _cell(record: Record) -> dict[str, Any]:
    """What the table says of one file."""
    outputs = record.parity.outputs if record.parity is not None else ()
    return {
        "model": record.model,
        "format": record.format,
        "status": str(record.status),
        "reason": record.reason,
        "logits_max_abs_error": max((each.logits_max_abs_error for each in outputs), default=None),
        "sqnr_db": min((each.sqnr_db for each in outputs), default=None),
    }


def _rows(cells: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """One row per network, its formats side by side."""
    for model in dict.fromkeys(cell["model"] for cell in cells):
        found = {cell["format"]: cell for cell in cells if cell["model"] == model}
        yield (
            model,
            *(found[form]["status"] for form in FORMATS),
            *(_number(found[form]["logits_max_abs_error"], ".1e") for form in FORMATS),
            *(_number(found[form]["sqnr_db"], ".1f") for form in FORMATS),
        )


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _named(networks: list[str]) -> str:
    """The command for these networks; of fewer than all it names them, and claims no other."""
    return "all" if len(networks) == len(APPLICATIONS) else f"export {' '.join(networks)}"


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    rows = [(f"`{extra}`", f"{size:,}", WHAT[extra]) for extra, size in found["megabytes"].items()]
    cells = found["cells"]
    networks, passed = sorted({cell["model"] for cell in cells}), sum(cell["status"] == "PASS" for cell in cells)
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
        f"* `kexport {_named(networks)} --formats onnx,tflite --weights random:0`:",
        f"  {passed} of {len(cells)} cells PASS, wall time {found['wall']}, peak memory of any process",
        f"  {found['peak_gib']:.2f} GiB.",
        "* JAX compiles every operation of every shape once: that is most of the time of building a network.",
        "* `random:SEED` begins with the same random numbers, and then scales layers by what they compute: the",
        "  weights, and with them the sha256 of artifacts, are not those that TensorFlow gives.",
        "",
        "Every file against Keras on JAX, which built it:",
        "",
        table(HEADER, list(_rows(cells)), text_columns=3),
        *(f"\n{cell['model']} {cell['format']}: {cell['reason']}" for cell in cells if cell["reason"]),
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
