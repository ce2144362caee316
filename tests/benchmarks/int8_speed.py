"""The second part of int8_vs_peers.py: how fast and how small kexport's int8 files are against its own float files.

Seeded weights: speed and size do not depend on them. Both files of a pair are run side by side (`side_by_side`), on
ONNX Runtime and on LiteRT, two threads, batch 1. Calibration is synthetic, but for the network whose memory is
bounded: that one takes the photographs of the lab folder, where there is one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import int8_networks
import side_by_side
from evidence import figure
from int8_accuracy import FORMATS, OWN, Json, Tools, records_of, unmade

from kexport import catalog
from kexport.images import seeded_images
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
PROFILE_RUNS, PROFILE_SHOWN = 30, 5
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
    found, least = [], MIN_SPEEDUP.get(row["model"])
    if least is not None and not row["speedup"] >= least:
        found.append(f"{row['speedup']:.2f} times faster, at least {least:g}")
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


def profile(path: Path, name: str) -> Json:
    """Milliseconds per inference by kind of operator, the largest first: of ONNX Runtime's own profile."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int8_networks.THREADS
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        spec = session.get_inputs()[0]
        low, high = catalog.input_range(catalog.application(name))
        feed = {spec.name: seeded_images(1, tuple(spec.shape[1:]), seed=0, low=low, high=high)}
        for _ in range(PROFILE_RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _by_operator(events)


def _by_operator(events: list[Any]) -> Json:
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return {name: figure(micros / 1000 / PROFILE_RUNS) for name, micros in spent.most_common(PROFILE_SHOWN)}


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
    """int8 against float over several processes; where it is too slow on ONNX Runtime, with its profile."""
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
    if record.format == "onnx" and not row["speedup"] >= MIN_SPEEDUP.get(record.model, 0):
        line, _ = tools.task("profile", files[0], record.model)
        row["profile"] = json.loads(line) if line else {}
    return row
