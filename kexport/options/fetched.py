"""What lies at a URL, brought to this machine: models, lists of them, and images, whoever reads them.

A file or folder is fetched once for what the store tells of it: names, sizes, and versions or times of change. Where
a store tells no version, as many web servers, it is fetched to be known, since another model may have the same size.
It is kept in the user's own cache folder (`kexport.disk.cache_folder`), or until the process ends where there is none;
it is whole or not there. What nobody used for a day goes first when it is more than `MOST_BYTES`. Every process asks
the store for itself, at most once in `FRESH_SECONDS`, so that other machines can.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from kexport import disk
from kexport.errors import KexportError, SourceError, UsageError
from kexport.files import STAGING, file_digest, size_bytes, there
from kexport.options.place import LOCAL, Url, is_url, place
from kexport.options.remote import Remote, connect

FRESH_SECONDS, UNUSED_SECONDS = 60.0, 24 * 3600.0
MOST_BYTES = 20 * 2**30
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
"""Of model files; a SavedModel is a folder."""
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "mtime", "created")
_asked: dict[str, tuple[float, Listing]] = {}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a store tells of a file (its only name is empty), or of a folder's files: bytes and version of each."""

    remote: Remote
    files: Mapping[str, tuple[int, str]]

    @property
    def name(self) -> str:
        """What it is called: the last part of the URL."""
        return PurePosixPath(self.remote.root).name or "root"

    @property
    def mark(self) -> str:
        """Changes with any file, its name, size or version."""
        told = json.dumps([str(self.remote.url), sorted(self.files.items())])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(size for size, _ in self.files.values())


def local(text: str) -> str:
    """The path on this machine of what a URL names, fetched where it is not there; any other text as it is.

    Raises UsageError, SourceError for a URL with nothing, StoreError and MissingDependencyError as the store says.
    """
    url = url_of(text)
    if url is None:
        return text
    return str(_file(url)) if url.protocol in LOCAL else str(_brought(listing(url)))


@contextmanager
def called(text: str) -> Iterator[None]:
    """An error about what was fetched names its URL, not the folder that it lies in here."""
    try:
        yield
    except KexportError as error:
        url = url_of(text)
        known = None if url is None else _asked.get(url.text)
        if known is not None:
            error.message = error.message.replace(str(_folder() / known[1].mark[:32] / known[1].name), text)
        raise


def of_this_machine(text: str) -> str | None:
    """The path in a file:// URL; None for other URLs."""
    url = url_of(text)
    return str(_file(url)) if url is not None and url.protocol in LOCAL else None


def kind(text: str) -> str:
    """``folder``, ``file``, or nothing where nothing is; of a URL the store is asked, and nothing fetched."""
    if is_at_url(text):
        names = listing(Url(text)).files
        return "file" if list(names) == [""] else "folder"
    path = Path(local(text))
    if not there(path):
        return ""
    return "folder" if path.is_dir() else "file"


def is_at_url(text: str) -> bool:
    """Whether it has to be fetched. Raises UsageError for a URL that others could not read."""
    url = url_of(text)
    return url is not None and url.protocol not in LOCAL


def is_folder(text: str) -> bool:
    """Whether a model is the folder of a SavedModel; of a URL its name tells, nothing is asked."""
    return not text.endswith(MODEL_SUFFIXES) if is_at_url(text) else Path(local(text)).is_dir()


def mark(text: str) -> str | None:
    """What stands for the content of a URL, without fetching it; None for what is on this machine."""
    return listing(Url(text)).mark if is_at_url(text) else None


def bytes_of(text: str) -> int:
    """How large a file or folder is, here or at a URL, which is asked alone; 0 where nothing is."""
    if is_at_url(text):
        return listing(Url(text)).size_bytes
    path = Path(local(text))
    return size_bytes(path) if path.exists() else 0


def listing(url: Url) -> Listing:
    """What the store tells now, or told within `FRESH_SECONDS`."""
    known = _asked.get(url.text)
    if known is None or time.monotonic() - known[0] > FRESH_SECONDS:
        known = _asked[url.text] = (time.monotonic(), _listed(url))
    return known[1]


