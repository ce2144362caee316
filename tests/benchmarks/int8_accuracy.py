"""The first part of int8_vs_peers.py: what int8 costs in accuracy, kexport beside the quantizers that exist.

One row per network and tool: the quantizer in a process of its own, then its file in another, on the same photographs
against the same answers of Keras. All rows are judged by the same code, kexport's too.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import int8_networks
import int8_peers
import numpy as np
import processes
from int8_networks import Network

from kexport import store
from kexport.records import Record, Status

GIB = 2**30
LIMIT_BYTES, LIMIT_SECONDS = 16 * GIB, 1800
FORMATS = ("onnx", "tflite")
OWN = "kexport"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The programs that are run: this comparison's own tasks, and the interpreter that has the peers."""

    script: Path
    peers_python: str

    def task(self, *arguments: str | Path) -> tuple[str, str]:
        """One task of this comparison, in a process of its own."""
        return self._run([sys.executable, self.script, "--task", *arguments])

    def quantize(self, *arguments: str | Path) -> tuple[str, str]:
        """One peer, with the peers' interpreter."""
        return self._run([self.peers_python, self.script.with_name("int8_peers.py"), *arguments])

    def export(self, *arguments: str | Path) -> tuple[str, str]:
        """kexport's command."""
        return self._run([sys.executable, "-m", "kexport", "export", *arguments, "--json"])

    def _run(self, command: Sequence[str | Path]) -> tuple[str, str]:
        return processes.run(list(map(str, command)), limit_bytes=LIMIT_BYTES, limit_seconds=LIMIT_SECONDS)


def measure(network: Network, lab: Path, tools: Tools) -> tuple[list[Json], Json]:
    """The rows of a network, and how its two int8 files of kexport agree with each other."""
    with tempfile.TemporaryDirectory(prefix="kexport-int8-") as name:
        folder = Path(name)
        done, reason = tools.task("prepare", network.name, lab, folder)
        if not done:
            raise SystemExit(f"{network.name}: nothing to quantize: {reason}")
        rows = []
        for row in [*_own(network, lab, folder, tools), *_peers(folder, tools)]:
            rows.append({"network": network.name} | row | {"broken": broken(network, row)})
            print(f"{network.name}: {row['title']} {row['format']}: {told(row)}", file=sys.stderr, flush=True)
        return rows, mutual(network, folder)


def told(row: Json) -> str:
    """A row in a few words."""
    if row["reason"]:
        return str(row["reason"])
    accuracy = row["accuracy"]
    loads = "loads" if not row["load_problem"] else "does not load with the default delegate"
    return f"drop {accuracy['top1_drop_points']:+.2f}, agreement {accuracy['top1_agreement']:.3f}, {loads}"


def broken(network: Network, row: Json) -> list[str]:
    """Every bound that a file of kexport misses; peers have none. NaN misses."""
    if row["tool"] != OWN:
        return []
    if row["reason"]:
        return [row["reason"]]
    found, operators = [], row["operators"]
    drop, agreement = (float(row["accuracy"][name]) for name in ("top1_drop_points", "top1_agreement"))
    if not drop <= network.max_drop_points:
        found.append(f"drop {drop:.2f}, at most {network.max_drop_points:g}")
    if not agreement >= network.min_agreement:
        found.append(f"agreement {agreement:.3f}, at least {network.min_agreement:g}")
    if row["load_problem"]:
        found.append("does not load with the default delegate")
    elif operators and operators["delegated"] != operators["all"]:
        found.append(f"the delegate takes {operators['delegated']} of {operators['all']} operators")
    if row["recorded"] != {name: row["accuracy"][name] for name in row["recorded"]}:
        found.append(f"kexport's record says otherwise: {row['recorded']}")
    return found


