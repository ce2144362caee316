"""Export time, memory and latency of two ways to write the same network: the part that all comparisons share.

Every export runs in a process of its own: import keras and tensorflow (their peak is *the framework's own*), build
the network with given weights, then reset the peak and export. The ONNX peer's model is called once before, as
`model.export` refuses it otherwise. The peak during the export, less the framework's own, holds the built model
and all that the export adds (``--memory-above imports``, the default). Keras's layer objects and TensorFlow's
kernels take tens of megabytes that no exporter can give back, several times the weights of a small network;
``--memory-above model`` leaves them out: it counts the built model as its weights, plus what the export adds.
Latency: `side_by_side`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import processes
import psutil
import side_by_side

from kexport import machine
from kexport.errors import KexportError
from kexport.specs import ModelSpec, WeightsSpec

GIB = 2**30
MIN_TIME_RATIO = 10.0
MAX_MEMORY_RATIO = 3.0
MAX_LATENCY_RATIO = 1.05
MAX_DIFFERENCE = 1e-3  # of probabilities: both files must be the same network before their latency is compared
MIN_SIGNAL = 1e-5  # standard deviation of the probabilities over the classes
EXPORT_SECONDS = 900
WEIGHTS, WEIGHTS_FILE = "weights", "model.weights.h5"

Export = Callable[[Any, Path], None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One script: kexport's way and the peer's way (name -> export of a built model), and the runtime of the files."""

    title: str
    script: Path
    native: Export
    peer: Export
    peer_name: str
    suffix: str
    runtime: str
    models: tuple[str, ...]
    native_only: tuple[str, ...] = ()
    size_counts: bool = False


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One export in its own process. ``reason`` says why there is no usable file; empty is good."""

    seconds: float = 0.0
    peak_bytes: int = 0
    framework_bytes: int = 0
    before_bytes: int = 0
    weight_bytes: int = 0
    file_bytes: int = 0
    peak_was_reset: bool = True
    reason: str = ""

    @property
    def memory_ratio(self) -> float:
        """Peak above the framework's own, in multiples of the weights."""
        return (self.peak_bytes - self.framework_bytes) / self.weight_bytes if self.weight_bytes else float("nan")

    def judged_ratio(self, above: str) -> float:
        """The ratio that the bound is for: ``imports`` as measured, ``model`` as one times the weights plus added."""
        return self.memory_ratio if above == "imports" else 1 + self.added_ratio

    @property
    def added_ratio(self) -> float:
        """What the export itself added to the built model's process, in multiples of the weights."""
        return (self.peak_bytes - self.before_bytes) / self.weight_bytes if self.weight_bytes else float("nan")


