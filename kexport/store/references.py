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
from kexport.files import STAGING, file_digest, publish, relative
from kexport.records import Record
from kexport.store.listing import inner_files

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
    if path is None or (path.is_file() and file_digest(path) == digest_of(record, kind)):
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
    if digest != digest_of(record, kind):
        raise StoreError(
            f"{path.name} was changed: its sha256 is {digest[:12]}, the record has {digest_of(record, kind)[:12]}",
            hint=f"kexport parity --with-keras {directory} makes it again",
        )
    return path


def name_of(record: Record, kind: Kind) -> str | None:
    """What the file of a record is called, wherever its artifact lies; None where it has none."""
    digest = digest_of(record, kind)
    if not digest or record.artifact is None:
        return None
    return file_name(PurePosixPath(record.artifact.path).parent.name, digest, kind)


def name(record: Record, kind: Kind) -> str | None:
    """What the manifest calls the file of a record, there or not; None where it has none."""
    called = name_of(record, kind)
    if called is None or record.artifact is None:
        return None
    return (PurePosixPath(record.artifact.path).parent / called).as_posix()


def names(directory: Path, record: Record) -> tuple[str, ...]:
    """What the manifest calls the files of a record: nothing for those that are not there."""
    named = (name(record, kind) for kind in Kind)
    return tuple(each for each in named if each is not None and (directory / each).is_file())


def prune(directory: Path, records: Iterable[Record]) -> frozenset[str]:
    """Remove the files that none of a directory's ``records`` names any more; what the manifest called them."""
    removed: set[str] = set()
    wanted = {name(record, kind) for record in records for kind in Kind}
    for path in inner_files(directory, _SUFFIX):
        called = relative(path, directory)
        if called not in wanted and _is_ours(path):
            path.unlink()
            removed.add(called)
    return frozenset(removed)


def _is_ours(path: Path) -> bool:
    """Whether a file is called as one of a model is."""
    return any(path.name == file_name(path.parent.name, path.stem.rpartition("-")[2], kind) for kind in Kind)


def digest_of(record: Record, kind: Kind) -> str:
    """The sha256 that a record states of its file; empty where it has none."""
    if kind is Kind.ANSWERS:
        return record.accuracy.answers_sha256 if record.accuracy is not None else ""
    return record.parity.reference_sha256 if record.parity is not None else ""


def _path(directory: Path, record: Record, kind: Kind) -> Path | None:
    called = name(record, kind)
    return None if called is None else directory / called
