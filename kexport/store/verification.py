"""What in a directory is not as its manifest and its records say.

The directory is walked once and every file read once or twice, so that ten thousand records take seconds: a name that
the walk has seen as a plain file needs no other look at its path.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kexport.errors import StoreError, UsageError
from kexport.files import MOST_BYTES, file_digest, left_overs, listing_digest, relative, too_long
from kexport.records import Record
from kexport.store import references
from kexport.store.contradictions import contradiction
from kexport.store.directory import read_file, record_paths
from kexport.store.listing import Kind, kind_of, walk
from kexport.store.lock import HOLDER, LOCK
from kexport.store.manifest import FIRST_CHAINED, MANIFEST, Entry, Manifest, read_manifest

_SHOWN = 60
OWN = {MANIFEST, LOCK, HOLDER}
GIT = ".gitignore"
"""What keeps a directory of artifacts out of a repository; as `artifacts/` of this one has it."""
REPORTS = {".csv", ".html", ".json", ".jsonl", ".log", ".md", ".pdf", ".png", ".sig", ".svg", ".toml", ".txt", ".xml"}


def verify(directory: Path) -> tuple[str, ...]:
    """Every problem of the directory, one line each; empty if all is as it was written.

    Looked for: missing, edited and extra files, links and what is no file, a damaged or newer manifest, damaged
    records, records whose artifact is missing or another, and a PASS whose own checks say otherwise. What was changed
    together with the manifest cannot be seen without a key. UsageError if there is no such directory.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such folder", hint=f"kexport all -o {directory}")
    try:
        manifest = read_manifest(directory / MANIFEST)
    except StoreError as error:
        return (error.message,)
    found = _Found(directory=directory, listed=manifest.files, there=walk(directory))
    entries = [*found.wrong_entries()]
    return (*_check_chain(manifest), *entries, *found.extra(), *found.wrong_records())


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A directory as it is, beside what its manifest has ``listed``. ``sound`` are the files that are as it says."""

    directory: Path
    listed: Mapping[str, Entry]
    there: Mapping[str, Kind]
    sound: set[str] = field(default_factory=set)

    def wrong_entries(self) -> Iterator[str]:
        """What is missing or edited; to be asked first."""
        for name, entry in sorted(self.listed.items()):
            plain = self.there.get(name) is Kind.FILE
            problem = None if plain else _misplaced(self.directory, name)
            problem = problem or _edited(Path(f"{self.directory}/{name}"), name, entry)
            if problem is None:
                self.sound.add(name)
            else:
                yield problem

    def extra(self) -> Iterator[str]:
        """Everything that the manifest cannot speak for: links, FIFOs, and files that it does not name.

        Reports, notes and a `GIT` directly in the directory are nobody's business, nor is the staging of live
        processes.
        """
        for left_over in left_overs(self.directory):
            what, name = kind_of(left_over, self.directory), relative(left_over, self.directory)
            if name not in self.listed:
                yield f"{name}: not in the manifest{f': {what}' if what and what != Kind.FOLDER.value else ''}"
        for name, kind in self.there.items():
            if not (name in self.listed or kind is Kind.FOLDER or name in OWN or (kind is Kind.FILE and _note(name))):
                yield f"{name}: not in the manifest{'' if kind is Kind.FILE else f': {kind.value}'}"

    def wrong_records(self) -> Iterator[str]:
        """Records that cannot be read, or that speak of another artifact than the manifest does."""
        names = sorted(self.listed)
        for path in record_paths(self.directory):
            try:
                record = read_file(path)
                problem = contradiction(record) or self._artifact(record, names)
                for kind in references.Kind:
                    self._find(record, kind)
            except StoreError as error:
                problem = error.message
            if problem:
                yield f"{relative(path, self.directory)}: {problem}"

    def _artifact(self, record: Record, names: Sequence[str]) -> str | None:
        artifact = record.artifact
        if artifact is None:
            return f"says {record.status}, but has no artifact" if record.published else None
        if self.there.get(artifact.path) is not Kind.FILE and (self.directory / artifact.path).is_dir():
            start = f"{artifact.path}/"
            inside = {name.removeprefix(start): self.listed[name].sha256 for name in _below(names, start)}
            known = listing_digest(inside) == artifact.sha256
        else:
            known = artifact.path in self.listed and self.listed[artifact.path].sha256 == artifact.sha256
        return None if known else f"its artifact {artifact.path} is missing or another one"

    def _find(self, record: Record, kind: references.Kind) -> None:
        """StoreError where what a record was judged by is another; a sound file needs no second reading."""
        name = references.name(record, kind)
        if name is None or (name in self.sound and self.listed[name].sha256 == references.digest_of(record, kind)):
            return
        references.find(self.directory, record, kind)


def _note(name: str) -> bool:
    """Whether a file lies directly in the directory and is a report, a note or the `GIT`."""
    return "/" not in name and (name == GIT or (PurePosixPath(name).suffix in REPORTS and not name.startswith(".")))


def _check_chain(manifest: Manifest) -> Iterator[str]:
    """Entries that were taken out of the manifest, or put into it, by hand."""
    if manifest.schema < FIRST_CHAINED:
        return
    count, found = manifest.count, len(manifest.files)
    if count != found:
        yield f"{MANIFEST}: {found} entries, expected {count}: entries were removed or added"
    elif listing_digest({name: entry.sha256 for name, entry in manifest.files.items()}) != manifest.digest:
        yield f"{MANIFEST}: its entries were changed: their digest is not the one that it states"


def _misplaced(directory: Path, name: str) -> str | None:
    """Why a name that the walk has not seen as a plain file is none; None if it is one all the same."""
    path, parts = directory / name, PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or not parts or "\0" in name:
        return f"{name}: leads out of the directory"
    if too_long(name):
        return f"{name[:_SHOWN]}...: a name of {len(name)} characters, too long for a file"
    if what := kind_of(path, directory):
        return f"{name}: {what}, expected a file"
    return None if path.is_file() else f"{name}: missing"


def _edited(path: Path, name: str, entry: Entry) -> str | None:
    size = path.stat().st_size
    if size != entry.size_bytes:
        return f"{name}: {size} bytes, expected {entry.size_bytes}"
    if size > MOST_BYTES:
        return f"{name}: {size} bytes, no artifact has more than {MOST_BYTES}"
    return None if file_digest(path) == entry.sha256 else f"{name}: edited: its sha256 is not the one in the manifest"


def _below(names: Sequence[str], start: str) -> Sequence[str]:
    """Those of the sorted names that begin with ``start``, without a look at the others."""
    first = bisect_left(names, start)
    return names[first : bisect_right(names, start, lo=first, key=lambda name: name[: len(start)])]
