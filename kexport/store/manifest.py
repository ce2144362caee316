"""The manifest: sha256 and size of every record and artifact, written last; and what is not as it says."""

from __future__ import annotations

import json
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kexport.documents import adapter, mistakes
from kexport.errors import StoreError, UsageError
from kexport.files import (
    MOST_BYTES,
    STAGING,
    file_digest,
    files_of,
    left_overs,
    listing_digest,
    read,
    relative,
    too_long,
    write,
)
from kexport.records import Record
from kexport.store import references
from kexport.store.contradictions import contradiction
from kexport.store.directory import read_all, read_file, record_paths
from kexport.store.lock import HOLDER, LOCK
from kexport.version import __version__

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 2
"""2 since 0.2: the manifest counts its entries, and chains them in a digest."""
FIRST_CHAINED = 2
MAX_BYTES = 64 * 2**20
FOLDER = "a folder"
_SHOWN = 60
OWN = {MANIFEST, LOCK, HOLDER}
GIT = ".gitignore"
"""What keeps a directory of artifacts out of a repository; as `artifacts/` of this one has it."""
REPORTS = {".csv", ".html", ".json", ".jsonl", ".log", ".md", ".pdf", ".png", ".sig", ".svg", ".toml", ".txt", ".xml"}


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
    return {name: asdict(entry) for name, entry in _read_manifest(directory / MANIFEST).files.items()}


def _before(directory: Path) -> dict[str, dict[str, Any]] | None:
    """The entries of the manifest that is to be replaced; None where it cannot be read."""
    try:
        return entries(directory)
    except StoreError:
        return None


def verify(directory: Path) -> tuple[str, ...]:
    """Every problem of the directory, one line each; empty if all is as it was written.

    Looked for: missing, edited and extra files, links and what is no file, a damaged or newer manifest, damaged
    records, records whose artifact is missing or another, and a PASS whose own checks say otherwise. What was changed
    together with the manifest cannot be seen without a key. UsageError if there is no such directory.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such folder", hint=f"kexport all -o {directory}")
    try:
        manifest = _read_manifest(directory / MANIFEST)
    except StoreError as error:
        return (error.message,)
    files = manifest.files
    problems = list(_check_chain(manifest))
    problems += [problem for name, entry in sorted(files.items()) for problem in _check_entry(directory, name, entry)]
    for name in dict.fromkeys(_present(directory)):
        if name not in files:
            what = kind_of(directory / name, directory)
            problems.append(f"{name}: not in the manifest{f': {what}' if what and what != FOLDER else ''}")
    return tuple(problems + _check_records(directory, files))


def named(directory: Path) -> tuple[str, ...]:
    """Every file that the manifest names. StoreError where it cannot be read."""
    return tuple(_read_manifest(directory / MANIFEST).files)


def _present(directory: Path) -> Iterator[str]:
    """A line for everything that the manifest cannot speak for: links, FIFOs, and files that it does not name.

    Reports, notes and a `GIT` directly in the directory are nobody's business, nor is the staging of live processes.
    """
    for left_over in left_overs(directory):
        yield relative(left_over, directory)
    for path in sorted(directory.rglob("*")):
        name = relative(path, directory)
        mode = path.lstat().st_mode
        if _in_staging(name) or name in OWN or stat.S_ISDIR(mode):
            continue
        report = name == GIT or (path.suffix in REPORTS and not name.startswith("."))
        if not ("/" not in name and stat.S_ISREG(mode) and report):
            yield name


def kind_of(path: Path, directory: Path) -> str | None:
    """What a path is if it is not a plain file in plain folders; None if it is, or is not there."""
    inside = path.relative_to(directory).parts
    for place in (directory.joinpath(*inside[: end + 1]) for end in range(len(inside))):
        if place.is_symlink():
            return "a symbolic link"
    if path.exists() and not path.is_file():
        return FOLDER if path.is_dir() else "no regular file"
    return None


def _in_staging(name: str) -> bool:
    return any(part.startswith(STAGING) for part in PurePosixPath(name).parts)


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
class _Entry:
    """What the manifest states of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """``count`` and ``digest`` are of all entries; None in manifests of schema 1."""

    schema: int
    files: dict[str, _Entry]
    count: int | None = None
    digest: str | None = None


def _read_manifest(path: Path) -> _Manifest:
    """The manifest; StoreError with one line if it is missing, damaged or newer."""
    from pydantic import ValidationError

    try:
        text = read(path, limit_bytes=MAX_BYTES)
        _refuse_newer(json.loads(text))
        manifest: _Manifest = adapter(_Manifest).validate_json(text, strict=True)
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


def _check_chain(manifest: _Manifest) -> Iterator[str]:
    """Entries that were taken out of the manifest, or put into it, by hand."""
    if manifest.schema < FIRST_CHAINED:
        return
    count, found = manifest.count, len(manifest.files)
    if count != found:
        yield f"{MANIFEST}: {found} entries, expected {count}: entries were removed or added"
    elif listing_digest({name: entry.sha256 for name, entry in manifest.files.items()}) != manifest.digest:
        yield f"{MANIFEST}: its entries were changed: their digest is not the one that it states"


def _refuse_newer(value: object) -> None:
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema > MANIFEST_SCHEMA:
        raise StoreError(f"{MANIFEST}: schema {schema}, this kexport reads up to {MANIFEST_SCHEMA}")


def _check_entry(directory: Path, name: str, entry: _Entry) -> Iterator[str]:
    path, parts = directory / name, PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or not parts or "\0" in name:
        yield f"{name}: leads out of the directory"
    elif too_long(name):
        yield f"{name[:_SHOWN]}...: a name of {len(name)} characters, too long for a file"
    elif what := kind_of(path, directory):
        yield f"{name}: {what}, expected a file"
    elif not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != entry.size_bytes:
        yield f"{name}: {path.stat().st_size} bytes, expected {entry.size_bytes}"
    elif entry.size_bytes > MOST_BYTES:
        yield f"{name}: {entry.size_bytes} bytes, no artifact has more than {MOST_BYTES}"
    elif file_digest(path) != entry.sha256:
        yield f"{name}: edited: its sha256 is not the one in the manifest"


def _check_records(directory: Path, listed: Mapping[str, _Entry]) -> list[str]:
    """Records that cannot be read, or that speak of another artifact than the manifest does."""
    problems, names = [], sorted(listed)
    for path in record_paths(directory):
        try:
            record = read_file(path)
            problem = contradiction(record) or _check_listed(directory, record, listed, names)
            for kind in references.Kind:
                references.find(directory, record, kind)
        except StoreError as error:
            problem = error.message
        if problem:
            problems.append(f"{relative(path, directory)}: {problem}")
    return problems


def _below(names: Sequence[str], start: str) -> Sequence[str]:
    """Those of the sorted names that begin with ``start``, without a look at the others."""
    first = bisect_left(names, start)
    return names[first : bisect_right(names, start, lo=first, key=lambda name: name[: len(start)])]


def _check_listed(directory: Path, record: Record, listed: Mapping[str, _Entry], names: Sequence[str]) -> str | None:
    artifact = record.artifact
    if artifact is None:
        return f"says {record.status}, but has no artifact" if record.published else None
    if (directory / artifact.path).is_dir():
        start = f"{artifact.path}/"
        inside = {name.removeprefix(start): listed[name].sha256 for name in _below(names, start)}
        known = listing_digest(inside) == artifact.sha256
    else:
        known = artifact.path in listed and listed[artifact.path].sha256 == artifact.sha256
    return None if known else f"its artifact {artifact.path} is missing or another one"
