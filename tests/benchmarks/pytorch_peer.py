"""kexport's ONNX beside PyTorch's export of the same networks: latency on ONNX Runtime.

    PYTHONPATH=. python tests/benchmarks/pytorch_peer.py CACHE [--models ResNet50,DenseNet121] [--json FILE]

CACHE keeps the peer's environment (torch for the CPU, timm, onnx, and ONNX Runtime of kexport's own version) and
PyTorch's files. Weights are random on both sides. Where Keras's network prepares its images itself, a second row has
the same without that and without softmax (`pytorch_bare`), which is what PyTorch's file computes. `turns` measures:
1 thread, batch 1, one session alive at a time, by turns. Where `torch.export` cannot, PyTorch's older exporter writes
the file, and the row says so. Exit code 1 where kexport's file is slower and the interval says that this is no noise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx_counts
import processes
import pytorch_blocks
import turns

from kexport import machine
from kexport.sources import catalog

TITLE = "kexport's ONNX beside PyTorch's: latency on ONNX Runtime (1 thread, batch 1)"
NETWORKS = {
    "ResNet50": "resnet50",
    "MobileNetV3Small": "tf_mobilenetv3_small_100",
    "EfficientNetB0": "tf_efficientnet_b0",
    "DenseNet121": "densenet121",
    "ConvNeXtTiny": "convnext_tiny",
}
"""Application -> the same network of timm."""
PREPARES = ("MobileNetV3Small", "EfficientNetB0")
"""Those that Keras gives layers which prepare their images."""
BARE = "prepared images, logits"
PACKAGES = ("torch", "timm", "onnxscript")
SHARED = ("onnx", "onnxruntime")
PROCESSES, ROUNDS = 4, 10
LIMIT_BYTES, LIMIT_SECONDS = 12 * 2**30, 1800
Json = dict[str, Any]


def main(arguments: list[str]) -> int:
    """The command line; exit code 1 when a bound is missed."""
    if arguments[:1] == ["--turns"]:
        return turns.worker(*arguments[1:])
    options = _parse(arguments)
    python = _environment(options.cache)
    rows = []
    for name in options.models:
        for what in ("", BARE) if name in PREPARES else ("",):
            title = f"{name}, {what}" if what else name
            rows.append({"model": title, "network": NETWORKS[name]} | _row(name, options, python, bare=bool(what)))
            print(f"{title}: {pytorch_blocks.verdict(rows[-1])}", file=sys.stderr, flush=True)
    result = {"title": TITLE, "machine": machine.describe(), "rows": rows}
    if options.json:
        text = json.dumps(result, indent=2, sort_keys=True, allow_nan=False) + "\n"
        Path(options.json).write_text(text, encoding="utf-8")
    print(pytorch_blocks.whole(result))
    return int(not all(map(pytorch_blocks.held, rows)))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("cache", type=Path, help="folder for the environment and PyTorch's files")
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(NETWORKS), help="default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each of {PROCESSES} processes")
    parser.add_argument("--json", help="write all numbers to this file")
    return parser.parse_args(arguments)


def _environment(cache: Path) -> str:
    """The interpreter of the peer's environment, made where it is not there yet."""
    python = cache / "env" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache / "env")], check=True)
        shared = [f"{name}=={metadata.version(name)}" for name in SHARED]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES, *shared], check=True)
    return str(python)


def _row(name: str, options: argparse.Namespace, python: str, *, bare: bool = False) -> Json:
    """The figures of one network, or ``reason``: why there are none."""
    ours = options.cache / "kexport" / name / f"{name}-float32.onnx"
    files = {
        "native": options.cache / "bare" / f"{name}.onnx" if bare else ours,
        "peer": options.cache / f"{name}.onnx",
    }
    reason = (_bare if bare else _native)(name, files["native"])
    exported, failed = _peer(name, files["peer"], python)
    if reason or not exported:
        return {"reason": reason or failed}
    counts = {
        way: {"operators": onnx_counts.operators(path), "multiplications": onnx_counts.multiplications(path)}
        for way, path in files.items()
    }
    between = (-1.0, 1.0) if bare else catalog.input_range(catalog.application(name))
    measured = _measured(files, between, options.rounds)
    return {"reason": "", "counts": counts, "pytorch": exported, "dynamo_failed": failed} | measured


def _native(name: str, path: Path) -> str:
    """kexport's own command; why it failed, or nothing."""
    command = [sys.executable, "-m", "kexport", "export", name, "--formats", "onnx", "--schemes", "float32"]
    more = ["--weights", "random:0", "--jobs", "1", "--json", "-o", str(path.parents[1])]
    return "" if path.exists() else _run([*command, *more])[1]


def _bare(name: str, path: Path) -> str:
    """The same application as PyTorch's file has it; why there is none, or nothing."""
    script = str(Path(__file__).with_name("pytorch_bare.py"))
    return "" if path.exists() else _run([sys.executable, script, name, str(path)])[1]


def _peer(name: str, path: Path, python: str) -> tuple[Json, str]:
    """What PyTorch says of its file, and why `torch.export` could not write it; empty is good."""
    kept, failed = path.with_suffix(".json"), ""
    if kept.exists():
        known: Json = json.loads(kept.read_text(encoding="utf-8"))
        return known["pytorch"], known["failed"]
    script, side = str(Path(__file__).with_name("pytorch_export.py")), catalog.application(name).default_size
    for exporter in ("dynamo", "torchscript"):
        line, reason = _run([python, script, NETWORKS[name], str(side), str(path), exporter])
        if line:
            kept.write_text(json.dumps({"pytorch": json.loads(line), "failed": failed}), encoding="utf-8")
            return json.loads(line), failed
        failed = failed or reason
    return {}, failed


def _measured(files: dict[str, Path], between: tuple[float, float], rounds: int) -> Json:
    """The rounds of several processes together."""
    found: list[Any] = []
    facts: Json = {}
    command = [sys.executable, __file__, "--turns", *map(str, (*files.values(), *between, rounds))]
    for _ in range(PROCESSES):
        line, reason = _run(command)
        if not line:
            return {"reason": reason}
        facts = json.loads(line)
        found += facts.pop("rounds")
    return {"sessions": facts} | turns.summary(found)


def _run(command: list[str]) -> tuple[str, str]:
    return processes.run(command, limit_bytes=LIMIT_BYTES, limit_seconds=LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
