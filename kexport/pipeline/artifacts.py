"""The stored artifacts that paths name: a directory, a model's folder in one, or a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kexport import files, store
from kexport.errors import UsageError
from kexport.records import Record


def by_directory(paths: Sequence[Path]) -> Iterator[tuple[Path, list[Record]]]:
    """Each artifact directory with the records that ``paths`` name in it."""
    wanted: dict[Path, list[Record]] = {}
    for path in paths:
        directory, records = _stored(path)
        known = wanted.setdefault(directory, [])
        known.extend(record for record in records if record not in known)
    yield from wanted.items()


def _stored(path: Path) -> tuple[Path, list[Record]]:
    directory = path if (path / store.MANIFEST).is_file() else path.parent.parent
    if path != directory and not (directory / store.MANIFEST).is_file():
        directory = path.parent if (path.parent / store.MANIFEST).is_file() else directory
    if not (directory / store.MANIFEST).is_file():
        raise UsageError(
            f"{path} is neither an artifact directory nor an artifact in one (no {store.MANIFEST})",
            hint=f"kexport all -o {path}",
        )
    records = [
        record for record in store.read_records(directory) if record.artifact and _named(path, directory, record)
    ]
    if not records:
        raise UsageError(f"{path} has no artifact with a record", hint=f"kexport verify {directory}")
    return directory, records


def _named(path: Path, directory: Path, record: Record) -> bool:
    assert record.artifact is not None
    artifact = files.real(directory / record.artifact.path)
    return files.real(path) in (artifact, *artifact.parents)
