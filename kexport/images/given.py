"""Arrays and datasets of a Python program, written once into a file: what a run calls ``arrays:<digest>``.

Taken are an array, a dictionary of arrays by the names of the inputs, a pair ``(inputs, labels)``, and whatever gives
batches of these when it is iterated: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list or a generator. Memory
holds one batch. The file is a ``.npz`` as ``--calibration`` and ``--eval`` take it, with the labels, if there are any,
in the array ``labels``.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.errors import KexportError, UsageError
from kexport.images.arrays import LABELS
from kexport.options import fetched

PREFIX = "arrays:"
MOST_ROWS = 100_000
_DIGITS, _LONGEST = 16, 300
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that an archive can tell: the same data are the same bytes
_HINT = "an array, a pair (images, labels), or a tf.data.Dataset of batches: calibration=images[:100]"
_GONE = "np.savez('images.npz', input=images, labels=labels), then --calibration images.npz or --eval images.npz"
Array = npt.NDArray[Any]


def is_data(value: Any) -> bool:
    """Whether a value of an option is data itself, rather than the name of a file."""
    return value is not None and not isinstance(value, (str, PathLike))


def file_of(text: str, folder: Path | None) -> Path:
    """The file that ``text`` names: its own path, at a URL the fetched one, or for `PREFIX` that in ``folder``.

    Raises UsageError for data of a program that is not there any more.
    """
    if not text.startswith(PREFIX):
        return Path(fetched.local(text))
    path = (folder or Path()) / name_of(text)
    if folder is None or not path.is_file():
        raise UsageError(f"{text} were arrays of a Python program, which are not there any more", hint=_GONE)
    return path


@contextmanager
def called(argument: str, text: str, path: str | Path) -> Iterator[None]:
    """An error about a program's data names the argument that they were, not the file that they were put into."""
    try:
        yield
    except KexportError as error:
        if text.startswith(PREFIX):
            error.message = error.message.replace(str(path), argument)
        raise


def name_of(text: str) -> str:
    """What the file of ``arrays:<digest>`` is called."""
    return f"{text.replace(':', '-')}.npz"


def written(value: Any, folder: Path, *, option: str) -> tuple[str, Path]:
    """``arrays:<digest>`` and the file with the data. Raises UsageError for what is no data, or has no end."""
    spool = _Spool(folder=folder, option=option)
    try:
        for inputs, labels in _batches(value, option):
            spool.take(inputs, labels)
        raw = spool.close()
    finally:
        for column in spool.columns.values():
            column.stream.close()
    text = f"{PREFIX}{files.file_digest(raw)[:_DIGITS]}"
    return text, raw.rename(folder / name_of(text))


