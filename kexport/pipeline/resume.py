"""What is complete already: the fingerprint of a request, and the record that still answers it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kexport.errors import SourceError, StoreError
from kexport.evidence import tolerances
from kexport.files import SOME_BYTES, digest, files_of
from kexport.options import fetched
from kexport.quantization import recipe_file
from kexport.records import Record
from kexport.sources import backend
from kexport.sources.loading import code
from kexport.specs import Cell
from kexport.store.directory import read_record
from kexport.version import __version__

REQUEST = "request"


def _makers() -> dict[str, str]:
    """Versions that decide what an artifact computes; kexport's own also where it is not installed."""
    return {"kexport": __version__, **backend.versions()}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What answers every cell of a run alike, found once: the bounds and the versions; and files, each read once."""

    bounds: str = field(default_factory=tolerances.digest)
    makers: Mapping[str, str] = field(default_factory=_makers)
    _digests: dict[str, str | None] = field(default_factory=dict)
    _states: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)

    def digest(self, path: str | None) -> str | None:
        """Of a file that requests name."""
        if path is None:
            return None
        if path not in self._digests:
            self._digests[path] = fetched.mark(path) or _content(Path(fetched.local(path)))
        return self._digests[path]

    def state(self, text: str) -> list[tuple[str, int, int]]:
        """Of images that requests name."""
        if text not in self._states:
            told = fetched.mark(text)
            self._states[text] = _state(Path(fetched.local(text))) if told is None else [(told, 0, 0)]
        return self._states[text]


def fingerprint(cell: Cell, around: Surroundings | None = None) -> str:
    """The sha256 of what a cell asks for and of what answers; the latter is found now where it is not given.

    That is its canonical JSON, the bytes of model, weight and label files, and of the code that a trusted file names,
    the bounds, the versions of kexport, Keras and TensorFlow. Images may be many: their names, sizes and times of
    change stand for their bytes.
    The pipeline stores it as ``record.versions["request"]``.
    """
    model, around = cell.model, around or Surroundings()
    files = {
        "weights": model.weights.path,
        "model": model.file,
        "labels": model.labels,
        "stated": model.preprocessing,
        "recipe": None if cell.recipe is None else str(recipe_file.place(cell.recipe)),
    }
    content = {name: around.digest(path) for name, path in files.items()}
    request = {"cell": _told(cell), "files": content, "bounds": around.bounds, "made with": around.makers}
    images = {text: around.state(text) for text in (cell.calibration, cell.evaluation) if text is not None}
    request |= {"images": images} if images else {}
    if model.trust and model.file is not None:
        request |= {"code": {name: around.digest(str(file)) for name, file in code.sources(model.path).items()}}
    request |= {"others": backend.recorded(cell.reference)} if cell.reference else {}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> Any:
    """As `dataclasses.asdict`, without copies: what is inside cannot be changed."""
    kind: Any = type(value)
    names = _names(kind)
    return {name: _told(getattr(value, name)) for name in names} if names else value


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass; none of what is no dataclass."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change of a file, or of every file in a folder; nothing where neither is there.

    Of a CSV also those of the images that it lists.
    """
    from kexport.images import classes

    files = [path] if path.is_file() else files_of(path)
    listed = classes.listed(path) if path.suffix.lower() == ".csv" and path.is_file() else ()
    there = [*files, *(image for image in listed if os.path.exists(image))]  # noqa: PTH110 - also what cannot be a name
    return [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in there]


def _content(path: Path) -> str | None:
    """The digest of a file that the request names; None where it is not there. SourceError where it cannot be read."""
    try:
        return digest(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="kexport export --help") from error


def complete(cells: Iterable[Cell], directory: Path) -> dict[Cell, Record]:
    """The cells that are complete already. A model of this program, or of a function, may have changed: it has none."""
    asked, around = (cell for cell in cells if not (cell.model.live or cell.model.factory)), Surroundings()
    found = {cell: resumable(directory, cell, fingerprint(cell, around)) for cell in asked}
    return {cell: record for cell, record in found.items() if record is not None}


def resumable(directory: Path, cell: Cell, fingerprint: str) -> Record | None:
    """The stored record of that very request whose artifact was published and still has its sha256, else None.

    A record that cannot be read is no reason to stop: the cell is simply made again.
    """
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
        return digest(path, limit_bytes=max(record.artifact.size_bytes, SOME_BYTES)) == record.artifact.sha256
    except OSError:  # not there, or a FIFO has its name: the cell is made again, or told why it cannot be
        return False
