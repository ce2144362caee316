"""Where numbers come from: weights, date, machine and versions, as every table says them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kexport.machine import KERAS
from kexport.records import Record

_VERSIONS = (*KERAS, "onnxruntime", "onnxruntime-gpu", "ai-edge-litert")
_UNKNOWN = "not recorded"
_MOST = 4


def origin(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What and its value; where records differ, every value of them."""
    lines: tuple[tuple[str, Callable[[Record], str]], ...] = (
        ("weights", weights), ("made", lambda record: record.made), ("machine", machine), ("versions", versions)
    )  # fmt: skip
    return tuple((name, _joined([read(record) for record in records])) for name, read in lines)


def line(records: Sequence[Record]) -> str:
    """All of it in one line, for below a table."""
    return " · ".join(f"{name}: {value}" for name, value in origin(records))


def weights(record: Record) -> str:
    """``imagenet``, ``random:0``, or the file's name; a model's own weights are those of its file."""
    source = record.source
    if source is None:
        return ""
    if source.weights == "model":
        return f"of {source.source.replace(chr(92), '/').rpartition('/')[2] or source.kind}"
    return source.weights.replace("\\", "/").rpartition("/")[2]


def machine(record: Record) -> str:
    """Processor, cores and what of its instructions matters."""
    found = record.machine or next((session.machine for session in record.benchmarks if session.machine), {})
    return f"{found.get('processor', '?')}, {found.get('cores', '?')} cores" if found else ""


def versions(record: Record) -> str:
    """Of what builds and of what runs."""
    kexport = [f"kexport {record.versions['kexport']}"] if "kexport" in record.versions else []
    return ", ".join([*kexport, *(f"{name} {record.versions[name]}" for name in _VERSIONS if name in record.versions)])


def _joined(values: Sequence[str]) -> str:
    found = sorted({value for value in values if value})
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more if found else _UNKNOWN
