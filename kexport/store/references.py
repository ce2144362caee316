"""Keras's answers beside the artifacts that were judged by them: ``DIR/<Model>/<Model>-<kind>-<sha256[:12]>.npz``.

``reference`` is what parity compares with, ``answers`` what Keras said of the photographs. The name comes from the
bytes, so that several of one model stand side by side, one per set of weights and of images; the record of an artifact
has the whole digest. What no record names is removed with the next manifest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path, PurePosixPath

from kexport.errors import StoreError
from kexport.files import STAGING, file_digest, publish
from kexport.records import Record

_SUFFIX, _DIGITS = ".npz", 12
_MOST_BYTES = 2**32


class Kind(StrEnum):
    """What Keras was asked."""

    REFERENCE = "reference"
    ANSWERS = "answers"


def file_name(model: str, sha256: str, kind: Kind = Kind.REFERENCE) -> str:
    """The one rule for the names of these files."""
    return f"{model}-{kind}-{sha256[:_DIGITS]}{_SUFFIX}"


def keep(directory: Path, record: Record, made: Path, kind: Kind = Kind.REFERENCE) -> None:
    """Copy what ``record`` was judged by to its place, whole or not at all, unless it is there."""
    path = _path(directory, record, kind)
    if path is None or (path.is_file() and file_digest(path) == _digest(record, kind)):
        return
    staged = made.with_name(f"{STAGING}{record.format}-{record.scheme}-{path.name}")
    shutil.copyfile(made, staged)
    publish(staged, path)


def find(directory: Path, record: Record, kind: Kind = Kind.REFERENCE) -> Path | None:
    """Where the file of a record lies; None where it has none, or it is not there.

    Raises StoreError where another file has its name.
    """
    path = _path(directory, record, kind)
    if path is None or not path.exists():
        return None
    try:
        digest = file_digest(path, limit_bytes=_MOST_BYTES)
    except OSError as error:
        raise StoreError(f"{path.name} cannot be read: {error.strerror}", hint=f"kexport verify {directory}") from error
    if digest != _digest(record, kind):
        raise StoreError(
            f"{path.name} was changed: its sha256 is {digest[:12]}, the record has {_digest(record, kind)[:12]}",
            hint=f"kexport parity --with-keras {directory} makes it again",
        )
    return path


def name_of(record: Record, kind: Kind) -> str | None:
    """What the file of a record is called, wherever its artifact lies; None where it has none."""
    digest = _digest(record, kind)
    if not digest or record.artifact is None:
        return None
    return file_name(PurePosixPath(record.artifact.path).parent.name, digest, kind)


def names(directory: Path, record: Record) -> tuple[str, ...]:
    """What the manifest calls the files of a record: nothing for those that are not there."""
    paths = (_path(directory, record, kind) for kind in Kind)
    return tuple(path.relative_to(directory).as_posix() for path in paths if path is not None and path.is_file())


def prune(directory: Path, records: Iterable[Record]) -> frozenset[str]:
    """Remove the files that none of a directory's ``records`` names any more; what the manifest called them."""
    removed: set[str] = set()
    wanted = {_path(directory, record, kind) for record in records for kind in Kind}
    for kind in Kind:
        for path in directory.glob(f"[!.]*/[!.]*-{kind}-*{_SUFFIX}"):
            ours = file_name(path.parent.name, path.stem.rpartition("-")[2], kind)
            if path not in wanted and path.name == ours:
                path.unlink()
                removed.add(path.relative_to(directory).as_posix())
    return frozenset(removed)


def _digest(record: Record, kind: Kind) -> str:
    if kind is Kind.ANSWERS:
        return record.accuracy.answers_sha256 if record.accuracy is not None else ""
    return record.parity.reference_sha256 if record.parity is not None else ""


def _path(directory: Path, record: Record, kind: Kind) -> Path | None:
    name = name_of(record, kind)
    if name is None or record.artifact is None:
        return None
    return (directory / record.artifact.path).parent / name
