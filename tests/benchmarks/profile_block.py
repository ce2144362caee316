"""The profiles of what int8_vs_peers.py finds too slow, in Markdown: float beside int8, by kind of operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from int8_speed import too_slow
from md_text import table
from measured_blocks import NONE, RUNTIMES

from kexport.reports.md import escape

Json = dict[str, Any]
Cells = tuple[str, ...]
RUNTIME_OF = {"onnx": RUNTIMES["onnxruntime"], "tflite": RUNTIMES["litert"]}
SCHEMES = ("float32", "int8")
MIN_SHARE = 0.03  # of the sum, in either file: smaller parts stand in one row
SHOWN_MS = 0.0005  # what three digits show
HEADER = ("network", "runtime", "part (operators in float / in int8)", "float ms", "int8 ms", "times faster")
TEXT = (
    "Where the time goes in what is too slow, in milliseconds of one inference. ONNX Runtime: its own profile of the "
    "kernels of the whole file, as it is after optimization. LiteRT has no profiler in Python: each operator was cut "
    "out of the file and run alone, with the default delegate and the same threads, less an almost empty invocation; "
    "so its inputs lie warm in the cache and nothing is fused across operators. The parts therefore do not add up to "
    "the whole file, whose latency, measured apart, stands below their sum."
)


def profiles(rows: Sequence[Json]) -> str:
    """The table, with what it means; nothing where nothing is too slow."""
    slow = [row for row in rows if not row["reason"] and too_slow(row["model"], row["speedup"])]
    if not slow:
        return ""
    cells = (cells for row in slow for cells in _rows(row))
    return f"\n\n{TEXT}\n\n{table(HEADER, cells, text_columns=3)}"


def _rows(row: Json) -> Iterator[Cells]:
    profile = row.get("profile") or {"reason": "not measured yet"}
    named = row["model"], RUNTIME_OF[row["format"]]
    if "reason" in profile:
        yield (*named, f"no profile: {escape(profile['reason'])}", NONE, NONE, NONE)
    else:
        columns = _columns(profile)
        yield from ((*named, *cells) for cells in _parts(columns))
        if columns["float32"]:
            yield (*named, *_part(f"sum of the parts{_delegated(columns.values())}", list(columns.values())))
    yield (*named, "whole file", *(f"{1000 * row[f'{name}_seconds']:.3f}" for name in ("float", "int8")), _speedup(row))


def _speedup(row: Json) -> str:
    """As it is judged: the median of the blocks' ratios, not the ratio of the medians."""
    return f"{row['speedup']:.2f}"


def _columns(profile: Json) -> dict[str, list[Json]]:
    """Scheme -> parts. Old measurements have the five largest of the int8 file alone, by operator: no sum."""
    if set(SCHEMES) <= profile.keys():
        return {scheme: profile[scheme] for scheme in SCHEMES}
    return {"float32": [], "int8": [{"name": name, "ms": ms} for name, ms in profile.items()]}


def _parts(columns: dict[str, list[Json]]) -> Iterator[Cells]:
    found = {scheme: {part["name"]: part for part in parts} for scheme, parts in columns.items()}
    sums = {scheme: sum(part["ms"] for part in parts) for scheme, parts in columns.items()}
    names = sorted(dict.fromkeys(name for parts in found.values() for name in parts), key=lambda n: -_largest(found, n))
    large = [n for n in names if any(n in found[s] and found[s][n]["ms"] >= MIN_SHARE * sums[s] for s in SCHEMES)]
    for name in large:
        yield _part(name, [[found[s][name]] if name in found[s] else [] for s in SCHEMES])
    small = [n for n in names if n not in large]
    if small:
        label = small[0] if len(small) == 1 else f"{len(small)} more kinds"
        yield _part(label, [[found[s][n] for n in small if n in found[s]] for s in SCHEMES])


def _largest(found: dict[str, dict[str, Json]], name: str) -> float:
    return max(float(parts[name]["ms"]) for parts in found.values() if name in parts)


def _part(name: str, sides: Sequence[Sequence[Json]]) -> Cells:
    """The parts that stand in one row, of either file."""
    times = [sum(float(part["ms"]) for part in parts) if parts else None for parts in sides]
    shown = _times(*times)
    in_float = sum(float(part.get("float_ms", 0)) for part in sides[1])
    note = f" ({in_float:.3f} in float)" if in_float >= SHOWN_MS else ""
    return f"{name}{_counts(sides)}", shown[0], shown[1] + note, shown[2]


def _counts(sides: Sequence[Sequence[Json]]) -> str:
    if not any("count" in part for parts in sides for part in parts):
        return ""
    return f" ({' / '.join(str(sum(part['count'] for part in parts)) for parts in sides)})"


def _delegated(sides: Iterable[Sequence[Json]]) -> str:
    """Whether LiteRT's default delegate takes all parts; nothing on a runtime without delegates."""
    parts = [part for side in sides for part in side if part.get("delegated") is not None]
    left = sorted({part["name"] for part in parts if part["delegated"] < part["count"]})
    if not parts:
        return ""
    return f", not delegated: {', '.join(left)}" if left else ", all delegated"


def _times(before: float | None, after: float | None) -> Cells:
    shown = (NONE if ms is None else f"{ms:.3f}" for ms in (before, after))
    is_ratio = before is not None and after is not None and min(before, after) >= SHOWN_MS
    return (*shown, f"{before / after:.2f}" if is_ratio and before and after else NONE)
