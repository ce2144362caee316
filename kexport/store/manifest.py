"""The manifest: sha256 and size of every record and artifact, written last."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kexport.documents import adapter, mistakes
from kexport.errors import StoreError
from kexport.files import MOST_BYTES, file_digest, files_of, listing_digest, read, relative, write
from kexport.records import Record
from kexport.store import references
from kexport.store.directory import read_all
from kexport.version import __version__

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 2
"""2 since 0.2: the manifest counts its entries, and chains them in a digest."""
FIRST_CHAINED = 2
MAX_BYTES = 64 * 2**20


def write_manifest(
    directory: Path,
    *,
    only: Collection[str] | None = None,
    within: Collection[str] | None = None,
    elsewhere: Mapping[str, dict[str, Any]] | None = None,
    known: Mapping[Path, Record] | None = None,
) -> Path:
    """State sha256 and size of every record, of its reference and of every file of its artifact; to be written last.

    A file artifact is stated as its record has it, so that what changed since is found by `verify`. ``only`` are the
    paths of the artifacts that were judged or measured again, where nothing else was written: every other entry stays
    as it was, also that of a file which is missing or was edited since, unless there is no manifest that can be read.
    ``within`` are the folders that are here whole, of a directory that is a part of another (`mirror`): entries of
    other folders stay. ``elsewhere`` are the entries of folders that were made on other machines, and may not be here.
    ``known`` are records that were read already. StoreError naming every damaged record.
    """
    before = None if only is None and within is None else _before(directory)
    records = read_all(directory, known)
    gone = references.prune(directory, records.values())
    files: dict[str, dict[str, Any]] = {}
    for path, record in records.items():
        if before is None or _asked(relative(path, directory), record, only, within):
            files[relative(path, directory)] = _entry(path)
            files |= _artifact_entries(directory, record)
            files |= {name: _entry(directory / name) for name in references.names(directory, record)}
    stay = {
        name: entry
        for name, entry in (before or {}).items()
        if name not in gone and _folder(name) not in (within or ())
    }
    files = stay | files
    if elsewhere:
        others = {_folder(name) for name in elsewhere}
        files = {name: entry for name, entry in files.items() if _folder(name) not in others} | dict(elsewhere)
    digests = {name: entry["sha256"] for name, entry in files.items()}
    manifest = {
        "count": len(files),
        "digest": listing_digest(digests),
        "files": files,
        "kexport": __version__,
        "schema": MANIFEST_SCHEMA,
    }
    write(directory / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return directory / MANIFEST


def _asked(name: str, record: Record, only: Collection[str] | None, within: Collection[str] | None) -> bool:
    """Whether the entries of a record, a file called ``name``, are stated anew."""
    return _folder(name) in (within or ()) or (record.artifact is not None and record.artifact.path in (only or ()))


def _folder(name: str) -> str:
    return name.partition("/")[0]


def entries(directory: Path) -> dict[str, dict[str, Any]]:
    """What the manifest states, by the files' names. StoreError where it cannot be read."""
    return {name: asdict(entry) for name, entry in read_manifest(directory / MANIFEST).files.items()}


def _before(directory: Path) -> dict[str, dict[str, Any]] | None:
    """The entries of the manifest that is to be replaced; None where it cannot be read."""
    try:
        return entries(directory)
    except StoreError:
        return None


def named(directory: Path) -> tuple[str, ...]:
    """Every file that the manifest names. StoreError where it cannot be read."""
    return tuple(read_manifest(directory / MANIFEST).files)


def _entry(path: Path) -> dict[str, Any]:
    try:
        return {"sha256": file_digest(path, limit_bytes=MOST_BYTES), "size_bytes": path.stat().st_size}
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", hint="kexport verify DIR") from error


def _artifact_entries(directory: Path, record: Record) -> dict[str, dict[str, Any]]:
    artifact = record.artifact
    if artifact is None:
        return {}
    path = directory / artifact.path
    if path.is_dir():
        return {relative(file, directory): _entry(file) for file in files_of(path)}
    return {artifact.path: {"sha256": artifact.sha256, "size_bytes": artifact.size_bytes}}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the manifest states of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``count`` and ``digest`` are of all entries; None in manifests of schema 1."""

    schema: int
    files: dict[str, Entry]
    count: int | None = None
    digest: str | None = None


def read_manifest(path: Path) -> Manifest:
    """The manifest; StoreError with one line if it is missing, damaged or newer."""
    from pydantic import ValidationError

    try:
        text = read(path, limit_bytes=MAX_BYTES)
        _refuse_newer(json.loads(text))
        manifest: Manifest = adapter(Manifest).validate_json(text, strict=True)
    except FileNotFoundError as error:
        raise StoreError(f"{MANIFEST}: missing: the last run did not end") from error
    except OSError as error:
        raise StoreError(f"{MANIFEST}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        wanted = f"{MANIFEST}: damaged: expected schema {MANIFEST_SCHEMA}, and sha256 and size of every file"
        raise StoreError(f"{wanted}: {'; '.join(mistakes(error, show=repr))}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{MANIFEST}: not JSON: {error}") from error
    return manifest


def _refuse_newer(value: object) -> None:
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > MANIFEST_SCHEMA:
        raise StoreError(f"{MANIFEST}: schema {schema}, this kexport reads up to {MANIFEST_SCHEMA}")
