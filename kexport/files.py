"""Files that are complete or absent: staging, atomic publication, digests, and the system's refusals.

Everything is written beside its final place, synced, and renamed over it. ``.kexport-<pid>-<random>``
folders belong to a running process; those of a dead one are left-overs that `staging` removes. Processes
are told apart by id, so a directory shared between containers must be held with `store.lock`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from kexport import disk, machine
from kexport.errors import EnvironmentFailure, StoreError, UsageError

STAGING = ".kexport-"
NEEDED_BYTES = 64 * 2**20
MOST_BYTES, SOME_BYTES = 2**34, 2**30
"""No artifact is larger than the first; one of less than the second is read although another size was expected."""
_SMALL_BYTES = 2**18
PACKAGE = Path(__file__).parent


def package_data(name: str) -> Path:
    """A file or folder that belongs to the program, by its place in the repository.

    A wheel has it in ``kexport/data``, a checkout beside the package. EnvironmentFailure where neither has it.
    """
    for path in (PACKAGE / "data" / name, PACKAGE.parent / name):
        if path.exists():
            return path
    raise EnvironmentFailure(f"this installation has no {name}", hint="pip install --force-reinstall kexport")


def prepare(directory: Path, *, needed_bytes: int = NEEDED_BYTES) -> tuple[Path, ...]:
    """Create the directory and prove that files can be written there, leaving no file behind.

    Returns the folders that did not exist before, the innermost first. UsageError if the path is, or leads through,
    something that is not a folder; StoreError if it cannot be written or less than ``needed_bytes`` are free. Folders
    created on the way are removed again then.
    """
    missing = [path for path in (directory, *directory.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(missing):
            _make(path)
        _require_writable(directory, needed_bytes)
    except BaseException as error:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise _foreign(error, directory) from error
        raise
    return tuple(missing)


def _make(folder: Path) -> None:
    """A folder in one that is there; StoreError where its file system makes none, as /proc, which says ENOENT."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        where = f"cannot write to {disk.shown(folder)}: no folder can be made in {disk.shown(folder.parent)}"
        raise StoreError(where, hint="choose another directory with -o") from error


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A private folder on the directory's file system, gone afterwards; those of dead processes go too."""
    for left_over in left_overs(directory):
        shutil.rmtree(left_over, ignore_errors=True)
    with foreign_errors(directory):
        folder = Path(tempfile.mkdtemp(prefix=f"{STAGING}{os.getpid()}-", dir=directory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged_path: Path, final_path: Path) -> None:
    """Move a finished file or folder to its place, durably. Readers see the old one or the new one.

    Between two folders there is a moment with neither; if it fails the old one is put back. Both must be on one file
    system. StoreError if the system refuses, and for a file in the place of a folder that holds something.
    """
    with foreign_errors(final_path, needed_bytes=size_bytes(staged_path) if staged_path.exists() else 0):
        final_path.parent.mkdir(exist_ok=True)  # not its parents: a directory that was removed stays removed
        _sync_tree(staged_path)
        if final_path.is_dir() and not staged_path.is_dir() and any(final_path.iterdir()):
            raise IsADirectoryError(errno.EISDIR, "a folder of that name holds something")
        if final_path.is_dir() or (staged_path.is_dir() and final_path.exists()):
            _swap(staged_path, final_path)
        else:
            staged_path.replace(final_path)
        _sync(final_path.parent)


def write(path: Path, text: str) -> None:
    """Write a small file whole or not at all. Its folder is made, and not the folders around that."""
    with foreign_errors(path, needed_bytes=len(text.encode())):
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{STAGING}{os.getpid()}-", dir=path.parent) as folder:
            staged = Path(folder) / path.name
            staged.write_text(text, encoding="utf-8")
            publish(staged, path)


def digest(path: Path, *, limit_bytes: int | None = None) -> str:
    """The sha256 of an artifact: `file_digest` of a file, `tree_digest` of a folder."""
    if not path.is_dir():
        return file_digest(path, limit_bytes=limit_bytes)
    _require_at_most(path, size_bytes(path), limit_bytes)
    return tree_digest(path)


def file_digest(path: Path, *, limit_bytes: int | None = None) -> str:
    """The sha256 of a file's bytes, in hex, read in blocks.

    OSError for what is no regular file (`regular`), and for more than ``limit_bytes``: a hole of a terabyte is made in
    no time, and read in an hour.
    """
    with disk.opened(path) as (descriptor, size):
        _require_at_most(path, size, limit_bytes)
        if size < _SMALL_BYTES:  # to read in blocks has a cost of its own
            return hashlib.sha256(disk.whole(descriptor, size)).hexdigest()
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _require_at_most(path: Path, size: int, limit_bytes: int | None) -> None:
    if limit_bytes is not None and size > limit_bytes:
        raise OSError(errno.EFBIG, f"it has {size} bytes, expected at most {limit_bytes}", str(path))


def tree_digest(folder: Path) -> str:
    """The sha256 over ``<sha256>  <relative name>`` lines of all files, sorted by name."""
    return listing_digest({relative(path, folder): file_digest(path) for path in files_of(folder)})


def listing_digest(digests: Mapping[str, str]) -> str:
    """What `tree_digest` gives for files of these names (relative, ``/`` between parts) and sha256."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


@contextmanager
def regular(path: Path) -> Iterator[BufferedReader]:
    """A regular file opened for reading; a folder, FIFO, device or socket is an OSError at once, never a hang."""
    with disk.opened(path) as (descriptor, _), os.fdopen(descriptor, "rb", closefd=False) as file:
        yield file


def read(path: Path, *, limit_bytes: int) -> bytes:
    """The bytes of a regular file. OSError where it is none, cannot be read, has more than ``limit_bytes``, or grows.

    Python makes room for all that is asked for before it reads, so that it is asked for what the file has.
    """
    with disk.opened(path) as (descriptor, size):
        _require_at_most(path, size, limit_bytes)
        content = disk.whole(descriptor, size)
    if len(content) > size:
        raise OSError(errno.EBUSY, f"it had {size} bytes and is being written to", str(path))
    return content


def there(path: Path) -> bool:
    """Whether something is at a path that somebody has named.

    UsageError where the system does not say: a name too long for any file, a folder that may not be entered.
    """
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(
            f"{disk.shown(path)} cannot be looked at: {error.strerror}",
            hint="check the path and the permissions of its folders",
        ) from error


def real(path: Path) -> Path:
    """The absolute path without links; one that leads in a circle, which `Path.resolve` raises for, stays as it is."""
    return Path(os.path.realpath(path))


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in files_of(path)) if path.is_dir() else path.stat().st_size


def files_of(folder: Path) -> list[Path]:
    """Every file inside, at any depth, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies directly in a folder; nothing where it is no folder or may not be read."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def relative(path: Path, directory: Path) -> str:
    """A path inside the directory as records and manifests spell it: ``/`` between parts."""
    return path.relative_to(directory).as_posix()


def too_long(name: str) -> bool:
    """Whether no file can have that relative name: most file systems take 255 bytes in a part, 4096 in all."""
    encoded = name.encode(errors="surrogatepass")
    return len(encoded) >= 4096 or any(len(part) > 255 for part in encoded.split(b"/"))


def left_overs(directory: Path) -> Iterator[Path]:
    """Staging folders, and folders moved aside, whose process is dead."""
    places: list[str | Path] = [directory, *(entry.path for entry in entries(directory) if entry.is_dir())]
    for place in places:
        for entry in (each for each in entries(place) if each.name.startswith(STAGING)):
            owner = re.match(r"(\d+)-", entry.name.removeprefix(STAGING))
            if owner is not None and not machine.alive(int(owner[1])):
                yield Path(entry.path)


@contextmanager
def foreign_errors(path: Path, *, needed_bytes: int | None = None) -> Iterator[None]:
    """An OSError inside becomes a StoreError or UsageError about ``path``, with ``needed_bytes`` to write."""
    try:
        yield
    except OSError as error:
        raise _foreign(error, path, needed_bytes) from error


def _foreign(error: OSError, path: Path, needed_bytes: int | None = None) -> UsageError | StoreError:
    """The system's refusal in this program's words."""
    if disk.is_full(error):
        needed = "" if needed_bytes is None else f", {disk.told(needed_bytes)} needed"
        free = disk.told(disk.free_bytes(path))
        return StoreError(f"cannot write to {disk.shown(path)}: no space left: {free} free{needed}", hint=disk.HINT)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return UsageError(f"{path} is not a folder, or leads through a file", hint="choose another directory with -o")
    causes = {
        errno.EROFS: "its file system is read-only",
        errno.EACCES: "no permission to write there",
        errno.EPERM: "no permission to write there",
        errno.ENOENT: "the folder is gone: it was removed while the run wrote into it",
        errno.ENAMETOOLONG: "the name is too long for its file system",
    }
    cause = causes.get(error.errno or 0, error.strerror or str(error))
    return StoreError(f"cannot write to {disk.shown(path)}: {cause}", hint="choose another directory with -o")


def _require_writable(directory: Path, needed_bytes: int) -> None:
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise StoreError(
            f"{directory}: {free / 2**20:.0f} MiB free, {needed_bytes / 2**20:.0f} MiB needed",
            hint="free some space, or choose another directory with -o",
        )
    with tempfile.TemporaryFile(dir=directory, prefix=STAGING) as probe:  # root passes os.access everywhere
        probe.write(bytes(4096))
        probe.flush()
        os.fsync(probe.fileno())


def _swap(staged_path: Path, final_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{STAGING}{os.getpid()}-", dir=final_path.parent) as folder:
        aside = Path(folder) / final_path.name
        final_path.rename(aside)
        try:
            staged_path.rename(final_path)
        except BaseException:
            aside.rename(final_path)
            raise


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for inner in path.rglob("*"):
            _sync(inner)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