def _own(network: Network, lab: Path, folder: Path, tools: Tools) -> Iterator[Json]:
    """kexport's command on the photographs themselves; the files are then judged as the peers' are."""
    calibration, evaluation = int8_networks.split(lab)
    sets = {
        option: int8_networks.link(paths, folder / option)
        for option, paths in (("calibration", calibration), ("eval", evaluation))
    }
    options = ["--schemes", "float32,int8", "--formats", ",".join(FORMATS), "--jobs", "1", "-o", folder / OWN]
    options += [text for option, path in sets.items() for text in (f"--{option}", path)]
    _, reason = tools.export(*network.arguments(lab), *options)
    records = records_of(folder / OWN)
    for form in FORMATS:
        row = {"tool": OWN, "title": OWN, "format": form, "reason": ""}
        pair = records.get((form, "float32")), records.get((form, "int8"))
        yield row | _own_row(pair, folder, tools, reason)


def records_of(directory: Path) -> dict[tuple[str, str], Record]:
    if not (directory / store.MANIFEST).is_file():
        return {}
    return {(record.format, record.scheme): record for record in store.read_records(directory)}


def _own_row(pair: tuple[Record | None, Record | None], folder: Path, tools: Tools, reason: str) -> Json:
    before, after = pair
    if before and before.artifact and before.format == "onnx":
        (folder / int8_peers.KEXPORT_ONNX).symlink_to(folder / OWN / before.artifact.path)
    if not (before and before.artifact and after and after.artifact and after.quantization):
        return {"reason": unmade(pair, reason)}
    path = folder / OWN / after.artifact.path
    return {
        "seconds": after.quantization.seconds,
        "peak_bytes": after.quantization.peak_memory_bytes,
        "file_bytes": after.artifact.size_bytes,
        "float_bytes": before.artifact.size_bytes,
        "recorded": _recorded(after),
        "versions": {},
    } | _evaluated(path, folder, tools)


def unmade(pair: tuple[Record | None, Record | None], reason: str) -> str:
    """Why there is no pair of a float and an int8 file."""
    failed = [f"{each.scheme} {each.status}: {each.reason}" for each in pair if each and each.status is not Status.PASS]
    return "; ".join(failed) or reason or "kexport export left no record"


def _recorded(record: Record) -> Json:
    """What kexport itself says of the file, in whole images: it must be what is measured here."""
    accuracy = record.accuracy
    if accuracy is None:
        return {"images": None}
    return {name: getattr(accuracy, name) for name in ("images", "right_to_wrong", "wrong_to_right")}


def _peers(folder: Path, tools: Tools) -> Iterator[Json]:
    for name, method in int8_peers.METHODS.items():
        path = folder / f"{name}{method.suffix}"
        row = {"tool": name, "title": method.title, "format": method.suffix.removeprefix("."), "reason": ""}
        yield row | peer_row(name, path, folder, tools)


def peer_row(name: str, path: Path, folder: Path, tools: Tools) -> Json:
    source = folder / int8_peers.METHODS[name].source
    if not source.exists():
        return {"reason": f"{source.name} could not be made"}
    line, reason = tools.quantize(name, source, folder / int8_networks.CALIBRATION, path)
    found = json.loads(line) if line else {}
    if "missing" in found or not line:
        return {"reason": f"not installed ({found['missing']})" if found else reason}
    measured_against = source if source.is_file() else folder / int8_peers.CONVERTER_TFLITE
    sizes = {"file_bytes": path.stat().st_size, "float_bytes": measured_against.stat().st_size}
    return found | sizes | _evaluated(path, folder, tools)


def _evaluated(path: Path, folder: Path, tools: Tools) -> Json:
    line, reason = tools.task("evaluate", path, folder, folder / f"answers-{path.name}.npy")
    found: Json = json.loads(line) if line else {"reason": f"does not run: {reason}"}
    return found


def mutual(network: Network, folder: Path) -> Json:
    """On how many photographs kexport's two int8 files decide alike."""
    paths = [*folder.glob(f"answers-{network.application}*-int8.*.npy")]
    found: Json = {"network": network.name, "agreement": None, "images": 0, "broken": []}
    if len(paths) == len(FORMATS):
        one, other = (np.load(path).argmax(axis=1) for path in paths)
        found |= {"agreement": float((one == other).mean()), "images": len(one)}
    if not (found["agreement"] or 0.0) >= network.min_mutual_agreement:
        found["broken"] = [f"the two int8 files agree on {found['agreement']}, at least {network.min_mutual_agreement}"]
    return found
