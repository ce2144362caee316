"""One run at a time in an artifact directory; and nothing left of one that made nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kexport.errors import StoreError
from kexport.files import foreign_errors, read, write

LOCK = ".kexport.lock"
HOLDER = ".kexport.holder"
LOCK_SECONDS = 5.0
_HOLDER_BYTES = 512


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
        write(directory / HOLDER, f"{os.getpid()} {platform.node()}\n")
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
    if not directory.is_dir() or {path.name for path in directory.iterdir()} - own:
        return
    for name in own:
        (directory / name).unlink(missing_ok=True)
    for folder in created:
        with suppress(OSError):
            folder.rmdir()


def _holder(directory: Path) -> str:
    """Who holds the lock, by its own word; a process of another host has the other's number."""
    try:
        number, _, host = read(directory / HOLDER, limit_bytes=_HOLDER_BYTES).decode().strip().partition(" ")
        elsewhere = "" if host in ("", platform.node()) else f" on {host}"
        return f"process {int(number)}{elsewhere}"
    except (OSError, ValueError):
        return "another process"
