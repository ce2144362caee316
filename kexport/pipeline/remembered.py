"""What planning int8 found out, kept between runs in the user's own cache folder: a new head on a known backbone.

`kexport.disk.MEMORY_VARIABLE` names another folder, or none where it is empty; usually it is ``~/.cache/kexport``, or
that of ``XDG_CACHE_HOME``. An entry is found by what it follows from (`kexport.quantization.known`) and by who made it:
the versions that compute, the processor and the threads. It is whole or not there: it is written beside its place and
renamed, and its digest stands before it. A folder that others own or may write to is not used, for what is found there
goes into artifacts. What cannot be read or kept costs time and nothing else. The folder stays below `MOST_BYTES`: what
was used longest ago goes first.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import disk, machine
from kexport.files import read
from kexport.version import __version__

MOST_BYTES = 2**30
MOST_ENTRY_BYTES = 2**28
LEFT = 0.75
"""Of `MOST_BYTES`, after it was too much."""
MAKERS = ("numpy", "onnxruntime", "onnxruntime-gpu", "onnx")
_SUFFIX, _DIGEST_BYTES = ".npz", 32
Arrays = Mapping[str, npt.NDArray[Any]]


def folder(name: str = "int8") -> Path | None:
    """Where it is kept; None where it is not wanted, or where others could put something."""
    return disk.cache_folder(name)


def memory(threads: int) -> OnDisk | None:
    """The memory of this user for what is computed so; None where there is none."""
    place = folder()
    if place is None:
        return None
    versions = {name: version for name, version in machine.versions().items() if name in MAKERS}
    return OnDisk(
        folder=place, maker=repr((__version__, versions, machine.processor(), machine.instructions(), threads))
    )


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """Entries as files of arrays; ``maker`` is who computes."""

    folder: Path
    maker: str

    def get(self, key: str) -> Arrays | None:
        """What was put there and is whole."""
        path = self._path(key)
        try:
            content = read(path, limit_bytes=MOST_ENTRY_BYTES)
            if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
                raise ValueError("another content than was written")
            with np.load(io.BytesIO(content[_DIGEST_BYTES:]), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: as if it were not there
            with suppress(OSError):
                path.unlink()
            return None
        return found

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep it under that key, unless the disk refuses."""
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # its stub takes no mapping
        whole = hashlib.sha256(content.getvalue()).digest() + content.getvalue()
        with suppress(OSError):
            path = self._path(key)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(whole)
            Path(file.name).replace(path)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{self.maker}\n{key}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}{_SUFFIX}"


def trim() -> None:
    """Let go what was used longest ago, where it is too much."""
    place = folder()
    with suppress(OSError):  # another run trims as well
        found = [(path.stat(), path) for path in (place.glob("*/*") if place is not None else ())]
        total = sum(status.st_size for status, _ in found)
        if total <= MOST_BYTES:
            return
        for status, path in sorted(found, key=lambda each: each[0].st_mtime_ns):
            if total <= LEFT * MOST_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= status.st_size
