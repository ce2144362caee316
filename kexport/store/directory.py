"""The records of an artifact directory: where they lie, how they are written and read.

Everything is written beside its final place, synced, and renamed over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from kexport.errors import StoreError, UsageError
from kexport.files import read, relative, write
from kexport.records import Record, decode, encode
from kexport.specs import Cell, Format
from kexport.store.listing import inner_files

FAILED = ".failed"
MAX_RECORD_BYTES = 64 * 2**20  # raw samples of many benchmarks and the labels of 100,000 classes are a tenth of it


def write_record(directory: Path, record: Record, file_name: str) -> Path:
    """Write the record of the artifact called ``file_name``; the path of ``<file_name>.json``."""
    path = record_path(directory, record, file_name)
    write(path, encode(record))
    return path


def record_path(directory: Path, record: Record, file_name: str) -> Path:
    """Where that record belongs. UsageError for what cannot name a file."""
    for name in (record.model, file_name):
        if name in ("", ".", "..") or PurePosixPath(name).name != name or name.startswith("."):
            raise UsageError(f"{name!r} cannot name a file: expected a plain name", hint="rename the model")
    return directory / record.model / f"{file_name}.json"


def read_record(directory: Path, cell: Cell) -> Record:
    """The stored record of a cell's artifact. StoreError if there is none, or if it is damaged."""
    return read_file(cell_path(directory, cell))


def cell_path(directory: Path, cell: Cell) -> Path:
    """Where the record of a cell's artifact lies."""
    return directory / cell.model.name / f"{cell.file_name}.json"


def write_failure(directory: Path, cell: Cell, record: Record) -> Path:
    """Write the record of a cell that made no artifact.

    Where an artifact of an earlier run stands, both stay: the failure is ``<artifact>.failed.json`` beside it.
    """
    stands = (directory / cell.model.name / cell.file_name).exists()
    return write_record(directory, record, f"{cell.file_name}{FAILED}" if stands else cell.file_name)


def forget_failure(directory: Path, cell: Cell) -> None:
    """Remove what `write_failure` left beside an artifact: the cell has passed since."""
    (directory / cell.model.name / f"{cell.file_name}{FAILED}.json").unlink(missing_ok=True)


def read_records(directory: Path) -> tuple[Record, ...]:
    """Every record, by model, format, scheme and variant. StoreError naming every damaged file at once."""
    return tuple(sorted(read_all(directory).values(), key=lambda record: (record.model, record.format, record.kind)))


def read_all(directory: Path, known: Mapping[Path, Record] | None = None) -> dict[Path, Record]:
    """Every record by its path; those that are ``known`` are not read. StoreError naming every damaged file at once."""
    found, damaged, there = {}, [], known or {}
    for path in record_paths(directory):
        try:
            found[path] = there[path] if path in there else read_file(path)
        except StoreError as error:
            damaged.append(f"{relative(path, directory)}: {error.message}")
    if damaged:
        raise StoreError("\n".join(damaged), hint=f"kexport verify {directory}")
    return found


def read_file(path: Path) -> Record:
    """One record. StoreError where it is no file, too large, or damaged."""
    try:
        return decode(read(path, limit_bytes=MAX_RECORD_BYTES))
    except OSError as error:
        raise StoreError(f"the record cannot be read: {error.strerror}", hint="kexport verify DIR") from error


def record_paths(directory: Path) -> list[Path]:
    """Where records lie, sorted."""
    return inner_files(directory, *_endings())


def is_record(name: str) -> bool:
    """Whether a file of that name, relative to its directory, is a record."""
    parts = name.split("/")
    return len(parts) == 2 and not any(part.startswith(".") for part in parts) and parts[1].endswith(_endings())


def _endings() -> tuple[str, ...]:
    return (*(f"{form.suffix}.json" for form in Format), f"{FAILED}.json")
