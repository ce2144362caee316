"""What is complete already: the fingerprint of a request, and the record that still answers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from kexport import machine
from kexport.errors import SourceError, StoreError
from kexport.evidence import tolerances
from kexport.files import SOME_BYTES, digest, files_of
from kexport.records import Record
from kexport.specs import Cell
from kexport.store.directory import cell_path, read_record
from kexport.version import __version__

REQUEST = "request"


def fingerprint(cell: Cell) -> str:
    """The sha256 of what a cell asks for and of what answers.

    That is its canonical JSON, the bytes of model, weight and label files, the bounds, the versions of kexport, Keras
    and TensorFlow. Images may be many: their names, sizes and times of change stand for their bytes.
    The pipeline stores it as ``record.versions["request"]``.
    """
    model = cell.model
    files = {
        "weights": model.weights.path,
        "model": model.file,
        "labels": model.labels,
        "stated": model.preprocessing,
        "recipe": cell.recipe,
    }
    content = {name: _content(path) for name, path in files.items()}
    request = {"cell": _told(cell), "files": content, "bounds": tolerances.digest(), "made with": _makers()}
    images = {text: _state(Path(text)) for text in (cell.calibration, cell.evaluation) if text is not None}
    request |= {"images": images} if images else {}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> Any:
    """As `dataclasses.asdict`, without copies: what is inside cannot be changed."""
    return {each.name: _told(getattr(value, each.name)) for each in fields(value)} if is_dataclass(value) else value


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change of a file, or of every file in a folder; nothing where neither is there."""
    files = [path] if path.is_file() else files_of(path)
    return [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]


def _makers() -> dict[str, str]:
    """Versions that decide what an artifact computes; kexport's own also where it is not installed."""
    makers = ("keras", "tensorflow", "tensorflow-cpu")
    return {"kexport": __version__} | {name: v for name, v in machine.versions().items() if name in makers}


def _content(path: str | None) -> str | None:
    """The digest of a file that the request names. SourceError where it cannot be read."""
    try:
        return digest(Path(path)) if path is not None and Path(path).exists() else None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="kexport export --help") from error


def complete(cells: Iterable[Cell], directory: Path) -> dict[Cell, Record]:
    """The cells that are complete already. A model of this program may have changed: it has none."""
    asked = (cell for cell in cells if not cell.model.live)
    found = {cell: resumable(directory, cell, fingerprint(cell)) for cell in asked}
    return {cell: record for cell, record in found.items() if record is not None}


def resumable(directory: Path, cell: Cell, fingerprint: str) -> Record | None:
    """The stored record of that very request whose artifact was published and still has its sha256, else None.

    A record that cannot be read is no reason to stop: the cell is simply made again.
    """
    if not cell_path(directory, cell).is_file():
        return None
    try:
        record = read_record(directory, cell)
    except StoreError:
        return None
    asked = record.published and record.versions.get(REQUEST) == fingerprint
    return record if asked and _unchanged(directory, record) else None


def _unchanged(directory: Path, record: Record) -> bool:
    """Whether the record's artifact has the sha256 that it had when the record was written."""
    if record.artifact is None:
        return False
    path = directory / record.artifact.path
    try:
        limit = max(record.artifact.size_bytes, SOME_BYTES)
        return path.exists() and digest(path, limit_bytes=limit) == record.artifact.sha256
    except OSError:  # a FIFO or a device has its name: the cell is made again, or told why it cannot be
        return False
