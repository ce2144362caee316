"""The table of keras.io/api/applications with measured columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from md_text import code, table
from measured_blocks import NONE, absent, machine_line

from kexport.evidence.latency import Latency, summarize
from kexport.reports.md import escape
from kexport.sources import catalog

Json = dict[str, Any]
OPTION = "--keras-io FILE"
AGAIN = "PYTHONPATH=. python tests/benchmarks/keras_io.py ROWS FOLDER"
BATCH, FULL = 32, "keras.io"
MAX_OTHERS = 0.10
"""Above this part of the processor time for others, a latency is not trusted."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One column that is measured: Keras has neither format nor scheme."""

    title: str
    format: str = ""
    scheme: str = ""

    @property
    def key(self) -> str:
        """As rows name it."""
        return f"{self.format} {self.scheme}".strip() or "keras"


KERAS = Cell(title="Keras")
CELLS = (
    KERAS,
    Cell(title="ONNX", format="onnx", scheme="float32"),
    Cell(title="ONNX int8", format="onnx", scheme="int8"),
    Cell(title="TFLite", format="tflite", scheme="float32"),
    Cell(title="TFLite int8", format="tflite", scheme="int8"),
)


def whole(data: Json | None) -> str:
    """The table beside the published columns, the full protocol, every interval and count, what is missing."""
    if data is None:
        return absent(OPTION)
    short, full = ([row for row in data["rows"] if bool(row["protocol"]) is long] for long in (False, True))
    parts = [
        " ".join([machine_line(data["machine"]), *_machines(data["rows"])]),
        _missing(short),
        beside_published(short),
        "### The whole protocol: 300 batches",
        beside_published(full) if full else absent(OPTION),
        "### Every cell",
        _every(data["rows"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _machines(rows: Sequence[Json]) -> Iterator[str]:
    """Where rows are of several machines, that they are."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        models.setdefault(row["processor"], {})[row["model"]] = None
    if len(models) > 1:
        told = "; ".join(f"{escape(name)}: {', '.join(each)}" for name, each in models.items())
        yield f"Every row is of one machine, but not all are of the same: {told}."


def beside_published(rows: Sequence[Json]) -> str:
    """One row per application: what keras.io says, and what was measured here."""
    header = (
        "model", "size MB", "top-1 %", "parameters", "depth", "CPU ms", "GPU ms",
        *(f"{cell.title} MB" for cell in CELLS[1:]), *(f"{cell.title} ms" for cell in CELLS),
    )  # fmt: skip
    found = {(row["model"], row["cell"]): row for row in rows}
    names = [each.name for each in catalog.APPLICATIONS if any(row["model"] == each.name for row in rows)]
    return table(header, [_row(name, found) for name in names], text_columns=1)


def latency(row: Json) -> Latency:
    """Statistics of a cell, in seconds per batch."""
    return summarize(row["samples_seconds"], batch=row["batch"])


def doubts(row: Json) -> tuple[str, ...]:
    """Every reason not to trust a cell; none is good."""
    busy = row["others"] > MAX_OTHERS
    return (*latency(row).noise, *((f"others took {row['others']:.0%} of the processors",) if busy else ()))


def told(row: Json) -> str:
    """A cell in words."""
    where = f"{row['model']} {row['cell']} {row['protocol']}".strip()
    if row["reason"]:
        return f"{where}: {row['reason']}"
    return f"{where}: {_median(row)} ms, {_interval(row)}; {'; '.join(doubts(row)) or 'trusted'}"


def _row(name: str, found: dict[tuple[str, str], Json]) -> tuple[str, ...]:
    known = catalog.application(name)
    published = (known.size_megabytes, known.top1_percent, known.depth, known.cpu_milliseconds, known.gpu_milliseconds)
    size, top1, depth, cpu, gpu = (NONE if value is None else f"{value:g}" for value in published)
    cells = [found.get((name, cell.key)) for cell in CELLS]
    sizes = [f"{each['size_bytes'] / 1e6:.1f}" if each else NONE for each in cells[1:]]
    return (name, size, top1, f"{known.parameters / 1e6:.1f}M", depth, cpu, gpu, *sizes, *map(_starred, cells))


def _starred(row: Json | None) -> str:
    if row is None:
        return NONE
    if row["reason"]:
        return "ERROR"
    return _median(row) + ("\\*" if doubts(row) else "")


def _median(row: Json) -> str:
    return _milliseconds(latency(row).median_seconds)


def _interval(row: Json) -> str:
    each = latency(row)
    ends = f"{_milliseconds(each.low_seconds)} to {_milliseconds(each.high_seconds)}"
    return f"{ends} ({each.coverage:.0%}, {each.count} batches)"


def _milliseconds(seconds: float) -> str:
    return f"{float(f'{1000 * seconds:.3g}'):g}"


def _missing(rows: Sequence[Json]) -> str:
    """Which models have not been measured, or not whole; how many numbers are starred."""
    counts = {each.name: sum(row["model"] == each.name for row in rows) for each in catalog.APPLICATIONS}
    none = [name for name, count in counts.items() if not count]
    partly = [name for name, count in counts.items() if 0 < count < len(CELLS)]
    return " ".join(_sentences(rows, none, partly))


def _sentences(rows: Sequence[Json], none: Sequence[str], partly: Sequence[str]) -> Iterator[str]:
    good = [row for row in rows if not row["reason"]]
    complete = len(catalog.APPLICATIONS) - len(none) - len(partly)
    yield f"{complete} of {len(catalog.APPLICATIONS)} applications have all {len(CELLS)} columns."
    if partly:
        yield f"Measured in part: {', '.join(partly)}."
    if none:
        yield f"Not measured yet: {', '.join(none)}. {code(AGAIN)} goes on with them."
    if good:
        yield f"\\* {sum(bool(doubts(row)) for row in good)} of {len(good)} numbers are not to be trusted: see below."


def _every(rows: Sequence[Json]) -> str:
    header = (
        "model", "what", "protocol", "median ms", "interval ms", "coverage", "batches", "threads", "peak MiB",
        "processors used by others", "not trusted because",
    )  # fmt: skip
    order = {each.name: number for number, each in enumerate(catalog.APPLICATIONS)}
    places = {cell.key: number for number, cell in enumerate(CELLS)}
    chosen = sorted(rows, key=lambda row: (order[row["model"]], row["protocol"], places[row["cell"]]))
    return table(header, map(_full_row, chosen), text_columns=3)


def _full_row(row: Json) -> tuple[str, ...]:
    names = (row["model"], row["cell"], "whole" if row["protocol"] else "short")
    if row["reason"]:
        return (*names, *[NONE] * 7, escape(row["reason"]))
    each = latency(row)
    return (
        *names,
        _median(row),
        f"{_milliseconds(each.low_seconds)} to {_milliseconds(each.high_seconds)}",
        f"{each.coverage:.1%}",
        str(each.count),
        str(row["threads"]),
        f"{row['peak_memory_bytes'] / 2**20:.0f}",
        f"{row['others']:.0%}",
        "; ".join(doubts(row)),
    )
