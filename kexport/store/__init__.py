"""The artifact directory: complete or absent files, records, the manifest, locks and resume.

Layout::

    DIR/<Model>/<Model>-float32.onnx              an artifact; a SavedModel is a folder
    DIR/<Model>/<Model>-float32.onnx.json         its record
    DIR/manifest.json                             sha256 and size of every file above, written last
    DIR/.kexport.lock, DIR/.kexport.holder        the lock and who holds it
    DIR/.kexport-<pid>-<random>/                  staging of a running process

Other files directly in DIR (reports, notes) are nobody's business; inside a model's folder they are
extra. Everything is written beside its final place, synced, and renamed over it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from kexport import machine
from kexport.errors import StoreError, UsageError
from kexport.evidence import tolerances
from kexport.files import (
    STAGING,
    digest,
    file_digest,
    files_of,
    foreign_errors,
    left_overs,
    listing_digest,
    prepare,
    publish,
    relative,
    size_bytes,
    staging,
    tree_digest,
    write,
)
from kexport.records import Record, Status, decode, encode
from kexport.specs import Cell, Format
from kexport.version import __version__

__all__ = [
    "abandon", "digest", "file_digest", "fingerprint", "lock", "prepare", "publish", "read_record", "read_records",
    "resumable", "size_bytes", "staging", "tree_digest", "verify", "write_manifest", "write_record",
]  # fmt: skip

MANIFEST = "manifest.json"
FAILED = ".failed"
MANIFEST_SCHEMA = 1
LOCK = ".kexport.lock"
HOLDER = ".kexport.holder"
LOCK_SECONDS = 5.0
REQUEST = "request"


def write_record(directory: Path, record: Record, file_name: str) -> Path:
    """Write the record of the artifact called ``file_name``; the path of ``<file_name>.json``."""
    for name in (record.model, file_name):
        if name in ("", ".", "..") or PurePosixPath(name).name != name or name.startswith("."):
            raise UsageError(f"{name!r} cannot name a file: expected a plain name", hint="rename the model")
    path = directory / record.model / f"{file_name}.json"
    write(path, encode(record))
    return path


def read_record(directory: Path, cell: Cell) -> Record:
    """The stored record of a cell's artifact. StoreError if there is none, or if it is damaged."""
    path = directory / cell.model.name / f"{cell.file_name}.json"
    with foreign_errors(path):
        return decode(path.read_bytes())


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
    """Every record, by model, format and scheme. StoreError naming every damaged file at once."""
    return tuple(sorted(_read_all(directory).values(), key=lambda record: (record.model, record.format, record.scheme)))


def _read_all(directory: Path) -> dict[Path, Record]:
    found, damaged = {}, []
    for path in _record_paths(directory):
        try:
            found[path] = decode(path.read_bytes())
        except StoreError as error:
            damaged.append(f"{relative(path, directory)}: {error.message}")
    if damaged:
        raise StoreError("\n".join(damaged), hint=f"kexport verify {directory}")
    return found


def write_manifest(directory: Path) -> Path:
    """State sha256 and size of every record and of every file of its artifact; to be written last.

    A file artifact is stated as its record has it, so that what changed since is found by `verify`.
    StoreError naming every damaged record.
    """
    files: dict[str, dict[str, Any]] = {}
    for path, record in _read_all(directory).items():
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