def url_of(text: str) -> Url | None:
    """The URL that a text is, if it is one; UsageError for one with a password, and for the memory of one process."""
    found = place(text) if is_url(text) else None
    if not isinstance(found, Url):
        return None
    if found.text.rstrip("/") != str(found):
        raise UsageError(
            f"{found}: a password would be in every record; expected it where the driver looks",
            hint=f"FSSPEC_{found.protocol.upper()}_PASSWORD=... kexport export {_without_password(found)}",
        )
    if found.protocol == "memory":
        raise UsageError(
            f"{found}: memory:// is the memory of one process, models and images are read by others; expected a store",
            hint="s3://bucket/model.keras",
        )
    return found


def _without_password(url: Url) -> str:
    """``sftp://me@host/models``."""
    return str(url).replace(":***@", "@", 1)


def _file(url: Url) -> Path:
    return Path(url.text.partition("://")[2])


def _listed(url: Url) -> Listing:
    remote = connect(url)
    with remote.errors():
        remote.system.invalidate_cache()
        try:
            found = remote.system.info(remote.root)
        except FileNotFoundError:
            found = {"type": "none"}
    if found["type"] == "file":
        return _known(Listing(remote=remote, files={"": (int(found["size"] or 0), _version(found))}))
    files = remote.details() if found["type"] == "directory" else {}
    if not files:
        raise SourceError(
            f"{url}: nothing is there, or it cannot be reached", hint="check the address, network and credentials"
        )
    return _known(Listing(remote=remote, files={name: (size, _version(told)) for name, (size, told) in files.items()}))


def _version(told: Mapping[str, Any]) -> str:
    return " ".join(str(told[name]) for name in _VERSIONS if told.get(name) is not None)


def _known(found: Listing) -> Listing:
    """The listing with a version of every file: the digest of what is fetched where the store tells none."""
    if all(version for _, version in found.files.values()):
        return found
    with _staged(found) as staged:
        digests = {name: file_digest(staged / found.name / name) for name in found.files}
        sizes = {name: (staged / found.name / name).stat().st_size for name in found.files}
        known = Listing(remote=found.remote, files={name: (sizes[name], digests[name]) for name in found.files})
        _keep(staged, known)
    return known


def _brought(found: Listing) -> Path:
    entry = _folder() / found.mark[:32]
    if not (entry / found.name).exists():
        with _staged(found) as staged:
            _keep(staged, found)
    os.utime(entry)
    return entry / found.name


@contextmanager
def _staged(found: Listing) -> Iterator[Path]:
    """A folder beside what is kept, with what is fetched now."""
    staged = Path(tempfile.mkdtemp(prefix=STAGING, dir=_folder()))
    try:
        _get(found, staged / found.name)
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _keep(staged: Path, found: Listing) -> None:
    with suppress(OSError):  # another process was first
        staged.rename(_folder() / found.mark[:32])
    with suppress(OSError):  # another process makes room as well
        _make_room()


def _get(found: Listing, target: Path) -> None:
    with found.remote.errors():
        for name in found.files:
            path = target / name if name else target
            path.parent.mkdir(parents=True, exist_ok=True)
            found.remote.system.get_file(f"{found.remote.root}/{name}".rstrip("/"), str(path))


def _make_room() -> None:
    """Remove what was used longest ago, but nothing of the last day, until the rest is small enough."""
    entries = sorted((entry.stat().st_mtime, entry) for entry in _folder().iterdir())
    total = sum(size_bytes(entry) for _, entry in entries)
    for used, entry in entries:
        if total <= MOST_BYTES or time.time() - used < UNUSED_SECONDS:
            return
        total -= size_bytes(entry)
        shutil.rmtree(entry, ignore_errors=True)


@cache
def _folder() -> Path:
    """In the user's cache; one that goes with the process where that is not wanted or not safe."""
    kept = disk.cache_folder("fetched")
    if kept is not None:
        return kept
    passing = Path(tempfile.mkdtemp(prefix="kexport-fetched-"))
    atexit.register(shutil.rmtree, passing, ignore_errors=True)
    return passing