def main(comparison: Comparison) -> int:
    """The command line of a comparison; exit code 1 when a bound is broken."""
    arguments = _parse(comparison)
    if arguments.worker:
        return _worker(comparison, *arguments.worker)
    if arguments.latency:
        return side_by_side.worker(comparison.runtime, *arguments.latency)
    names = arguments.models.split(",") if arguments.models else [*comparison.models, *comparison.native_only]
    rows = []
    for name in names:
        limit_bytes = int(arguments.memory_limit_gib * GIB)
        rows.append(_compare(comparison, name, limit_bytes=limit_bytes, above=arguments.memory_above))
        print(f"{name}: {'; '.join(rows[-1]['broken']) or 'within all bounds'}", file=sys.stderr, flush=True)
    _print(comparison, rows)
    if arguments.json:
        result = {"title": comparison.title, "machine": machine.describe(), "rows": rows}
        Path(arguments.json).write_text(
            json.dumps(result, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )
    return int(any(row["broken"] for row in rows))


def _parse(comparison: Comparison) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=comparison.title)
    parser.add_argument("--models", help=f"comma separated; default {','.join(comparison.models)} and the native ones")
    parser.add_argument("--json", help="write all numbers to this file")
    parser.add_argument("--memory-limit-gib", type=float, default=machine.memory_bytes() / GIB * 0.8)
    parser.add_argument("--memory-above", choices=("imports", "model"), default="imports", help="what the bound is for")
    parser.add_argument("--worker", nargs=3, metavar=("WAY", "MODEL", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--latency", nargs=4, metavar=("MODEL", "NATIVE", "PEER", "FIRST"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(comparison: Comparison, name: str, *, limit_bytes: int, above: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kexport-peers-") as folder:
        paths = {way: Path(folder, way + comparison.suffix) for way in ("native", "peer")}
        ways = ["native"] if name in comparison.native_only else ["native", "peer"]
        made, reason = _run(
            comparison, ["--worker", WEIGHTS, name, str(Path(folder, WEIGHTS_FILE))], limit_bytes=limit_bytes
        )
        if not made:
            raise SystemExit(f"{name}: no weights could be made: {reason}")
        exports = {way: _export(comparison, way, name, paths[way], limit_bytes=limit_bytes) for way in ways}
        row: dict[str, Any] = {"model": name} | {way: asdict(export) for way, export in exports.items()}
        if not exports["native"].reason:
            row |= {"memory_ratio": exports["native"].memory_ratio, "added_ratio": exports["native"].added_ratio}
        if "peer" in exports and not any(export.reason for export in exports.values()):
            row |= _latency(comparison, name, paths)
    row["broken"] = broken(comparison, exports, row, above=above)
    return row


def _export(comparison: Comparison, way: str, name: str, path: Path, *, limit_bytes: int) -> Exported:
    text, reason = _run(comparison, ["--worker", way, name, str(path)], limit_bytes=limit_bytes)
    return Exported(**json.loads(text)) if text else Exported(reason=reason)


def _latency(comparison: Comparison, name: str, paths: Mapping[str, Path]) -> dict[str, Any]:
    """What `side_by_side` finds over several processes; why not, where one of them ends without a result."""
    found: list[dict[str, Any]] = []
    for process in range(side_by_side.PROCESSES):
        files = [str(paths[way]) for way in side_by_side.WAYS]
        arguments = ["--latency", name, *files, side_by_side.WAYS[process % 2]]
        text, reason = _run(comparison, arguments, limit_bytes=8 * GIB)
        if not text:
            return {"latency_failed": reason}
        found.append(json.loads(text))
        if "peer_unusable" in found[-1]:
            return found[-1]
    return side_by_side.merged(found)


def _run(comparison: Comparison, arguments: Sequence[str], *, limit_bytes: int) -> tuple[str, str]:
    """The last line that the process printed, or why there is none. Above the limit it is killed."""
    command = [sys.executable, str(comparison.script), *arguments]
    return processes.run(command, limit_bytes=limit_bytes, limit_seconds=EXPORT_SECONDS)


def _make_weights(name: str, file: Path) -> int:
    """Data-dependent random weights, made in a process of their own: the walk's memory is not the export's."""
    from kexport.sources.build import build

    build(ModelSpec(application=name, weights=WeightsSpec(kind="random", seed=0))).save_weights(file)
    print(json.dumps({"weights": file.name}))
    return 0


def _worker(comparison: Comparison, way: str, name: str, file: str) -> int:
    if way == WEIGHTS:
        return _make_weights(name, Path(file))
    import keras  # noqa: F401 - the framework's own memory is that of these two imports
    import tensorflow  # noqa: F401, ICN001

    framework = machine.peak_memory_bytes()
    path = Path(file)
    model = _build(name, path.with_name(WEIGHTS_FILE), call=way == "peer")
    _give_back_garbage()
    was_reset = _reset_peak()
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    {"native": comparison.native, "peer": comparison.peer}[way](model, path)
    result = Exported(
        seconds=time.perf_counter() - start,
        peak_bytes=machine.peak_memory_bytes(),
        framework_bytes=framework,
        before_bytes=before,
        weight_bytes=4 * model.count_params(),
        file_bytes=path.stat().st_size,
        peak_was_reset=was_reset,
    )
    print(json.dumps(asdict(result)))
    return 0


def _build(name: str, weights: Path, *, call: bool) -> Any:
    """The network with its weights; called once for the peer, as `model.export` refuses it otherwise."""
    from kexport.sources.build import build

    model = build(ModelSpec(application=name, weights=WeightsSpec(kind="file", path=str(weights))))
    if call:
        shape = tuple(size or 224 for size in model.inputs[0].shape[1:])
        model(np.zeros((1, *shape), np.float32))
    return model


def _give_back_garbage() -> None:
    """Return what building the network has freed to the system, so that the export is not charged with it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_peak() -> bool:
    """Start VmHWM again from the present size (Linux: 5 into clear_refs); False where that is not allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def broken(comparison: Comparison, exports: Mapping[str, Exported], row: Mapping[str, Any], *, above: str) -> list[str]:
    """Every bound that kexport breaks, each as ``<= bound`` or ``>= bound`` so that NaN breaks it."""
    native, peer = exports["native"], exports.get("peer")
    if native.reason:
        return [f"kexport: {native.reason}"]
    found = []
    if not native.judged_ratio(above) <= MAX_MEMORY_RATIO:
        found.append(f"memory {native.judged_ratio(above):.2f} times the weights")
    if "latency_failed" in row:
        found.append(f"latency: {row['latency_failed']}")
    if peer and not peer.reason:
        if not peer.seconds / native.seconds >= MIN_TIME_RATIO:
            found.append(f"only {peer.seconds / native.seconds:.1f} times faster")
        if comparison.size_counts and not native.file_bytes <= peer.file_bytes:
            found.append(f"file {native.file_bytes} bytes, the peer's {peer.file_bytes}")
    if "max_difference" in row and not row["max_difference"] <= MAX_DIFFERENCE:
        found.append(f"outputs differ by {row['max_difference']:.2g}")
    if "signal" in row and not row["signal"] >= MIN_SIGNAL:
        found.append(f"constant output (spread {row['signal']:.2g}): comparing it proves nothing")
    if "latency_ratio" in row and not row["latency_ratio"] <= MAX_LATENCY_RATIO:
        found.append(f"latency {row['latency_ratio']:.3f} of the peer's")
    return found


def _print(comparison: Comparison, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{comparison.title}\nkexport | {comparison.peer_name}", show_lines=True)
    columns = (
        "model",
        "seconds",
        "times faster",
        "peak GiB",
        "above own / weights",
        "added / weights",
        "MB",
        "latency ms",
        "ratio",
        "verdict",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("model", "verdict") else "right", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=160).print(table)
    print(
        f"bounds: times faster >= {MIN_TIME_RATIO:g}, memory <= {MAX_MEMORY_RATIO:g}, latency <= {MAX_LATENCY_RATIO:g}"
    )
    print(f"machine: {machine.processor()}, {machine.cores()} cores, {machine.memory_bytes() / GIB:.0f} GiB")


def _cells(row: Mapping[str, Any]) -> list[str]:
    native, peer = Exported(**row["native"]), Exported(**row["peer"]) if "peer" in row else None
    both = [export for export in (native, peer) if export and not export.reason]
    latencies = [row[key] for key in ("native_latency_seconds", "peer_latency_seconds") if key in row]
    notes = [*row["broken"], *([f"peer: {peer.reason}"] if peer and peer.reason else [])]
    notes += [row["peer_unusable"]] if "peer_unusable" in row else []
    return [
        row["model"],
        " | ".join(f"{export.seconds:.2f}" for export in both),
        f"{peer.seconds / native.seconds:.1f}" if len(both) == 2 and peer else "-",
        " | ".join(f"{export.peak_bytes / GIB:.2f}" for export in both),
        " | ".join(f"{export.memory_ratio:.2f}" for export in both),
        " | ".join(f"{export.added_ratio:.2f}" for export in both),
        " | ".join(f"{export.file_bytes / 1e6:.1f}" for export in both),
        " | ".join(f"{1e3 * latency:.2f}" for latency in latencies) or "-",
        f"{row['latency_ratio']:.3f}" if "latency_ratio" in row else "-",
        ("FAIL: " if row["broken"] else "PASS ") + "; ".join(notes),
    ]


def guard(comparison: Comparison) -> None:
    """Run the comparison as a program: deliberate errors become one message on standard error."""
    try:
        sys.exit(main(comparison))
    except KexportError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
