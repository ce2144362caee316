"""parity/int8-latency.md and .json: latency of kexport's int8 files beside those of the peers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from md_text import table
from measured_blocks import machine_line

PLACE = Path(__file__).resolve().parents[2] / "parity"
FLOAT, CRASHED = "kexport-float32", "does not run"
RUNTIME_OF = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
HEADER = (
    "network", "runtime", "kexport's int8 beside", "kexport ms", "other ms", "times faster", "interval of the median",
    "other runs on", "verdict",
)  # fmt: skip
Row = dict[str, Any]


def write(found: dict[str, Any]) -> None:
    """Both files."""
    (PLACE / "int8-latency.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (PLACE / "int8-latency.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")


def others(facts: dict[str, str], measured: Sequence[str]) -> list[Row]:
    """The rows of the page that were not measured again; none if they are of another machine or kexport's packages."""
    path = PLACE / "int8-latency.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if row["network"] not in measured]
    return rows if found["machine"] == facts else []


def missed(row: Row) -> bool:
    """On ONNX Runtime a peer's file has to be slower, on LiteRT not faster beyond the interval. NaN misses.

    So does a pair that does not run: kexport's own file may be why. What a peer could not make is no pair.
    """
    if row["reason"]:
        return row["reason"].startswith(CRASHED)
    if row["other"] == FLOAT:
        return False
    return not row["ratio_high"] < 1.0 if row["format"] == "onnx" else not row["ratio_low"] <= 1.0


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    rows = found["rows"]
    ran = next((row for row in rows if not row["reason"]), {"rounds": 0, "coverage": 0.0})
    rounds, coverage = ran["rounds"], ran["coverage"]
    versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
    peers = ", ".join(f"{name.replace('_', '-')} {version}" for name, version in sorted(versions.items()))
    yield from (
        "# int8 beside the peers: latency",
        "",
        f"`tests/benchmarks/int8_latency.py`. {machine_line(found['machine'])} Peers: {peers}.",
        "",
        f"Seeded weights, {found['images']} synthetic images to calibrate, batch 1, one thread, one session alive at a",
        f"time: both files by turns, {rounds} rounds, the seconds in which the process had a processor. *Times faster*",
        "is the other file's latency by that of kexport's int8 file: the median of the rounds, with its",
        f"{coverage:.0%} interval from order statistics. Against a peer's int8 the whole interval has to lie above",
        "one on ONNX Runtime, and must not lie below one on LiteRT. What int8 gains over float32 has no bound here.",
        "",
        table(HEADER, [_row(row) for row in rows], text_columns=3),
        "",
        *_told(rows),
    )


def _row(row: Row) -> tuple[str, ...]:
    mark = ", of kexport's float file" if row.get("refused") else ""
    first = (row["network"], RUNTIME_OF[row["format"]], f"{row['title']}{mark}")
    if row["reason"]:
        return (*first, "-", "-", "-", "-", "-", row["reason"])
    verdict = "" if row["other"] == FLOAT else "**missed**" if missed(row) else "met"
    return (
        *first,
        f"{1000 * row['native_seconds']:.2f}",
        f"{1000 * row['peer_seconds']:.2f}",
        f"{1 / row['ratio']:.2f}",
        f"{1 / row['ratio_high']:.2f} to {1 / row['ratio_low']:.2f}",
        where(row["peer_effective"]),
        verdict,
    )


def where(effective: str) -> str:
    """What a session says that it runs on, in short: the part in parentheses, and LiteRT's kernels."""
    kernels, _, inside = effective.partition("(")
    nodes = inside.partition(")")[0]
    return f"{kernels.split()[-1]}, {nodes}" if "LiteRT" in kernels else nodes or effective


def _told(rows: list[Row]) -> Iterator[str]:
    judged = [row for row in rows if missed(row) or (row["other"] != FLOAT and not row["reason"])]
    bad = [f"{row['network']} beside {row['title']}" for row in judged if missed(row)]
    slower = [
        f"{row['network']} on {RUNTIME_OF[row['format']]} ({1 / row['ratio']:.2f})"
        for row in rows
        if row["other"] == FLOAT and not row["reason"] and not row["ratio_high"] < 1.0
    ]
    for row in rows:
        if row.get("refused"):
            yield f"{row['title']} could not read Keras's own file of {row['network']}: {row['refused']:.120}"
            yield ""
    yield f"{len(judged) - len(bad)} of {len(judged)} met{': missed ' + '; '.join(bad) if bad else ''}."
    if slower:
        yield f"int8 not surely faster than kexport's own float32: {', '.join(slower)}; `--schemes auto` measures it."
