"""A folder at a URL as a run works with it: a local copy of what it needs, and what it has finished sent there.

A run works in a temporary folder of this machine. What lies at the URL under the names of its models is fetched first,
and of all other models the records and the manifest; where no manifest lies there, which a run that was killed leaves,
everything is fetched. Each finished cell is sent at once: its artifact and what it was judged by, then its record. The
manifest comes last, and then goes what it does not name any more. No store that is used here has locks: a manifest that
another run has written meanwhile is not written over, it is told.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kexport import disk, files, machine
from kexport.errors import KexportError, StoreError
from kexport.options.place import Url
from kexport.options.remote import Remote, connect
from kexport.records import Record
from kexport.store import references
from kexport.store.directory import is_record
from kexport.store.lock import HOLDER, LOCK
from kexport.store.manifest import MANIFEST

State = tuple[int, int, int]
OWN = (LOCK, HOLDER)


@dataclass(kw_only=True)
class Mirror:
    """The local folder of a run and the folder at a URL that it stands for.

    ``models`` are those whose folders are here whole; None is all of them. ``told`` is what the user calls the place,
    ``stood`` the manifest that was there.
    """

    remote: Remote
    folder: Path
    models: frozenset[str] | None
    told: Path | Url
    stood: bytes | None = None
    _known: dict[str, State] = field(default_factory=dict)

    @property
    def url(self) -> Url:
        """What it stands for."""
        return self.remote.url

    def fetch(self, *, unfinished: bool = True) -> None:
        """Copy what the run needs; everything where no manifest is there and the ``unfinished`` folder matters."""
        sizes = self.remote.sizes()
        if unfinished and MANIFEST not in sizes:
            self.models = None
        self._copy({name: size for name, size in sizes.items() if self._needed(name)})

    def fetch_alone(self) -> None:
        """Copy nothing but the folders of the models: for a part of a run, which states nothing of the others."""
        found = [self.remote.sizes(model) for model in sorted(self.models or ())]
        self._copy({name: size for sizes in found for name, size in sizes.items()})
        self.models = None

    def _copy(self, wanted: dict[str, int]) -> None:
        disk.require(self.folder, sum(wanted.values()), what=f"what lies at {self.url}")
        self.remote.get(list(wanted), self.folder)
        self._known = {name: _state(self.folder / name) for name in wanted}
        self.stood = (self.folder / MANIFEST).read_bytes() if MANIFEST in wanted else None

    def _needed(self, name: str) -> bool:
        return self.models is None or name == MANIFEST or is_record(name) or name.partition("/")[0] in self.models

    def push(self, record: Record) -> None:
        """Send the artifact of a record, what it was judged by, and the record after both."""
        if record.artifact is None:
            return
        artifact = self.folder / record.artifact.path
        parts = files.files_of(artifact) if artifact.is_dir() else [artifact]
        told = [files.relative(path, self.folder) for path in parts]
        self._send([*told, *references.names(self.folder, record)])
        self._send([f"{record.artifact.path}.json"])

    def close(self, *, manifest: bool = True) -> None:
        """Send what else has changed, records after artifacts and the ``manifest`` last; then remove what is gone here.

        StoreError where another run has written the manifest meanwhile.
        """
        here = [files.relative(path, self.folder) for path in files.files_of(self.folder)]
        here = [name for name in here if name not in OWN and name != MANIFEST]
        self._send([name for name in here if not is_record(name)])
        self._send([name for name in here if is_record(name)])
        if manifest:
            self._require_alone()
            self._send([MANIFEST])
        gone = [name for name in self._known if name != MANIFEST and not (self.folder / name).exists()]
        self.remote.remove(gone)

    def _require_alone(self) -> None:
        if self.remote.read(MANIFEST) != self.stood:
            raise StoreError(
                f"{self.url}/{MANIFEST} was written by another run while this one ran: artifacts and records are "
                "there, the manifest does not name them yet",
                hint="run the same command again with --resume",
            )

    def _send(self, names: list[str]) -> None:
        """The files of these names that are not there as they are here."""
        states = {name: _state(self.folder / name) for name in names}
        changed = {name: state for name, state in states.items() if self._known.get(name) != state}
        self.remote.put({name: self.folder / name for name in changed})
        self._known |= changed


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


@contextmanager
def opened(
    place: Path | Url, models: Collection[str], *, manifest: bool = True, told: Path | Url | None = None
) -> Iterator[Folder]:
    """Where a run for these models works; at its end what it made is at its place, with the ``manifest`` if said.

    ``told`` is what the user calls a place that is reached at another URL.
    """
    if isinstance(place, Path):
        yield Folder(path=place)
        return
    with _copied(place, frozenset(models)) as mirror:
        mirror.told = told or place
        if manifest:
            mirror.fetch()
        else:
            mirror.fetch_alone()
        yield Folder(path=mirror.folder, mirror=mirror)
        mirror.close(manifest=manifest)


@contextmanager
def reading(place: Path | Url, *, records_only: bool = False) -> Iterator[Path]:
    """A folder to be read: itself, or a copy of what lies at a URL; errors then speak of the URL."""
    if isinstance(place, Path):
        yield place
        return
    with _copied(place, frozenset() if records_only else None) as mirror:
        mirror.fetch(unfinished=not records_only)
        if not any(mirror.folder.iterdir()):
            raise StoreError(f"{place} holds nothing", hint=f"kexport all -o {place}")
        try:
            yield mirror.folder
        except KexportError as error:
            error.message = error.message.replace(str(mirror.folder), str(place))
            error.hint = error.hint and error.hint.replace(str(mirror.folder), str(place))
            raise


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where a run works: ``path``, and the ``mirror`` that it is of a folder at a URL."""

    path: Path
    mirror: Mirror | None = None


@contextmanager
def _copied(url: Url, models: frozenset[str] | None) -> Iterator[Mirror]:
    remote = connect(url)
    folder = _temporary()
    try:
        yield Mirror(remote=remote, folder=folder, models=models, told=url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary() -> Path:
    """A folder of this process; those that dead processes of this machine have left are removed."""
    ours = f"kexport-mirror-{platform.node()}-"
    for left_over in Path(tempfile.gettempdir()).glob(f"{glob.escape(ours)}*"):
        owner = left_over.name.removeprefix(ours).partition("-")[0]
        if owner.isdecimal() and not machine.alive(int(owner)):
            shutil.rmtree(left_over, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-"))
