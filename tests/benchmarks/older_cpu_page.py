"""parity/older-cpu.md and .json: numbers of trained networks, with and without VNNI, of both ranges of kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from md_text import table

PLACE = Path(__file__).resolve().parents[2] / "parity"
LEAST, MOST_DB = 0.995, 1.0
JUDGED = ("MobileNet-a0.25", "efficientnetlite0", "efficientnetb0_finetuned")
"""Those whose cost is bounded; MobileNetV3Small's kernels lie on an int8 grid already: any other scale costs more."""
Row = dict[str, Any]
HEADER = (
    "network", "format", "kernels", "largest pair sum", "SQNR dB", "agreement with Keras", "drop, points",
    "as here without VNNI", "as here without AVX-512", "same numbers without VNNI",
)  # fmt: skip


def write(found: dict[str, Any]) -> None:
    """Both files."""
    (PLACE / "older-cpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (PLACE / "older-cpu.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    rows, versions = found["rows"], found["rows"][0]["versions"]
    count = rows[0]["photographs"]
    yield from (
        "# int8 on CPUs without VNNI",
        "",
        f"`tests/benchmarks/older_cpu.py` on {found['machine']['processor']}: ONNX Runtime {versions['onnxruntime']},",
        f"LiteRT {versions['ai-edge-litert']}, one thread; trained weights, {count} photographs. VNNI and AVX-512",
        "are hidden from CPUID, so that the runtimes take the kernels of an older CPU. Without VNNI ONNX Runtime adds",
        "pairs of products in saturating int16: a sum of two neighbours above 128 may be cut off. `--kernels portable`",
        "is the default and keeps every sum below; `--kernels full` uses the whole range of int8.",
        "",
        table(HEADER, [_row(row) for row in rows], text_columns=3),
        "",
        "| bound | measured | |",
        "|---|---|---|",
        *_bounds(rows),
    )


def _row(row: Row) -> tuple[str, ...]:
    same = row["same_decisions"]
    without = [f"{same[cpu]:.4f}" if row["decides"] else "-" for cpu in ("no VNNI", "no AVX-512")]
    return (
        row["network"],
        row["format"],
        row["kernels"],
        "-" if row["largest_pair_sum"] is None else str(row["largest_pair_sum"]),
        f"{row['sqnr_db']:.2f}",
        f"{row['agreement_with_keras']:.3f}" if row["decides"] else "-",
        f"{row['drop_points']:+.2f}" if row["decides"] and row["drop_points"] is not None else "-",
        *without,
        "yes" if row["same_numbers"]["no VNNI"] else "no",
    )


def _bounds(rows: Sequence[Row]) -> Iterator[str]:
    portable = [row for row in rows if row["kernels"] == "portable" and row["decides"]]
    least = min(min(row["same_decisions"].values()) for row in portable)
    told = f"{least:.4f} at worst"
    yield f"| portable kernels decide as with VNNI: at least {LEAST} | {told} | {_verdict(least >= LEAST)} |"
    for name in JUDGED:
        cost = _cost(rows, name)
        told = ("not measured", "") if cost is None else (f"{cost:.2f}", _verdict(cost <= MOST_DB))
        yield f"| SQNR that portable kernels cost {name} in ONNX: at most {MOST_DB} dB | {told[0]} | {told[1]} |"
    apart = _cost(rows, "MobileNetV3Small")
    told = "not measured" if apart is None else f"{apart:.2f}"
    yield f"| the same, MobileNetV3Small, whose kernels lie on an int8 grid already | {told} | - |"


def _cost(rows: Sequence[Row], name: str) -> float | None:
    found = {row["kernels"]: row["sqnr_db"] for row in rows if row["network"] == name and row["format"] == "onnx"}
    return float(found["full"] - found["portable"]) if len(found) == 2 else None


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"
