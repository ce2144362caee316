"""The second part of int8_vs_peers.py: how fast and how small kexport's int8 files are against its own float files.

Seeded weights: speed and size do not depend on them. Both files of a pair are run side by side (`side_by_side`), on
ONNX Runtime and on LiteRT, two threads, batch 1; what is too slow gets its profile (`int8_profile`). Calibration is
synthetic, but for the network whose memory is bounded: that one takes the photographs of the lab folder, where there
is one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import int8_networks
import side_by_side
from evidence import figure
from int8_accuracy import FORMATS, OWN, Json, Tools, records_of, unmade

from kexport.records import Record

MIN_SPEEDUP = {
    "ResNet50": 2.8,
    "MobileNetV2": 2.0,
    "VGG16": 2.5,
    "EfficientNetB0": 1.2,
    "MobileNetV3Small": 1.2,
    "MobileNetV3Large": 1.2,
}
"""Network -> how many times faster than float its int8 file has to be, on either runtime."""
MAX_SIZE_RATIO = ((20_000_000, 0.26), (3_000_000, 0.30))
"""Above so many parameters, at most this part of the float file."""
MEMORY_MODEL, MEMORY_IMAGES, MAX_PEAK_BYTES = "ResNet50", 100, 1_500_000_000
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
SYNTHETIC = "synthetic:0"
Pair = tuple[Record | None, Record | None]


def measure(name: str, lab: Path | None, tools: Tools, *, repetitions: int) -> list[Json]:
    """One row per format of one network; latencies from so many processes."""
    with tempfile.TemporaryDirectory(prefix="kexport-int8-") as text:
        folder = Path(text)
        options = ["--schemes", "float32,int8", "--formats", ",".join(FORMATS), "--jobs", "1", "-o", folder / OWN]
        calibration = _calibration(name, lab, folder)
        _, reason = tools.export(name, "--weights", "random:0", "--calibration", calibration, *options)
        records = records_of(folder / OWN)
        rows = []
        for form in FORMATS:
            pair = records.get((form, "float32")), records.get((form, "int8"))
            row = {"model": name, "format": form, "reason": ""} | _row(pair, folder / OWN, tools, reason, repetitions)
            rows.append(row | {"broken": broken(row)})
            print(f"{name} {form}: {'; '.join(rows[-1]['broken']) or 'within all bounds'}", file=sys.stderr, flush=True)
        return rows


def broken(row: Json) -> list[str]:
    """Every bound that a pair misses. NaN misses."""
    if row["reason"]:
        return [row["reason"]]
    found = []
    if too_slow(row["model"], row["speedup"]):
        found.append(f"{row['speedup']:.2f} times faster, at least {MIN_SPEEDUP[row['model']]:g}")
    most = max_size_ratio(row["parameters"])
    if most is not None and not row["file_bytes"] / row["float_bytes"] <= most:
        found.append(f"size {row['file_bytes'] / row['float_bytes']:.3f} of float, at most {most:g}")
    if bounded_memory(row) and not memory_held(row):
        found.append(f"calibration took {row['peak_bytes'] / 1e9:.2f} GB, at most {MAX_PEAK_BYTES / 1e9:g}")
    return found


def max_size_ratio(parameters: int) -> float | None:
    """The bound of a network of this size; None where there is none."""
    return next((ratio for least, ratio in MAX_SIZE_RATIO if parameters > least), None)


def bounded_memory(row: Json) -> bool:
    """Whether the bound for memory is for this row: the network and the number of images that it names."""
    return row["model"] == MEMORY_MODEL and row.get("calibration_images", 0) >= MEMORY_IMAGES


def memory_held(row: Json) -> bool:
    """Whether the peak of calibrating was measured, and is within its bound."""
    return 0 < row["peak_bytes"] <= MAX_PEAK_BYTES


def too_slow(model: str, speedup: float) -> bool:
    """Whether an int8 file is not as many times faster than float as its network's has to be. NaN is too slow."""
    least = MIN_SPEEDUP.get(model)
    return least is not None and not speedup >= least


def _calibration(name: str, lab: Path | None, folder: Path) -> str | Path:
    if name != MEMORY_MODEL or lab is None:
        return SYNTHETIC
    return int8_networks.link(int8_networks.split(lab)[0], folder / "calibration")


def _row(pair: Pair, directory: Path, tools: Tools, reason: str, repetitions: int) -> Json:
    before, after = pair
    if not (before and before.artifact and after and after.artifact and after.quantization and after.source):
        return {"reason": unmade(pair, reason)}
    files = [directory / record.artifact.path for record in (after, before) if record.artifact]
    row: Json = {
        "parameters": after.source.parameters,
        "file_bytes": after.artifact.size_bytes,
        "float_bytes": before.artifact.size_bytes,
        "calibration_images": after.quantization.images,
        "seconds": after.quantization.seconds,
        "peak_bytes": after.quantization.peak_memory_bytes,
        "sqnr_db": figure(min(output.sqnr_db for output in after.parity.outputs)) if after.parity else None,
    }
    return row | _latency(after, files, tools, repetitions)


def _latency(record: Record, files: list[Path], tools: Tools, repetitions: int) -> Json:
    """int8 against float over several processes; where it is too slow, with the profile of both."""
    found = []
    for process in range(repetitions):
        first = side_by_side.WAYS[process % 2]
        line, reason = tools.task("latency", RUNTIMES[record.format], record.model, *files, first)
        if not line or "peer_unusable" in json.loads(line):
            return {"reason": reason or json.loads(line)["peer_unusable"]}
        found.append(json.loads(line))
    merged = side_by_side.merged(found)
    speedups = sorted(1 / ratio for ratio in merged["latency_ratio_of_blocks"])
    row: Json = {
        "int8_seconds": merged["native_latency_seconds"],
        "float_seconds": merged["peer_latency_seconds"],
        "speedup": median(speedups),
        "speedup_range": [speedups[0], speedups[-1]],
        "effective": merged["effective"][0],
    }
    if too_slow(record.model, row["speedup"]):
        row["profile"] = _profile(record.model, files, tools)
    return row


def _profile(name: str, files: list[Path], tools: Tools) -> Json:
    """Where the time of both files goes, or why that is not known."""
    line, reason = tools.task("profile", name, *reversed(files))
    return json.loads(line) if line else {"reason": reason}