def _batches(value: Any, option: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Inputs by name and labels or None, a batch at a time."""
    if _is_arrays(value) or (isinstance(value, tuple) and len(value) == 2 and _is_arrays(value[0])):
        yield _pair(value, option)
        return
    if getattr(value, "cardinality", None) is not None and int(value.cardinality()) == -1:
        raise UsageError(f"{option}: the dataset has no end", hint=f"{option}=dataset.take(100)")
    for each in _items(value, option):
        yield _batched(*_pair(each, option))


def _items(value: Any, option: str) -> Iterable[Any]:
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (list, tuple)):
        return (value[place] for place in range(len(value)))  # keras.utils.PyDataset
    if not isinstance(value, Iterable):
        raise UsageError(f"{option}: a {type(value).__name__} is no data", hint=_HINT)
    return value


def _is_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_array, value.values()))
    return _is_array(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__array__")


def _pair(value: Any, option: str) -> tuple[dict[str, Any], Any]:
    """One item: inputs, and labels where they come with it; sample weights as a third part are left out."""
    inputs, labels = (
        (value[0], value[1]) if isinstance(value, (tuple, list)) and len(value) in (2, 3) else (value, None)
    )
    if isinstance(inputs, tuple) and len(inputs) == 1:
        (inputs,) = inputs
    named = dict(inputs) if isinstance(inputs, Mapping) else {"input": inputs}
    if not _is_arrays(named):
        kinds = ", ".join(sorted({type(each).__name__ for each in named.values()}))
        raise UsageError(f"{option}: expected arrays, got {kinds}", hint=_HINT)
    try:
        return {str(name): np.asarray(each) for name, each in named.items()}, labels
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of another package, on a device or with gradients
        raise UsageError(f"{option}: an array cannot be had: {error}"[:_LONGEST], hint=_HINT) from error


def _batched(inputs: dict[str, Any], labels: Any) -> tuple[dict[str, Any], Any]:
    """A single image becomes a batch of one: three axes, and no label for each row of the first."""
    first = next(iter(inputs.values()))
    told = None if labels is None else np.asarray(labels)
    alike = told is not None and told.ndim > 0 and len(told) == len(first)
    if first.ndim != 3 or alike or (told is None and first.shape[-1] not in (1, 3)):
        return inputs, labels
    return {name: each[np.newaxis] for name, each in inputs.items()}, None if told is None else told[np.newaxis]


@dataclass(kw_only=True)
class _Column:
    """One array as it grows: its bytes go to a file."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int = 0

    def take(self, array: Array) -> None:
        """More rows."""
        self.stream.write(np.ascontiguousarray(array, self.dtype).tobytes())
        self.rows += len(array)


@dataclass(kw_only=True)
class _Spool:
    """Batches to files, one an array; at the end they become members of one archive."""

    folder: Path
    option: str
    columns: dict[str, _Column] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def take(self, inputs: dict[str, Any], labels: Any) -> None:
        """One batch. Raises UsageError where it does not fit those before."""
        counts = {name: each.shape[0] if each.ndim else 0 for name, each in inputs.items()}
        for name, each in inputs.items():
            self._add(name, each)
        if labels is not None:
            told = _labels(labels, self.option)
            counts[LABELS] = len(told)
            if told.dtype.kind == "U":
                self.names += told.tolist()
            else:
                self._add(LABELS, told)
        if len(set(counts.values())) != 1 or not min(counts.values()):
            rows = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise UsageError(f"{self.option}: rows of one batch: {rows}; expected as many of each", hint=_HINT)

    def _add(self, name: str, array: Array) -> None:
        dtype = np.dtype(np.float32) if array.dtype == np.float64 else array.dtype
        if dtype.kind not in "fiub":
            raise UsageError(f"{self.option}: {name} has dtype {array.dtype}; expected numbers", hint=_HINT)
        if name not in self.columns:
            stream = (self.folder / f"{len(self.columns)}.raw").open("wb")
            self.columns[name] = _Column(stream=stream, shape=array.shape[1:], dtype=dtype)
        column = self.columns[name]
        if array.shape[1:] != column.shape or dtype != column.dtype:
            raise UsageError(
                f"{self.option}: {name} has rows of {column.shape} {column.dtype}, then of {array.shape[1:]} {dtype}; "
                "expected them alike",
                hint=_HINT,
            )
        column.take(array)
        if column.rows > MOST_ROWS:
            raise UsageError(f"{self.option}: more than {MOST_ROWS} rows", hint=f"{self.option}=dataset.take(100)")

    def close(self) -> Path:
        """The archive."""
        if not self.columns:
            raise UsageError(f"{self.option}: holds nothing", hint=_HINT)
        path = self.folder / "given.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, column in self.columns.items():
                column.stream.close()
                raw = Path(column.stream.name)
                with (
                    _member(archive, name, (column.rows, *column.shape), column.dtype) as member,
                    raw.open("rb") as file,
                ):
                    shutil.copyfileobj(file, member)
                raw.unlink()
            if self.names:
                told = np.array(self.names)
                with _member(archive, LABELS, told.shape, told.dtype) as member:
                    member.write(told.tobytes())
        return path


def _member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> IO[bytes]:
    member = archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member


def _labels(labels: Any, option: str) -> Array:
    """Numbers, or names as text."""
    told = np.asarray(labels)
    if told.dtype.kind in "SO":
        flat = [each.decode() if isinstance(each, bytes) else each for each in told.ravel().tolist()]
        if not all(isinstance(each, str) for each in flat):
            raise UsageError(f"{option}: labels of {type(flat[0]).__name__}; expected numbers or names", hint=_HINT)
        told = np.array(flat).reshape(told.shape)
    if told.ndim == 0:
        raise UsageError(f"{option}: one label {told!r} for all rows; expected one for each", hint=_HINT)
    return told
