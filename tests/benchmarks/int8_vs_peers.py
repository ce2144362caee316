"""kexport's int8 against the quantizers that exist: accuracy, time, memory, size; and against its own float: latency.

    KEXPORT_LAB=FOLDER python tests/benchmarks/int8_vs_peers.py --peers-python PEERS/bin/python [--json FILE]

FOLDER holds ``images/<class index>_*.jpg`` and the weights that `int8_networks.NETWORKS` names: photographs of the
class indices that ten divides calibrate, the others evaluate. The peers live in an environment of their own, which
must not change kexport's:

    python3.11 -m venv PEERS && PEERS/bin/pip install nncf ai-edge-quantizer onnxruntime onnx sympy tensorflow

A peer that cannot be imported is told as "not installed". ``--parts speed`` needs no peers and, but for the memory of
one network, no FOLDER; it wants an idle machine. Exit code 1 when kexport misses a bound.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import int8_accuracy
import int8_blocks
import int8_networks
import int8_profile
import int8_speed
import side_by_side
from int8_accuracy import Json, Tools
from int8_networks import NETWORKS

from kexport import machine
from kexport.errors import KexportError

TITLE = "int8: kexport beside the quantizers that exist, and against its own float"
ACCURACY, SPEED = "accuracy", "speed"


def main(arguments: Sequence[str]) -> int:
    """The command line; exit code 1 when a bound is missed."""
    if arguments and arguments[0] == "--task":
        return _task(*arguments[1:])
    options = _parse(arguments)
    result = _measure(options)
    text = json.dumps(result, indent=2, sort_keys=True, allow_nan=False) + "\n"
    if options.json:
        Path(options.json).write_text(text, encoding="utf-8")
    print(int8_blocks.accuracy(result), int8_blocks.speed(result), sep="\n\n")
    return int(any(row["broken"] for part in ("rows", "mutual", "speed") for row in result[part]))


def _measure(options: argparse.Namespace) -> Json:
    tools = Tools(script=Path(__file__).resolve(), peers_python=options.peers_python)
    lab = int8_networks.lab_folder() if ACCURACY in options.parts or os.environ.get("KEXPORT_LAB") else None
    result: Json = {"title": TITLE, "machine": machine.describe(), "rows": [], "mutual": [], "speed": []}
    for name in options.networks if ACCURACY in options.parts else ():
        assert lab is not None
        rows, mutual = int8_accuracy.measure(NETWORKS[name], lab, tools)
        result["rows"] += rows
        result["mutual"].append(mutual)
    for name in options.models if SPEED in options.parts else ():
        result["speed"] += int8_speed.measure(name, lab, tools, repetitions=options.repetitions)
    return result


def _task(name: str, *arguments: str) -> int:
    """One measurement in this process; its result is the last line on stdout."""
    tasks: dict[str, Callable[..., Any]] = {
        "prepare": lambda network, lab, folder: int8_networks.prepare(NETWORKS[network], Path(lab), Path(folder)),
        "evaluate": lambda *paths: int8_networks.evaluate(*map(Path, paths)),
        "profile": lambda name, before, after: int8_profile.profile(
            name, {"float32": Path(before), "int8": Path(after)}
        ),
    }
    if name == "latency":
        return side_by_side.worker(*arguments)
    print(json.dumps(tasks[name](*arguments), allow_nan=False))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=TITLE)
    parts = (ACCURACY, SPEED)
    parser.add_argument("--parts", type=_names(parts), default=parts, help=f"default {','.join(parts)}")
    parser.add_argument("--networks", type=_names(tuple(NETWORKS)), default=tuple(NETWORKS), help="of accuracy")
    parser.add_argument(
        "--models",
        type=lambda text: tuple(text.split(",")),
        default=tuple(int8_speed.MIN_SPEEDUP),
        help=f"of speed; default {','.join(int8_speed.MIN_SPEEDUP)}",
    )
    parser.add_argument("--repetitions", type=int, default=side_by_side.PROCESSES, help="processes of a latency")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers; this one")
    parser.add_argument("--json", help="write all numbers to this file")
    return parser.parse_args(arguments)


def _names(legal: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if not set(chosen) <= set(legal):
            raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(legal)}")
        return chosen

    return read


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KexportError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
