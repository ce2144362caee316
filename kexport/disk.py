"""The disk itself: when it is full, how that is told, what is held back for the end of a run; regular files, read.

`kexport.files` has what is written, published and told by its digest.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kexport.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = ("no space left on device", "disk quota exceeded")
RESERVE_BYTES = 2**20
MEMORY_VARIABLE = "KEXPORT_CACHE"
"""Names the cache folder; there is none where it is empty."""
_MOST_SHOWN = 400
HINT = "free some space, or choose another directory with -o; --resume goes on from here"

Value = TypeVar("Value")


def free_bytes(directory: Path) -> int:
    """What can still be written there, or in the folder around what is not there."""
    place = next(path for path in (directory, *directory.absolute().parents) if os.path.exists(path))  # noqa: PTH110 - also of names that are too long
    return shutil.disk_usage(place).free


def is_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, is the system's word for a full disk or quota.

    HDF5 and TensorFlow raise errors of their own, which quote the system's words.
    """
    return any(_says_full(each) for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(words in str(error).lower() for words in _WORDS)


def full(directory: Path, *, what: str, needed_bytes: int) -> StoreError:
    """The error of a disk that filled up while ``what`` was made."""
    return StoreError(
        f"{directory}: no space left for {what}: {told(free_bytes(directory))} free, about {told(needed_bytes)} needed",
        hint=HINT,
    )


def require(directory: Path, needed_bytes: int, *, what: str) -> None:
    """StoreError unless that much is free."""
    free = free_bytes(directory)
    if free < needed_bytes:
        raise StoreError(
            f"{directory}: {told(free)} free, at least {told(needed_bytes)} needed for {what}",
            hint="free some space, fewer formats or schemes, or another directory with -o",
        )


def told(count: int) -> str:
    """A number of bytes, exactly, and about."""
    return f"{count:,} bytes ({count / 2**20:,.1f} MiB)"


class Reserve:
    """Some space that is held until the disk is full, so that records and the manifest can still be written."""

    def __init__(self, folder: Path, *, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = folder / "reserve"
        with self._path.open("wb") as file:
            file.write(os.urandom(4096) * (size_bytes // 4096))
            file.flush()
            os.fsync(file.fileno())

    def release(self) -> None:
        """Give the space back to the disk."""
        self._path.unlink(missing_ok=True)

    def spend(self, write: Callable[[], Value]) -> Value:
        """What ``write`` returns; where the disk is full, it is tried once more in the reserve's place."""
        try:
            return write()
        except (OSError, StoreError) as error:
            if not is_full(error) or not self._path.exists():
                raise
            self.release()
        return write()


def shown(path: Path) -> str:
    """A path in a message: the middle of a very long one says nothing."""
    text = str(path)
    return text if len(text) <= _MOST_SHOWN else f"{text[:100]}...{text[-60:]} ({len(text)} characters)"


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """The descriptor of a regular file and its size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {_kind(status.st_mode)}, not a file", str(path))
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def whole(descriptor: int, size: int) -> bytes:
    """What is there now, one byte more than ``size`` at most."""
    parts = [os.read(descriptor, size + 1)]
    while parts[-1] and (left := size + 1 - sum(map(len, parts))) > 0:
        parts.append(os.read(descriptor, left))
    return b"".join(parts) if any(parts[1:]) else parts[0]


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def require_temporary(command: str) -> None:
    """StoreError where no folder takes temporary files, as in a container whose file system is read-only.

    ``command`` is what was typed.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        tried = str(error.strerror or error).partition("[")[2].rstrip("]").replace("'", "")
        raise StoreError(
            f"no folder takes temporary files: tried {tried}",
            hint=f"TMPDIR=FOLDER {command}, FOLDER: one that can be written",
        ) from error


def cache_folder(name: str) -> Path | None:
    """A folder of the user's own cache; None where none is wanted, or where others could put something."""
    told = os.environ.get(MEMORY_VARIABLE)
    if told == "":
        return None
    try:
        place = (Path(told) if told else _usual()) / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place if _is_own(place) else None
    except (OSError, RuntimeError):  # no home, or one that cannot be written: nothing is kept
        return None


def _usual() -> Path:
    """RuntimeError for a user whom the system does not know, and without ``HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kexport"


def _is_own(place: Path) -> bool:
    status = place.stat()
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
