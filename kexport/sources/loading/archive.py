"""``.keras`` archives: what a zip file may not hold is refused before anything of it is read by Keras.

Refused: names that lead out of the archive, links, encrypted and unknown members, members twice, and more
data than the file can honestly hold (a zip bomb). The weights inside are checked as HDF5.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import config
from kexport.sources.weights import hdf5_file

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
MAX_MEMBERS = 10_000
MAX_CONFIG_BYTES = 64 * 2**20
MAX_EXPANSION = 100
_FREE_BYTES = 16 * 2**20  # a member below this size may be compressed as well as it can be
_BLOCK = 2**20
_HINT = 'save it again: model.save("model.keras")'


@contextmanager
def checked(path: Path) -> Iterator[dict[str, Any]]:
    """The configuration in the archive at ``path``, after all checks. Raises SourceError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            described = _config(archive, members, path)
            if WEIGHTS not in members:
                raise _refused(path, f"holds no {WEIGHTS}")
            _check_weights(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise SourceError(f"model {path} is damaged: {error}", hint=f"copy or download it again; {_HINT}") from error
    yield described


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise _refused(path, f"has {len(entries)} members, expected at most {MAX_MEMBERS}")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_member(entry, path)
        if entry.filename in found:
            raise _refused(path, f"holds {entry.filename!r} twice")
        found[entry.filename] = entry
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        raise _refused(path, "has members that overlap (a zip bomb)")
    return found


def _check_member(entry: zipfile.ZipInfo, path: Path) -> None:
    name = entry.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts or ":" in name or "\0" in name:
        raise _refused(path, f"has a member that leads out of the archive: {name!r:.100}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refused(path, f"has a link: {name!r:.100}")
    if entry.flag_bits & 1:
        raise _refused(path, f"has an encrypted member: {name!r:.100}")
    if name not in (CONFIG, METADATA, WEIGHTS) and parts[0] != ASSETS:
        raise _refused(path, f"has an unknown member: {name!r:.100}")
    if name in (CONFIG, METADATA) and entry.file_size > MAX_CONFIG_BYTES:
        raise _refused(path, f"has a {name} of {entry.file_size} bytes, expected at most {MAX_CONFIG_BYTES}")
    if entry.file_size > max(_FREE_BYTES, MAX_EXPANSION * entry.compress_size):
        raise _refused(
            path, f"has a member of {entry.file_size} bytes in {entry.compress_size} (a zip bomb): {name!r:.100}"
        )
    if entry.file_size > hdf5_file.MAX_BYTES:
        raise _refused(path, f"has a member of {entry.file_size / 1e9:.1f} GB: {name!r:.100}")


def _config(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path) -> dict[str, Any]:
    if CONFIG not in members:
        raise _refused(path, f"holds no {CONFIG}")
    return config.parse(archive.read(CONFIG), told=f"model {path}")


def _check_weights(archive: zipfile.ZipFile, path: Path) -> None:
    """The weights are HDF5 that nothing is wrong with; copied out once, as h5py wants a file."""
    with tempfile.TemporaryDirectory(prefix="kexport-") as folder:
        copy = Path(folder) / WEIGHTS
        with archive.open(WEIGHTS) as member, copy.open("wb") as file:
            while block := member.read(_BLOCK):
                file.write(block)
        with hdf5_file.opened(copy, told=f"model {path}: {WEIGHTS}"):
            pass


def _refused(path: Path, what: str) -> SourceError:
    return SourceError(f"model {path} {what}, which a Keras archive does not", hint=_HINT)
