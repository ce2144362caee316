"""Inputs in a ``.npz`` file, read row by row: memory holds one block, whatever the file's size; never with pickle.

Images for a network of one image input, or one array for each input of any network.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kexport.errors import SourceError, UsageError
from kexport.files import regular
from kexport.images.photographs import prepare
from kexport.records import UNKNOWN, Preprocessing, Signature

FLOATS = ("float16", "float32", "float64")
PIXELS, LABELS = "uint8", "labels"
MOST_IMAGES = 100_000
_EXPECTED = "np.savez(FILE, input=images) with images of float32 in the network's range, or uint8 pixels"
DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True, kw_only=True)
class ArrayFile:
    """One array of a file, a row for each sample; ``name`` is the array's, ``wanted`` the network's dtype.

    Numbers are taken as the network's own input; uint8 are pixels in RGB that go through ``contract``, if there is one.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    contract: Preprocessing | None = None
    wanted: str = "float32"

    @property
    def are_pixels(self) -> bool:
        """Whether the file holds pixels in [0, 255] rather than network inputs."""
        return self.dtype == PIXELS and self.contract is not None

    def blocks(self, size: int) -> Iterator[npt.NDArray[Any]]:
        """The network's inputs, ``size`` rows at a time, the last block shorter. Raises SourceError if damaged."""
        return map(self.inputs, self.stored(size))

    def stored(self, size: int) -> Iterator[npt.NDArray[Any]]:
        """The rows as they lie in the file, in the same blocks. Raises SourceError if damaged."""
        row = int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize
        with _member(self.path, self.name) as (stream, _, _):
            for start in range(0, self.shape[0], size):
                rows = min(size, self.shape[0] - start)
                raw = np.frombuffer(_exactly(stream, rows * row, self.path), self.dtype)
                yield raw.reshape(rows, *self.shape[1:])

    def inputs(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the network takes for rows of the file."""
        if self.dtype == PIXELS and self.contract is not None:
            return prepare(rows, self.contract)
        with np.errstate(over="ignore"):  # becomes infinity, which the reader refuses
            return rows.astype(self.wanted)


def open_array(path: Path, *, input_name: str, shape: tuple[int, int, int], contract: Preprocessing) -> ArrayFile:
    """The file's images: its only array, or the one with the input's name.

    Raises SourceError if the file is no ``.npz``, UsageError if it is unclear which array is meant or its shape or
    dtype is not the network's.
    """
    name = _choose(path, input_name)
    with _member(path, name) as (_, found, dtype):
        pass
    if len(found) != 4 or found[1:] != shape or found[0] < 1:
        raise UsageError(
            f"{path}: array {name!r} has shape {_told(found)}, expected ({', '.join(map(str, ('images', *shape)))})",
            hint=_EXPECTED,
        )
    if found[0] > MOST_IMAGES:
        raise UsageError(f"{path}: holds {found[0]} images, expected at most {MOST_IMAGES}", hint=_EXPECTED)
    if dtype not in (*FLOATS, PIXELS):
        raise UsageError(
            f"{path}: array {name!r} has dtype {dtype}, expected {', '.join(FLOATS)}, or {PIXELS} for pixels",
            hint=_EXPECTED,
        )
    if dtype == PIXELS and contract.mode == UNKNOWN:
        raise UsageError(
            f"{path}: array {name!r} holds {PIXELS} pixels, and what this model makes of pixels is {contract.basis}",
            hint="save float32 arrays as the model takes them, or say what it makes of pixels: --preprocessing raw",
        )
    return ArrayFile(path=path, name=name, shape=found, dtype=dtype, contract=contract)


def open_arrays(path: Path, inputs: Sequence[Signature]) -> tuple[ArrayFile, ...]:
    """One array for each of the ``inputs``, by its name, as the network takes it; all of equally many rows.

    Raises SourceError if the file is no ``.npz``, UsageError with every input and array where they do not fit.
    """
    found = tuple(_of_input(path, spec, _choose(path, spec.name, alone=len(inputs) == 1), inputs) for spec in inputs)
    counts = {each.name: each.shape[0] for each in found}
    if len(set(counts.values())) != 1 or not 1 <= found[0].shape[0] <= MOST_IMAGES:
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise UsageError(
            f"{path}: the arrays have rows as follows: {told}; expected one for each sample, 1 to {MOST_IMAGES}",
            hint=saving(inputs),
        )
    return found


def saving(inputs: Sequence[Signature]) -> str:
    """How a file for these inputs is made."""
    arrays = ", ".join(f"{spec.name}=..." for spec in inputs)
    shapes = ", ".join(f"{spec.name} {_told(('samples', *spec.shape[1:]))} {spec.dtype}" for spec in inputs)
    return f"--calibration inputs.npz, made by np.savez('inputs.npz', {arrays}) with {shapes}"


def _of_input(path: Path, spec: Signature, name: str, inputs: Sequence[Signature]) -> ArrayFile:
    with _member(path, name) as (_, shape, dtype):
        pass
    if len(shape) != len(spec.shape) or shape[1:] != spec.shape[1:] or not _fits(dtype, spec.dtype):
        raise UsageError(
            f"{path}: array {name!r} is {_told(shape)} {dtype}, expected {_told(('samples', *spec.shape[1:]))} "
            f"{spec.dtype}",
            hint=saving(inputs),
        )
    return ArrayFile(path=path, name=name, shape=shape, dtype=dtype, wanted=spec.dtype)


def _fits(dtype: str, wanted: str) -> bool:
    """Whether numbers of one type can stand for those of another: floats for floats, whole numbers for whole ones."""
    if dtype == "object":
        return False
    kinds = {"f": "f", "b": "b"}.get(np.dtype(wanted).kind, "iu")
    return np.dtype(dtype).kind in kinds


def names(path: Path) -> list[str]:
    """The arrays of a file. Raises SourceError if it is no ``.npz``."""
    try:
        with regular(path) as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _choose(path: Path, input_name: str, *, alone: bool = True) -> str:
    names_ = [name for name in names(path) if name != LABELS]
    if input_name in names_:
        return input_name
    if len(names_) != 1 or not alone:
        wanted = f"one, or one called {input_name!r}" if alone else f"one for each input, {input_name!r} among them"
        raise UsageError(
            f"{path}: holds the arrays {', '.join(map(repr, names_)) or 'none'}; expected {wanted}",
            hint=_EXPECTED,
        )
    return names_[0]


@contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], str]]:
    """An array: (stream after the header, shape, dtype name). The header is checked against the size."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(regular(path))))
            entry = archive.getinfo(f"{name}.npy")
            stream = stack.enter_context(archive.open(entry))
            shape, dtype = header(stream, entry.file_size)
        except DAMAGED as error:
            raise _damaged(path, error) from error
        yield stream, shape, dtype


def header(stream: IO[bytes], size: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of an array whose file has ``size`` bytes. Raises ValueError where it claims more."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"array header of version {version}")
    shape, column_major, dtype = readers[version](stream)
    if dtype.hasobject:
        return shape, "object"
    if column_major and len(shape) > 1:
        raise ValueError("the array is in column-major order: np.ascontiguousarray puts it right")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise ValueError(f"shape {shape} of {dtype} is more than the {size} bytes that are there")
    return shape, str(dtype)


def _exactly(stream: IO[bytes], size: int, path: Path) -> bytes:
    try:
        found = stream.read(size)
        if len(found) != size:
            raise EOFError("it ends before its array does")
    except DAMAGED as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path}: is not a whole .npz file: {error}", hint=_EXPECTED)


def _told(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))})"
