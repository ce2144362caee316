"""``.keras`` archives: what a zip file may not hold is refused before anything of it is read by Keras.

Refused: names that lead out of the archive, links, encrypted and unknown members, members twice, and more
data than the file can honestly hold (a zip bomb). The weights inside are checked as HDF5.
"""

from __future__ import annotations

import lzma
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
from kexport.sources.weights import hdf5_check, hdf5_file

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
MAX_MEMBERS = 10_000
MAX_CONFIG_BYTES = config.MAX_BYTES
MAX_EXPANSION = 100
_FREE_BYTES = 16 * 2**20  # a member below this size may be compressed as well as it can be
_FREE_SUM = 64 * 2**20
_BLOCK = 2**20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)
_HINT = 'save it again: model.save("model.keras")'


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """The configuration in the archive at ``path``, and a folder with its other members, after all checks.

    What was checked is what Keras reads: the folder is private, and gone afterwards. Raises SourceError.
    """
    with tempfile.TemporaryDirectory(prefix="kexport-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                members = _members(archive, path)
                described = _config(archive, members, path)
                if WEIGHTS not in members:
                    raise _refused(path, f"holds no {WEIGHTS}")
                for entry in members.values():
                    _copy(archive, entry, folder)
        except _DAMAGE as error:
            raise SourceError(
                f"model {path} is damaged: {error}", hint=f"copy or download it again; {_HINT}"
            ) from error
        with hdf5_file.opened(folder / WEIGHTS, told=f"model {path}: {WEIGHTS}"):
            pass
        yield described, folder


def configuration(path: Path) -> dict[str, Any]:
    """The configuration in the archive at ``path`` alone. Raises SourceError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _config(archive, _members(archive, path), path)
    except _DAMAGE as error:
        raise SourceError(f"model {path} is damaged: {error}", hint=f"copy or download it again; {_HINT}") from error


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
    declared, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if declared > max(_FREE_SUM, MAX_EXPANSION * size):
        raise _refused(path, f"has members of {declared} bytes in {size} (a zip bomb)")
    if sum(entry.compress_size for entry in entries) > size:
        raise _refused(path, "has members that overlap (a zip bomb)")
    return found


def _check_member(entry: zipfile.ZipInfo, path: Path) -> None:
    name = entry.orig_filename
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in name or "\0" in name:
        raise _refused(path, f"has a member that leads out of the archive: {name!r:.100}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(path, f"has a {'link' if kind == stat.S_IFLNK else 'member that is no file'}: {name!r:.100}")
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
    if entry.file_size > hdf5_check.MAX_BYTES:
        raise _refused(path, f"has a member of {entry.file_size / 1e9:.1f} GB: {name!r:.100}")


def _config(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path) -> dict[str, Any]:
    if CONFIG not in members:
        raise _refused(path, f"holds no {CONFIG}")
    return config.parse(archive.read(CONFIG), told=f"model {path}")


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Copy a member out, block by block: h5py wants a file, and a lying size ends the copy."""
    target = folder / PurePosixPath(entry.filename)
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as member, target.open("xb") as file:
        while block := member.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename!r:.100} is longer than it says")
            file.write(block)


def _refused(path: Path, what: str) -> SourceError:
    return SourceError(f"model {path} {what}, which a Keras archive does not", hint=_HINT)
