"""The manifest: sha256 and size of every record and artifact, written last; and what is not as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kexport.documents import adapter, mistakes
from kexport.errors import StoreError, UsageError
from kexport.files import STAGING, file_digest, files_of, left_overs, listing_digest, relative, write
from kexport.records import Record, decode
from kexport.store.directory import read_all, record_paths
from kexport.version import __version__

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1


def write_manifest(directory: Path) -> Path:
    """State sha256 and size of every record and of every file of its artifact; to be written last.

    A file artifact is stated as its record has it, so that what changed since is found by `verify`.
    StoreError naming every damaged record.
    """
    files: dict[str, dict[str, Any]] = {}
    for path, record in read_all(directory).items():
        files[relative(path, directory)] = _entry(path)
        files |= _artifact_entries(directory, record)
    manifest = {"files": files, "kexport": __version__, "schema": MANIFEST_SCHEMA}
    write(directory / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return directory / MANIFEST


def verify(directory: Path) -> tuple[str, ...]:
    """Every problem of the directory, one line each; empty if all is as it was written.

    Looked for: missing, edited and extra files, a damaged or newer manifest, damaged records, records
    whose artifact is missing or another. UsageError if there is no such directory.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such folder", hint=f"kexport all -o {directory}")
    try:
        files = _read_manifest(directory / MANIFEST)
    except StoreError as error:
        return (error.message,)
    problems = [problem for name, entry in sorted(files.items()) for problem in _check_entry(directory, name, entry)]
    problems += [f"{name}: not in the manifest" for name in _present(directory) if name not in files]
    return tuple(problems + _check_records(directory, files))


def _present(directory: Path) -> list[str]:
    """Files inside the models' folders, and staging that dead processes left; not that of live ones."""
    left_over = [relative(path, directory) for path in left_overs(directory)]
    names = [relative(path, directory) for folder in directory.glob("[!.]*/") for path in files_of(folder)]
    return sorted({*left_over, *(name for name in names if not _in_staging(name))})


def _in_staging(name: str) -> bool:
    return any(part.startswith(STAGING) for part in PurePosixPath(name).parts)


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "size_bytes": path.stat().st_size}


def _artifact_entries(directory: Path, record: Record) -> dict[str, dict[str, Any]]:
    artifact = record.artifact
    if artifact is None:
        return {}
    path = directory / artifact.path
    if path.is_dir():
        return {relative(file, directory): _entry(file) for file in files_of(path)}
    return {artifact.path: {"sha256": artifact.sha256, "size_bytes": artifact.size_bytes}}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What the manifest states of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    schema: int
    files: dict[str, _Entry]


def _read_manifest(path: Path) -> dict[str, _Entry]:
    """The manifest's entries; StoreError with one line if it is missing, damaged or newer."""
    from pydantic import ValidationError

    try:
        text = path.read_bytes()
        _refuse_newer(json.loads(text))
        manifest: _Manifest = adapter(_Manifest).validate_json(text, strict=True)
    except FileNotFoundError as error:
        raise StoreError(f"{MANIFEST}: missing: the last run did not end") from error
    except ValidationError as error:
        wanted = f"{MANIFEST}: damaged: expected schema {MANIFEST_SCHEMA}, and sha256 and size of every file"
        raise StoreError(f"{wanted}: {'; '.join(mistakes(error))}") from error
    except ValueError as error:
        raise StoreError(f"{MANIFEST}: not JSON: {error}") from error
    return manifest.files


def _refuse_newer(value: object) -> None:
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > MANIFEST_SCHEMA:
        raise StoreError(f"{MANIFEST}: schema {schema}, this kexport reads up to {MANIFEST_SCHEMA}")


def _check_entry(directory: Path, name: str, entry: _Entry) -> Iterator[str]:
    path, parts = directory / name, PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts:
        yield f"{name}: leads out of the directory"
    elif not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != entry.size_bytes:
        yield f"{name}: {path.stat().st_size} bytes, expected {entry.size_bytes}"
    elif file_digest(path) != entry.sha256:
        yield f"{name}: edited: its sha256 is not the one in the manifest"


def _check_records(directory: Path, listed: Mapping[str, _Entry]) -> list[str]:
    """Records that cannot be read, or that speak of another artifact than the manifest does."""
    problems = []
    for path in record_paths(directory):
        try:
            problem = _check_listed(directory, decode(path.read_bytes()), listed)
        except StoreError as error:
            problem = error.message
        if problem:
            problems.append(f"{relative(path, directory)}: {problem}")
    return problems


def _check_listed(directory: Path, record: Record, listed: Mapping[str, _Entry]) -> str | None:
    artifact = record.artifact
    if artifact is None:
        return f"says {record.status}, but has no artifact" if record.published else None
    if (directory / artifact.path).is_dir():
        start = f"{artifact.path}/"
        inside = {name.removeprefix(start): entry.sha256 for name, entry in listed.items() if name.startswith(start)}
        known = listing_digest(inside) == artifact.sha256
    else:
        known = artifact.path in listed and listed[artifact.path].sha256 == artifact.sha256
    return None if known else f"its artifact {artifact.path} is missing or another one"
