"""Hashes of weight files that were used here before: a file that changes later, in the cache or at its host, is seen.

Keras knows MD5 sums of most files and none of MobileNet's and MobileNetV2's; nobody publishes sha256 of any. So each
file is trusted on first use: its sha256 is kept beside it, and records say so.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kexport.documents import decode_as
from kexport.errors import DownloadError, StoreError
from kexport.files import read, write

FILE = "kexport-sha256.json"
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What a file was when it was first used."""

    sha256: str
    size_bytes: int
    url: str


@dataclass(frozen=True, kw_only=True)
class _Pins:
    schema: int = 1
    files: dict[str, Pin] = field(default_factory=dict)


def known(folder: Path) -> dict[str, Pin]:
    """The pins of a folder of weight files by name. Raises StoreError for a list that cannot be read."""
    path = folder / FILE
    try:
        found: _Pins = decode_as(_Pins, read(path, limit_bytes=MAX_BYTES), told=str(path))
    except FileNotFoundError:
        return {}
    except (OSError, StoreError) as error:
        reason = error.message if isinstance(error, StoreError) else error.strerror
        raise StoreError(f"the hashes of weight files cannot be read: {path}: {reason}", hint=f"rm {path}") from error
    return found.files


def keep(folder: Path, name: str, pin: Pin) -> None:
    """Pin a file. Raises DownloadError where the folder cannot be written."""
    from filelock import FileLock

    try:
        with FileLock(folder / f"{FILE}.lock"):
            pins = {**known(folder), name: pin}
            document = asdict(_Pins(files=dict(sorted(pins.items()))))
            write(folder / FILE, json.dumps(document, indent=2, sort_keys=True) + "\n")
    except (OSError, StoreError) as error:
        raise DownloadError(
            f"the sha256 of {name} cannot be kept in {folder}: {error}", hint="KERAS_HOME=..."
        ) from error
