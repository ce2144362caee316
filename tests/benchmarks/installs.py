"""parity/installs.md and .json: what each way to install takes, and what Keras's small backends export.

    python tests/benchmarks/installs.py [--size EXTRA=SITE_PACKAGES ...] [--run BACKEND=SITE_PACKAGES=DIR=LOG ...]
        [--single BACKEND=SECONDS ...] [--zoo FILE.json ...]

``--size``: the folder of a fresh environment with that extra alone; ``none`` is one with nothing but pip. ``--run``: an
export of all forty with Keras on that backend: its environment, its artifact directory and its standard error.
``--single``: wall seconds of MobileNetV3Small alone, with an empty KEXPORT_CACHE. ``--zoo``: what
`tests.benchmarks.zoo_elsewhere` wrote. What is not given stays as it was committed.
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
FORMATS = {"onnx": "ONNX", "tflite": "TFLite"}
WHAT = {
    "none": "pip alone",
    "run": "classify, bench, verify, parity from the stored reference, report, inspect, bundle",
    "light-openvino": "the same, and export to ONNX and TFLite with Keras on OpenVINO",
    "light": "the same, and export to ONNX and TFLite with Keras on JAX",
    "cpu": "everything: SavedModel, the engines tf2onnx and tflite-converter as well",
}
BACKENDS = {"jax": "Keras on JAX (`light`)", "openvino": "Keras on OpenVINO (`light-openvino`)"}


def megabytes(folder: Path) -> int:
    """What the blocks of all files take, in MiB, as ``du -sm`` counts."""
    return -(-sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*"))) // 2**20)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the page tells."""
    before = json.loads((PLACE / "installs.json").read_text(encoding="utf-8"))
    folders = dict(size.split("=", 1) for size in options.size)
    runs = [run.split("=", 3) for run in options.run]
    singles = [single.split("=", 1) for single in options.single]
    zoos = [json.loads(file.read_text(encoding="utf-8")) for file in options.zoo]
    return {
        "megabytes": before["megabytes"] | {extra: megabytes(Path(folder)) for extra, folder in folders.items()},
        "runs": before["runs"] | {name: _run(name, Path(place), Path(log), site) for name, site, place, log in runs},
        "single": before.get("single", {}) | {name: float(text) for name, text in singles},
        "zoo": before.get("zoo", {}) | {zoo.pop("backend"): zoo for zoo in zoos},
    }


def _run(name: str, place: Path, log: Path, site: str) -> dict[str, Any]:
    """One export of all forty: what it took, with what, and each of its files."""
    installed = {each.name: each.version for each in distributions(path=[site])}
    records = sorted(store.read_records(place), key=lambda record: (record.model.lower(), record.format))
    ending = re.search(r"peak memory of any process: ([\d.]+) GiB · wall time: (.+)", log.read_text(encoding="utf-8"))
    assert ending is not None, "the log of a run that ended"
    assert all(name in record.versions for record in records), f"records of another backend than {name}"
    return {
        "versions": {each: installed[each] for each in ("keras", name, "onnxruntime", "ai-edge-litert")},
        "processor": records[0].machine["processor"],
        "peak_gib": float(ending[1]),
        "wall": ending[2],
        "cells": [_cell(record) for record in records],
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


def _rows(runs: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row per network, backends and their formats side by side: the status, the largest error, the SQNR."""
    found = {(name, cell["model"], cell["format"]): cell for name, run in runs.items() for cell in run["cells"]}
    columns = [(name, form) for name in runs for form in FORMATS]
    for model in dict.fromkeys(cell["model"] for run in runs.values() for cell in run["cells"]):
        yield (model, *(_told(found[name, model, form]) for name, form in columns if (name, model, form) in found))


def _told(cell: dict[str, Any]) -> str:
    error, noise = _number(cell["logits_max_abs_error"], ".1e"), _number(cell["sqnr_db"], ".1f")
    return f"{cell['status']} {error} {noise}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _named(networks: list[str]) -> str:
    """The command for these networks; of fewer than all it names them, and claims no other."""
    return "all" if len(networks) == len(APPLICATIONS) else f"export {' '.join(networks)}"


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    sizes = [(f"`{extra}`", f"{found['megabytes'][extra]:,}", WHAT[extra]) for extra in WHAT]
    runs = {name: found["runs"][name] for name in BACKENDS}
    yield from (
        "# Installs",
        "",
        "`tests/benchmarks/installs.py`: packages of a fresh environment with Python 3.11, pip and setuptools among",
        "them.",
        "",
        table(("extra", "MiB", "for"), sizes, text_columns=3),
        "",
        "## Without TensorFlow",
        "",
        *(line for name, run in runs.items() for line in _of_run(name, run)),
        *(line for name in runs for line in _of_zoo(name, found["zoo"][name])),
        "* Other work used the machine during both runs, and not the same: their times do not compare.",
        f"  MobileNetV3Small alone, nothing kept of runs before, one after the other: {_singles(found['single'])}.",
        "* `random:SEED` begins with the same random numbers, and then scales layers by what they compute: the",
        "  weights, and with them the sha256 of artifacts, are those of one backend.",
        "",
        "Every file against Keras on the backend that built it: the largest error of its logits, and their signal to",
        "noise in dB.",
        "",
        table(
            ("network", *(f"{form}, {name}" for name in runs for form in FORMATS.values())),
            list(_rows(runs)),
            text_columns=1 + 2 * len(runs),
        ),
        *(
            f"\n{cell['model']} {cell['format']}, {name}: {cell['reason']}"
            for name, run in runs.items()
            for cell in run["cells"]
            if cell["reason"]
        ),
    )


def _singles(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds[name]:.0f} s" for name in BACKENDS)


def _of_run(name: str, run: dict[str, Any]) -> tuple[str, ...]:
    cells = run["cells"]
    networks, passed = sorted({cell["model"] for cell in cells}), sum(cell["status"] == "PASS" for cell in cells)
    versions = ", ".join(f"{each} {version}" for each, version in run["versions"].items())
    return (
        f"* {BACKENDS[name]}: `kexport {_named(networks)} --formats onnx,tflite --weights random:0`:",
        f"  {passed} of {len(cells)} cells PASS, wall time {run['wall']}, peak memory of any process",
        f"  {run['peak_gib']:.2f} GiB; {versions}; {run['processor']}.",
    )


def _of_zoo(name: str, zoo: dict[str, Any]) -> Iterator[str]:
    """The small models that this backend builds and answers for, and those that it does not."""
    right = zoo["models"] - len(zoo["not"])
    yield f"* {BACKENDS[name]}: of the {zoo['models']} models of [the zoo](../docs/zoo.md) {right} are native and"
    yield "  right in both formats; the others:"
    yield from (f"  * `{model}`: {why}" for model, why in zoo["not"].items())


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", action="append", default=[])
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--single", action="append", default=[])
    parser.add_argument("--zoo", action="append", default=[], type=Path)
    found = measured(parser.parse_args())
    (PLACE / "installs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (PLACE / "installs.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
