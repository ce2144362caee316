"""Fills the generated parts of the documentation, and keeps the measurements that they show.

    python tests/benchmarks/tables.py [--records DIR]... [--peers FILE] [--tflite FILE] [--int8 FILE]
        [--records-int8 DIR]... [--pytorch FILE] [--keras-io FILE] [--run FORMATS=LOG]... [--check]

``--records``: artifact directories of `kexport all` and `kexport bench` -> parity/float32-forty.json.
``--records-int8``: artifact directories of `kexport all --schemes int8` -> parity/int8-forty.json.
``--peers``, ``--tflite``, ``--int8``: ``--json`` of export_vs_peers.py, of tflite_vs_converter.py, of int8_vs_peers.py
-> the same names in parity/; ``--pytorch``, ``--keras-io``: of pytorch_peer.py, of keras_io.py.
``--run onnx,tflite=FILE``: the standard error of a whole `kexport all` -> parity/runs.json.
What is not given stays as it is committed. Tables are always made again; ``--check`` writes nothing and
exits 1 where a document differs from what the code and the committed JSON say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import code_blocks
import consumers_block
import evidence
import int8_blocks
import int8_forty
import keras_io_blocks
import md_text
import measured_blocks
import pytorch_blocks
import record_block

from kexport.errors import KexportError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md", "docs/cli.md", "docs/formats.md", "docs/flow.md", "docs/record.md", "parity/README.md",
    "parity/bar.md", "parity/runs.md",
    "parity/export-vs-peers.md", "parity/tflite-vs-converter.md", "parity/int8-vs-peers.md", "parity/int8-forty.md",
    "parity/pytorch-peer.md", "parity/keras-io.md",
)  # fmt: skip
FORTY = "parity/float32-forty.json"
FORTY_REPORT = "parity/float32-forty.md"
PEERS = "parity/export-vs-peers.json"
TFLITE = "parity/tflite-vs-converter.json"
INT8 = "parity/int8-vs-peers.json"
INT8_FORTY = "parity/int8-forty.json"
PYTORCH = "parity/pytorch-peer.json"
KERAS_IO = "parity/keras-io.json"
RUNS = "parity/runs.json"
CONSUMERS = "parity/consumers.json"
AGAIN = "python tests/benchmarks/tables.py"


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Take in what is given, then write every generated text, or compare it. Exit codes: 0, 1 drift, 2 bad input."""
    options = _parse(arguments)
    try:
        store_given(options, root)
    except (KexportError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    texts = generated(root)
    if options.check:
        return _check(texts, root)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return 0


def store_given(options: argparse.Namespace, root: Path) -> None:
    """Every given measurement to its committed JSON; all inputs are read before the first file is written."""
    found: dict[str, Any] = {}
    if options.records:
        found[FORTY] = evidence.beside(evidence.from_records(options.records), load(root / FORTY))
    if options.records_int8:
        found[INT8_FORTY] = evidence.from_records(options.records_int8, "int8")
    for name, path in (
        (PEERS, options.peers), (TFLITE, options.tflite), (INT8, options.int8), (PYTORCH, options.pytorch),
        (KERAS_IO, options.keras_io),
    ):  # fmt: skip
        if path is not None:
            found[name] = evidence.from_comparison(path)
    logs = dict(map(_run, options.run))
    if logs:
        found[RUNS] = (load(root / RUNS) or {}) | logs
    for name, value in found.items():
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
        (root / name).write_text(text, encoding="utf-8")


def generated(root: Path) -> dict[str, str]:
    """Every document that is generated, whole or in parts: path below ``root`` -> text."""
    all_blocks = blocks(root)
    texts = {name: md_text.fill((root / name).read_text(encoding="utf-8"), all_blocks) for name in DOCUMENTS}
    forty = load(root / FORTY)
    return texts | ({FORTY_REPORT: measured_blocks.full_report(forty)} if forty else {})


def blocks(root: Path) -> dict[str, str]:
    """Every block by name."""
    forty, peers, tflite, int8, runs = (load(root / name) for name in (FORTY, PEERS, TFLITE, INT8, RUNS))
    forty_int8 = load(root / INT8_FORTY)
    more = (*int8_blocks.bar(int8), *int8_forty.bar(forty_int8, forty), *pytorch_blocks.bar(load(root / PYTORCH)))
    rows = measured_blocks.bar_rows(forty, peers, tflite, runs, more=more)
    return {name: make() for name, make in code_blocks.BLOCKS.items()} | {
        "bar": measured_blocks.bar(rows),
        "measured": measured_blocks.highlights(rows),
        "consumers": consumers_block.summary(load(root / CONSUMERS)),
        "record": record_block.record(),
        "runs": measured_blocks.runs(runs),
        "export-vs-peers": measured_blocks.comparison(peers, "--peers"),
        "tflite-vs-converter": measured_blocks.comparison(tflite, "--tflite"),
        "int8-vs-peers": int8_blocks.accuracy(int8),
        "int8-speed": int8_blocks.speed(int8),
        "int8-forty": int8_forty.whole(forty_int8, forty),
        "pytorch-peer": pytorch_blocks.whole(load(root / PYTORCH)),
        "keras-io": keras_io_blocks.whole(load(root / KERAS_IO)),
    }


def load(path: Path) -> dict[str, Any] | None:
    """A committed JSON file; None before the first measurement."""
    if not path.is_file():
        return None
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _run(text: str) -> tuple[str, dict[str, Any]]:
    formats, _, log = text.partition("=")
    if not log:
        raise ValueError(f"--run {text!r}: expected FORMATS=LOG, e.g. --run onnx,tflite=all.log")
    return formats, evidence.from_log(Path(log).read_text(encoding="utf-8"))


def _check(texts: dict[str, str], root: Path) -> int:
    stale = [name for name, text in texts.items() if not _same(root / name, text)]
    for name in stale:
        print(f"{name} differs from what the code and the committed measurements say\nhint: {AGAIN}", file=sys.stderr)
    return int(bool(stale))


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fill the generated parts of the documentation.")
    parser.add_argument("--records", type=Path, action="append", default=[], help="artifact directory; repeatable")
    parser.add_argument("--records-int8", type=Path, action="append", default=[], help="the same for int8; repeatable")
    parser.add_argument("--peers", type=Path, help="--json of export_vs_peers.py")
    parser.add_argument("--tflite", type=Path, help="--json of tflite_vs_converter.py")
    parser.add_argument("--int8", type=Path, help="--json of int8_vs_peers.py")
    parser.add_argument("--pytorch", type=Path, help="--json of pytorch_peer.py")
    parser.add_argument("--keras-io", type=Path, help="--json of keras_io.py")
    parser.add_argument("--run", action="append", default=[], metavar="FORMATS=LOG", help="log of a kexport all")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    options = parser.parse_args(arguments)
    given = {name: value for name, value in vars(options).items() if name != "check" and value}
    if options.check and given:
        parser.error("--check looks at what is committed: expected no measurements beside it")
    return options


if __name__ == "__main__":
    sys.exit(main())