@contextmanager
def lock(directory: Path, *, timeout_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the directory alone. StoreError naming the holder after ``timeout_seconds``.

    The system frees the lock of a process that died.
    """
    from filelock import FileLock, Timeout

    guard = FileLock(directory / LOCK)
    with foreign_errors(directory):
        try:
            guard.acquire(timeout=timeout_seconds)
        except Timeout as error:
            raise StoreError(
                f"{directory} is in use by {_holder(directory)}; waited {timeout_seconds:g} s",
                hint="wait for that run to end, or choose another directory with -o",
            ) from error
        except NotImplementedError as error:
            raise StoreError(f"{directory}: its file system has no locks", hint="choose a local folder: -o") from error
    try:
        write(directory / HOLDER, f"{os.getpid()}\n")
        yield
    finally:
        (directory / HOLDER).unlink(missing_ok=True)
        guard.release()


def abandon(directory: Path, created: Sequence[Path]) -> None:
    """Leave nothing of a run that made nothing: to be called with the lock held, before it is given back.

    ``created`` are the folders that the run made, innermost first (`durable.prepare`). A directory that
    holds anything else than the lock stays as it is.
    """
    own = {LOCK, HOLDER}
    if {path.name for path in directory.iterdir()} - own:
        return
    for name in own:
        (directory / name).unlink(missing_ok=True)
    for folder in created:
        with suppress(OSError):
            folder.rmdir()


def fingerprint(cell: Cell) -> str:
    """The sha256 of what a cell asks for and of what answers.

    That is its canonical JSON, the bytes of model, weight and label files, the bounds, the versions of kexport, Keras
    and TensorFlow. Images may be many: their names, sizes and times of change stand for their bytes.
    The pipeline stores it as ``record.versions["request"]``.
    """
    files = {"weights": cell.model.weights.path, "model": cell.model.file, "labels": cell.model.labels}
    content = {name: _content(path) for name, path in files.items()}
    request = {"cell": asdict(cell), "files": content, "bounds": tolerances.digest(), "made with": _makers()}
    images = {text: _state(Path(text)) for text in (cell.calibration, cell.evaluation) if text is not None}
    request |= {"images": images} if images else {}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change of a file, or of every file in a folder; nothing where neither is there."""
    files = [path] if path.is_file() else files_of(path)
    return [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]


def _makers() -> dict[str, str]:
    """Versions that decide what an artifact computes; kexport's own also where it is not installed."""
    makers = ("keras", "tensorflow", "tensorflow-cpu")
    return {"kexport": __version__} | {name: v for name, v in machine.versions().items() if name in makers}


def _content(path: str | None) -> str | None:
    return file_digest(Path(path)) if path is not None and Path(path).is_file() else None


def resumable(directory: Path, cell_file_name: str, fingerprint: str) -> Record | None:
    """The stored PASS record of that very request whose artifact still has its sha256, else None.

    A record that cannot be read is no reason to stop: the cell is simply made again.
    """
    for path in _record_paths(directory):
        if path.name != f"{cell_file_name}.json":
            continue
        try:
            record = decode(path.read_bytes())
        except StoreError:
            return None
        asked = record.status is Status.PASS and record.versions.get(REQUEST) == fingerprint
        return record if asked and _unchanged(directory, record) else None
    return None


def _holder(directory: Path) -> str:
    try:
        return f"process {int((directory / HOLDER).read_text())}"
    except (OSError, ValueError):
        return "another process"


def _record_paths(directory: Path) -> list[Path]:
    endings = (*(f"{form.suffix}.json" for form in Format), f"{FAILED}.json")
    return sorted(path for path in directory.glob("[!.]*/[!.]*.json") if path.name.endswith(endings))


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


def _read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """The manifest's entries; StoreError with one line if it is missing, damaged or newer."""
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{MANIFEST}: missing: the last run did not end") from error
    except ValueError as error:
        raise StoreError(f"{MANIFEST}: not JSON: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if isinstance(schema, int) and schema > MANIFEST_SCHEMA:
        raise StoreError(f"{MANIFEST}: schema {schema}, this kexport reads up to {MANIFEST_SCHEMA}")
    files = manifest.get("files") if schema == MANIFEST_SCHEMA else None
    if not isinstance(files, dict) or not all(_is_entry(entry) for entry in files.values()):
        raise StoreError(f"{MANIFEST}: damaged: expected schema {MANIFEST_SCHEMA}, and sha256 and size of every file")
    return files


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("size_bytes"), int)


def _check_entry(directory: Path, name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    path, parts = directory / name, PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts:
        yield f"{name}: leads out of the directory"
    elif not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != entry["size_bytes"]:
        yield f"{name}: {path.stat().st_size} bytes, expected {entry['size_bytes']}"
    elif file_digest(path) != entry["sha256"]:
        yield f"{name}: edited: its sha256 is not the one in the manifest"


def _check_records(directory: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Records that cannot be read, or that speak of another artifact than the manifest does."""
    problems = []
    for path in _record_paths(directory):
        try:
            problem = _check_listed(directory, decode(path.read_bytes()), listed)
        except StoreError as error:
            problem = error.message
        if problem:
            problems.append(f"{relative(path, directory)}: {problem}")
    return problems


def _check_listed(directory: Path, record: Record, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    artifact = record.artifact
    if artifact is None:
        return "says PASS, but has no artifact" if record.status is Status.PASS else None
    if (directory / artifact.path).is_dir():
        start = f"{artifact.path}/"
        inside = {name.removeprefix(start): e["sha256"] for name, e in listed.items() if name.startswith(start)}
        found: Any = listing_digest(inside)
    else:
        found = listed.get(artifact.path, {}).get("sha256")
    return None if found == artifact.sha256 else f"its artifact {artifact.path} is missing or another one"


def _unchanged(directory: Path, record: Record) -> bool:
    """Whether the record's artifact has the sha256 that it had when the record was written."""
    if record.artifact is None:
        return False
    path = directory / record.artifact.path
    return path.exists() and digest(path) == record.artifact.sha256
