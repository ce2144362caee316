"""How little noise a network has to have to decide like Keras: parity/agreement.md.

    PYTHONPATH=. KEXPORT_LAB=FOLDER python tests/benchmarks/agreement.py CACHE

What int8 adds to the logits of trained networks is measured on 400 photographs, and then only a part of it is added to
Keras's: so one sees which signal to noise a given agreement asks for, whatever makes the noise. Networks whose classes
often lie close together need more of it. Calibration is on 100 other photographs. About four minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import int8_networks
import numpy as np
import older_cpu
from md_text import table

import kexport
from kexport import machine, runtimes, store
from kexport.records import Record

PLACE = Path(__file__).resolve().parents[2] / "parity"
WANTED = {"MobileNet-a0.25": 0.97, "efficientnetlite0": 0.97, "MobileNetV3Small": 0.95}
PARTS = tuple(2 ** (-step / 4) for step in range(13))
"""Of the noise, down to an eighth: steps of 1.5 dB."""
MARGINS = (0.05, 0.1, 0.2, 0.4)
BATCH = 50
SMALLEST = 1e-37
Json = dict[str, Any]


def main() -> int:
    """Export both schemes, ask both files, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    cache, lab = parser.parse_args().cache.resolve(), int8_networks.lab_folder()
    calibration, evaluation = older_cpu.folders(lab, cache)
    rows = []
    for network in (each for each in older_cpu.networks(lab) if each.name in WANTED):
        made = older_cpu.exported(network, "portable", cache, calibration=calibration, evaluation=evaluation)
        paths = sorted(evaluation.glob("*.jpg"))
        images = np.load(older_cpu.rows_of(network, made[0], cache, paths))
        exact = logits(cache / "float32" / floating(network, cache), images)
        rows += [row(record, exact, logits(cache / "portable" / place(record), images)) for record in made]
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    facts = machine.describe()
    found = {"machine": {name: facts[name] for name in ("processor", "instructions") if name in facts}, "rows": rows}
    (PLACE / "agreement.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (PLACE / "agreement.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")
    return 0


def floating(network: older_cpu.Network, cache: Path) -> str:
    """The float32 ONNX file, which has passed against Keras."""
    directory = cache / "float32"
    if not (directory / network.name).is_dir():
        kexport.export(
            network.source, formats="onnx", schemes="float32", output=directory, jobs=1, name=network.name,
            **network.options,
        )  # fmt: skip
    (record,) = (each for each in store.read_records(directory) if each.model == network.name)
    assert record.status == "PASS", record.status
    return place(record)


def place(record: Record) -> str:
    """Where the file lies in its directory."""
    assert record.artifact is not None
    return record.artifact.path


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities, (images, classes): logits, but for a number that is one image's."""
    kind = "onnxruntime" if path.suffix == ".onnx" else "litert"
    session = runtimes.open_session(runtimes.find(kind), path, options=runtimes.SessionOptions(threads=2))
    name = session.signature[0][0].name
    parts = np.split(images, range(BATCH, len(images), BATCH))
    found = np.concatenate([next(iter(session.run({name: part}).values())) for part in parts])
    return np.log(np.maximum(found.astype(np.float64), SMALLEST))


def row(record: Record, exact: np.ndarray, noisy: np.ndarray) -> Json:
    """What a part of the noise leaves of the agreement, and how close the two largest classes lie."""
    best, second = np.sort(exact, 1)[:, [-1, -2]].T
    decided, scored = exact.argmax(1), record.accuracy
    assert scored is not None
    assert scored.logits_sqnr_db is not None
    return {
        "network": record.model,
        "format": record.format,
        "photographs": len(exact),
        "wanted": WANTED[record.model],
        "margins": {str(each): float((best - second < each).mean()) for each in MARGINS},
        "levels": [
            {
                "sqnr_db": scored.logits_sqnr_db - 20 * math.log10(part),
                "agreement": float(((exact + part * (noisy - exact)).argmax(1) == decided).mean()),
            }
            for part in PARTS
        ],
    }


def lines(found: Json) -> Iterator[str]:
    """The page."""
    rows = found["rows"]
    yield from (
        "# Which noise an agreement asks for",
        "",
        f"`tests/benchmarks/agreement.py` on {found['machine']['processor']}: trained weights, int8 with",
        f"portable kernels, {rows[0]['photographs']} photographs. What int8 adds to Keras's logits is measured; then a",
        "part of it is added to them instead of all. *Needed* is the signal to noise from which on the agreement",
        "holds its bound: where that is far above what int8 has, no choice of ranges or kernels reaches it, only",
        "more bits do.",
        "",
        _needed(rows),
        "",
        "Agreement by signal to noise, dB:",
        "",
        _levels(rows),
        "",
        "Photographs whose two likeliest classes differ by less, in logits of Keras:",
        "",
        table(
            ("network", *(f"below {each}" for each in MARGINS)),
            [(each["network"], *(f"{part:.1%}" for part in each["margins"].values())) for each in rows[::2]],
            text_columns=1,
        ),
    )


def needed(levels: list[dict[str, float]], wanted: float) -> float | None:
    """The signal to noise in dB from which on every level holds; None where the least noise does not."""
    found = None
    for level in reversed(levels):
        if not level["agreement"] >= wanted:
            break
        found = level["sqnr_db"]
    return found


def _needed(rows: list[Json]) -> str:
    header = ("network", "format", "int8, dB", "agreement", "bound", "needed, dB", "bits that are missing")
    told = []
    for each in rows:
        now, least = each["levels"][0], needed(each["levels"], each["wanted"])
        missing = math.nan if least is None else max(0.0, (least - now["sqnr_db"]) / (20 * math.log10(2)))
        told.append(
            (
                each["network"],
                each["format"],
                f"{now['sqnr_db']:.1f}",
                f"{now['agreement']:.4f}",
                f"{each['wanted']:.2f}",
                f"above {each['levels'][-1]['sqnr_db']:.1f}" if least is None else f"{least:.1f}",
                "-" if least is None else f"{missing:.1f}",
            )
        )
    return table(header, told, text_columns=2)


def _levels(rows: list[Json]) -> str:
    chosen = range(0, len(PARTS), 2)
    header = ("network", "format", *(f"{abs(20 * math.log10(PARTS[index])):+.0f} dB" for index in chosen))
    told = [
        (each["network"], each["format"], *(f"{each['levels'][index]['agreement']:.4f}" for index in chosen))
        for each in rows
    ]
    return table(header, told, text_columns=2)


if __name__ == "__main__":
    sys.exit(main())
