"""The tables of int8_vs_peers.py in Markdown, and its rows of the bar. A missing measurement is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import profile_block
from int8_networks import NETWORKS
from int8_speed import (
    MAX_PEAK_BYTES,
    MEMORY_IMAGES,
    MEMORY_MODEL,
    MIN_SPEEDUP,
    bounded_memory,
    max_size_ratio,
    memory_held,
)
from md_text import table
from measured_blocks import NONE, absent, machine_line
from profile_block import RUNTIME_OF

from kexport.reports.md import escape

Json = dict[str, Any]
Row = tuple[str, str, str, str]
OPTION = "--int8 FILE"


def accuracy(data: Json | None) -> str:
    """One row per network and tool: what int8 cost, and what making it took."""
    if data is None or not data["rows"]:
        return absent(OPTION)
    header = (
        "network", "tool", "format", "top-1", "drop", "agreement", "worse / better", "logits dB", "outputs dB",
        "size / float", "seconds", "peak MB", "loads", "verdict",
    )  # fmt: skip
    images = data["rows"][0].get("accuracy", {}).get("images")
    keras = {r["network"]: f"{100 * r['accuracy']['keras_top1']:.2f} %" for r in data["rows"] if "accuracy" in r}
    told = ", ".join(f"{name} {share}" for name, share in keras.items())
    mutual = "; ".join(_mutual(each) for each in data["mutual"])
    lines = [
        f"{machine_line(data['machine'])} Peers: {_versions(data['rows'])}.",
        f"{images} photographs. Top-1 of Keras: {told}. kexport's two int8 files decide alike: {mutual}.",
    ]
    return " ".join(lines) + "\n\n" + table(header, map(_accuracy_row, data["rows"]), text_columns=3)


def speed(data: Json | None) -> str:
    """One row per network and format: int8 against float."""
    if data is None or not data["speed"]:
        return absent(OPTION)
    header = (
        "network", "runtime", "float ms", "int8 ms", "times faster", "lowest to highest", "needed", "float MB",
        "int8 MB", "size / float", "needed", "calibration s", "peak MB", "images", "SQNR dB", "verdict",
    )  # fmt: skip
    rows = table(header, map(_speed_row, data["speed"]), text_columns=2)
    return f"{machine_line(data['machine'])}\n\n{rows}" + profile_block.profiles(data["speed"])


def bar(data: Json | None) -> Iterator[Row]:
    """What int8 set out to reach, and what it reaches."""
    rows, mutual, pairs = (data[name] if data else [] for name in ("rows", "mutual", "speed"))
    for network in NETWORKS.values():
        yield _judged(
            f"int8 of {network.name}: top-1 drop in points; agreement with Keras; the delegate takes all of it",
            f"at most {network.max_drop_points:g}; at least {network.min_agreement:.2f}; yes",
            [row for row in rows if row["network"] == network.name and row["tool"] == "kexport"],
            _reached,
        )
        yield _judged(
            f"int8 of {network.name}: the ONNX and the TFLite file decide alike",
            f"at least {network.min_mutual_agreement:.2f}",
            [each for each in mutual if each["network"] == network.name],
            lambda each: f"{each['agreement']:.4f}" if each["agreement"] is not None else NONE,
        )
    for name, least in MIN_SPEEDUP.items():
        yield _judged(
            f"int8 of {name}: times faster than float; size; on both runtimes",
            f"at least {least:g}" + _size_needed([row for row in pairs if row["model"] == name]),
            [row for row in pairs if row["model"] == name],
            _fast,
        )
    yield _judged(
        f"int8 of {MEMORY_MODEL}: peak memory of the calibration, {MEMORY_IMAGES} images",
        f"at most {MAX_PEAK_BYTES / 1e9:g} GB",
        [_only_memory(row) for row in pairs if bounded_memory(row)],
        lambda row: f"{row['peak_bytes'] / 1e9:.2f} GB",
    )


def _judged(what: str, needed: str, rows: Sequence[Json], tell: Any) -> Row:
    if not rows:
        return what, needed, "not measured yet", ""
    measured = "; ".join(escape(row["reason"]) if row.get("reason") else tell(row) for row in rows)
    return what, needed, measured, "**missed**" if any(row["broken"] for row in rows) else "met"


def _only_memory(row: Json) -> Json:
    return row | {"broken": [] if memory_held(row) else ["memory"]}


def _size_needed(rows: Sequence[Json]) -> str:
    ratios = {max_size_ratio(row["parameters"]) for row in rows if "parameters" in row} - {None}
    return "".join(f"; at most {ratio:g}" for ratio in ratios)


def _reached(row: Json) -> str:
    found, operators = row["accuracy"], row["operators"]
    taken = f"; {operators['delegated']} of {operators['all']} operators" if operators else ""
    return f"{row['format']}: {found['top1_drop_points']:.2f}; {found['top1_agreement']:.3f}{taken}"


def _fast(row: Json) -> str:
    return f"{RUNTIME_OF[row['format']]}: {row['speedup']:.2f}; {row['file_bytes'] / row['float_bytes']:.3f}"


def _mutual(each: Json) -> str:
    agreement = "not measured" if each["agreement"] is None else f"{100 * each['agreement']:.2f} %"
    return f"{each['network']} {agreement}"


def _versions(rows: Sequence[Json]) -> str:
    found = {name: version for row in rows for name, version in row.get("versions", {}).items()}
    return ", ".join(f"{name.replace('_', '-')} {version}" for name, version in sorted(found.items())) or "none"


def _accuracy_row(row: Json) -> tuple[str, ...]:
    found = row.get("accuracy")
    verdict = escape("; ".join(row["broken"]) if row["broken"] else "met" if row["tool"] == "kexport" else "")
    if found is None:
        blank = (NONE,) * 10
        return (row["network"], row["title"], row["format"], *blank, escape(row["reason"]))
    return (
        row["network"],
        row["title"],
        row["format"],
        f"{100 * found['top1']:.2f}",
        f"{found['top1_drop_points']:+.2f}",
        f"{found['top1_agreement']:.3f}",
        f"{found['right_to_wrong']} / {found['wrong_to_right']}",
        _number(found["logits_sqnr_db"], ".1f"),
        _number(found["output_sqnr_db"], ".1f"),
        f"{row['file_bytes'] / row['float_bytes']:.3f}",
        _number(row["seconds"], ".1f"),
        _number(row["peak_bytes"] / 1e6, ".0f"),
        _loads(row),
        f"missed: {verdict}" if row["broken"] else verdict,
    )


def _loads(row: Json) -> str:
    if row["load_problem"]:
        return "**not with the default delegate**"
    operators = row["operators"]
    return f"{operators['delegated']} of {operators['all']} delegated" if operators else "yes"


def _speed_row(row: Json) -> tuple[str, ...]:
    if row["reason"]:
        return (row["model"], RUNTIME_OF[row["format"]], *(NONE,) * 13, escape(f"missed: {row['reason']}"))
    least, most = MIN_SPEEDUP.get(row["model"]), max_size_ratio(row["parameters"])
    return (
        row["model"],
        RUNTIME_OF[row["format"]],
        f"{1000 * row['float_seconds']:.2f}",
        f"{1000 * row['int8_seconds']:.2f}",
        f"{row['speedup']:.2f}",
        " to ".join(f"{value:.2f}" for value in row["speedup_range"]),
        NONE if least is None else f"{least:g}",
        f"{row['float_bytes'] / 1e6:.1f}",
        f"{row['file_bytes'] / 1e6:.1f}",
        f"{row['file_bytes'] / row['float_bytes']:.3f}",
        NONE if most is None else f"{most:g}",
        f"{row['seconds']:.1f}",
        f"{row['peak_bytes'] / 1e6:.0f}",
        str(row["calibration_images"]),
        _number(row["sqnr_db"], ".1f"),
        escape("missed: " + "; ".join(row["broken"]) if row["broken"] else "met"),
    )


def _number(value: float | str | None, spec: str) -> str:
    return NONE if value is None else f"{float(value):{spec}}"
