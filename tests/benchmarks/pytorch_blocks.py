"""The comparison with PyTorch's export as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from md_text import code, table
from measured_blocks import NONE, absent, machine_line

from kexport.reports.md import escape

Json = dict[str, Any]
MAX_RATIO = 1.0
OPTION = "--pytorch FILE"


def whole(data: Json | None) -> str:
    """One row per network: latency of both files, their ratio with its interval, and what each computes."""
    if data is None:
        return absent(OPTION)
    header = (
        "network", "PyTorch's", "kexport ms", "PyTorch ms", "ratio", "interval", "rounds", "runs of each",
        "million multiplications", "PyTorch's", "operators that run", "PyTorch's", "verdict",
    )  # fmt: skip
    rows = "\n\n".join([_conditions(data), table(header, map(_row, data["rows"]), text_columns=2)])
    return f"{rows}\n\n{_kinds(data)}"


def held(row: Json) -> bool:
    """Whether kexport's file is as fast, or its interval cannot tell. NaN is not."""
    return not row["reason"] and row["ratio_low"] <= MAX_RATIO


def bar(data: Json | None) -> Iterator[tuple[str, str, str, str]]:
    """The bound that every network has to hold."""
    what, needed = "ONNX latency as a part of that of PyTorch's export", f"at most {MAX_RATIO:g} within noise"
    if data is None:
        yield what, needed, "not measured yet", ""
        return
    rows = data["rows"]
    good = sum(map(held, rows))
    measured = [(row["ratio"], row["model"]) for row in rows if not row["reason"]]
    worst = "; {:.2f} at worst ({})".format(*max(measured)) if measured else ""
    yield what, needed, f"{good} of {len(rows)} networks{worst}", "met" if good == len(rows) else "**missed**"


def verdict(row: Json) -> str:
    """In words."""
    if row["reason"]:
        return f"missed: {row['reason']}"
    if not held(row):
        return f"missed: {row['ratio']:.3f} of PyTorch's time"
    return "met" if row["ratio"] <= MAX_RATIO else "met within noise"


def _row(row: Json) -> tuple[str, ...]:
    names = (row["model"], row["network"])
    if row["reason"]:
        return (*names, *[NONE] * 10, escape(verdict(row)))
    counts = [row["counts"][way] for way in ("native", "peer")]
    return (
        *names,
        *(f"{float(f'{1000 * row[way]:.3g}'):g}" for way in ("native_seconds", "peer_seconds")),
        f"{row['ratio']:.3f}",
        f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
        str(row["rounds"]),
        f"{row['native_runs']} / {row['peer_runs']}",
        *(f"{each['multiplications'] / 1e6:.1f}" for each in counts),
        *(str(sum(each["operators"].values())) for each in counts),
        escape(verdict(row)),
    )


def _conditions(data: Json) -> str:
    made = [row["pytorch"] for row in data["rows"] if not row["reason"]]
    versions = made[0]["versions"] if made else {}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    older = [
        f"{row['model']}: PyTorch's older exporter, as `torch.export` failed: {escape(row['dynamo_failed'])}."
        for row in data["rows"]
        if not row["reason"] and row["dynamo_failed"]
    ]
    return " ".join([f"{machine_line(data['machine'])} PyTorch: {told}.", *older])


def _kinds(data: Json) -> str:
    """Operators by kind, where the two files have not as many of one."""
    rows = []
    for row in data["rows"]:
        if row["reason"]:
            continue
        ours, theirs = (row["counts"][way]["operators"] for way in ("native", "peer"))
        differ = [kind for kind in sorted({*ours, *theirs}) if ours.get(kind, 0) != theirs.get(kind, 0)]
        rows += [(row["model"], code(kind), *(str(each.get(kind, 0)) for each in (ours, theirs))) for kind in differ]
    header = ("network", "operator, after ONNX Runtime's own optimization", "kexport", "PyTorch")
    return table(header, rows, text_columns=2)
