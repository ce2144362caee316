"""Values that wait for their readers, all images together: in memory, and on disk where they are large.

The first values of EfficientNetB7 take 1.7 GB each as int8, and three of them wait at once. A file is read and written
span by span, so that what a process holds does not grow with the size of its images; the numbers are the same.
"""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kexport.quantization import Stored

MOST_BYTES = 1 << 27
"""Of a value that waits in memory."""


class Waiting(Protocol):
    """What a walk asks of a value: rows by their span."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Stored: ...

    def __setitem__(self, rows: slice, part: Stored, /) -> None: ...


def room(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None) -> Waiting:
    """Where a value of that shape may wait; large ones in ``folder``, if there is one."""
    kind = np.dtype(dtype)
    large = int(np.prod(shape)) * kind.itemsize > MOST_BYTES
    return OnDisk(shape, kind, folder) if folder is not None and large else np.empty(shape, kind)


class OnDisk:
    """A value in a file without a name, which goes when the value does."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], folder: Path) -> None:
        self._shape, self._dtype = shape, dtype
        self._row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the value
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, rows: slice, /) -> Stored:
        """A copy of these rows."""
        first, end, _ = rows.indices(len(self))
        part = np.empty((max(0, end - first), *self._shape[1:]), self._dtype)
        self._file.seek(first * self._row_bytes)
        read = self._file.readinto(part.data.cast("B")) if part.size else 0
        assert read == part.nbytes, f"rows {first} to {end} have not been written"
        return part

    def __setitem__(self, rows: slice, part: Stored, /) -> None:
        """Write these rows, in this value's type."""
        first, end, _ = rows.indices(len(self))
        assert part.shape == (end - first, *self._shape[1:]), f"{part.shape} for rows {first} to {end}"
        self._file.seek(first * self._row_bytes)
        self._file.write(np.ascontiguousarray(part, self._dtype).data.cast("B"))
