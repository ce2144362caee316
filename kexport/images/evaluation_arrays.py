"""A ``.npz`` file to measure on: one array for each input, and the labels in the array ``labels``.

The arrays are taken out once, into the folder of the run, and mapped: memory holds the rows that are looked at.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import SourceError, UsageError
from kexport.images import arrays, checks, similarity
from kexport.images.arrays import LABELS
from kexport.images.checks import InputRange, Member
from kexport.images.photographs import prepare
from kexport.images.similarity import Look
from kexport.records import UNKNOWN, Preprocessing, Signature

Array = npt.NDArray[Any]
_BLOCK = 64
_EXPECTED = "np.savez('data.npz', input=images, labels=labels), then --eval data.npz"


def extracted(path: Path, inputs: Sequence[Signature], folder: Path) -> tuple[dict[str, str], Array | None]:
    """Mapped files by the names of the inputs, and the labels. Raises SourceError and UsageError for what cannot be."""
    names = arrays.names(path)
    chosen = {spec.name: _array_of(path, spec, names, alone=len(inputs) == 1) for spec in inputs}
    found = {name: str(_out(path, array, folder)) for name, array in chosen.items()}
    labels = np.load(_out(path, LABELS, folder), mmap_mode="r", allow_pickle=False) if LABELS in names else None
    counts = {name: len(mapped(file)) for name, file in found.items()}
    counts |= {} if labels is None else {LABELS: len(labels) if labels.ndim else 0}
    if len(set(counts.values())) != 1 or not 1 <= min(counts.values()) <= arrays.MOST_IMAGES:
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise UsageError(f"{path}: rows of the arrays: {told}; expected as many of each", hint=_EXPECTED)
    for spec in inputs:
        _check(path, spec, mapped(found[spec.name]))
    return found, labels


def mapped(file: str) -> Array:
    """One array, read where it is looked at."""
    array: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    return array


def rows(file: str, places: Sequence[int], wanted: str, contract: Preprocessing | None) -> Array:
    """Some rows as the network takes them: uint8 pixels go through the contract of a network that takes floats."""
    taken = np.asarray(mapped(file)[list(places)])
    if are_pixels(taken.dtype.name, wanted) and contract is not None:
        return prepare(taken, contract)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return taken.astype(wanted)


def are_pixels(dtype: str, wanted: str) -> bool:
    """Whether an array holds pixels rather than what the network takes."""
    return dtype == arrays.PIXELS and wanted.startswith("float")


def members(
    files: Mapping[str, str], inputs: Sequence[Signature], contract: Preprocessing | None, limits: InputRange, text: str
) -> tuple[Member, ...]:
    """Every row's marks, after it was judged: finite, and in the network's range."""
    found: list[Member] = []
    first = inputs[0]
    picture = len(inputs) == 1 and len(first.shape) == 4
    low, high, count = np.inf, -np.inf, len(mapped(files[first.name]))
    for start in range(0, count, _BLOCK):
        block = range(start, min(start + _BLOCK, count))
        for spec in inputs:
            values = rows(files[spec.name], block, spec.dtype, contract)
            checks.refuse_non_finite(f"{text}, array {spec.name!r}, rows from {start}", values)
            if spec is first:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
                found += [_member(f"{text}[{start + place}]", row, picture) for place, row in enumerate(values)]
    if picture and contract is not None and mapped(files[first.name]).dtype == arrays.PIXELS:
        checks.refuse_divided(text, _most(files[first.name]), mode=contract.mode)
    elif picture and contract is not None:
        checks.refuse_range(text, (low, high), limits, mode=contract.mode)
    return tuple(found)


def _most(file: str) -> float:
    """The largest number of an array, read in blocks."""
    array = mapped(file)
    return max(float(array[start : start + _BLOCK].max()) for start in range(0, len(array), _BLOCK))


def _member(name: str, row: Array, picture: bool) -> Member:
    digest = hashlib.sha256(np.ascontiguousarray(row).data).hexdigest()
    look = similarity.look(row) if picture else Look(bits=int(digest[:16], 16))
    return Member.of(name, look, sha256=digest)


def _array_of(path: Path, spec: Signature, names: Sequence[str], *, alone: bool) -> str:
    others = [name for name in names if name != LABELS]
    if spec.name in names:
        return spec.name
    if alone and len(others) == 1:
        return others[0]
    raise UsageError(
        f"{path}: holds the arrays {', '.join(map(repr, names)) or 'none'}; expected one for the input {spec.name!r}",
        hint=_EXPECTED,
    )


def _check(path: Path, spec: Signature, array: Array) -> None:
    """Shape and kind of numbers are the network's."""
    floats = spec.dtype.startswith(("float", "bfloat"))
    fits = array.dtype.kind in ("f" if floats else "iub") or are_pixels(array.dtype.name, spec.dtype)
    if array.shape[1:] != spec.shape[1:] or not fits:
        raise UsageError(
            f"{path}: the array for {spec.name!r} is {array.shape} {array.dtype}, expected "
            f"({', '.join(map(str, ('rows', *spec.shape[1:])))}) {spec.dtype}{', or uint8 for pixels' * floats}",
            hint=_EXPECTED,
        )


def require_contract(files: Mapping[str, str], inputs: Sequence[Signature], contract: Preprocessing | None) -> None:
    """Pixels need a contract that says what becomes of them."""
    pixels = any(are_pixels(mapped(files[spec.name]).dtype.name, spec.dtype) for spec in inputs)
    if pixels and (contract is None or contract.mode == UNKNOWN):
        raise UsageError(
            "--eval: uint8 arrays are pixels, and nothing says what this model makes of pixels",
            hint="float32 arrays as the model takes them, or --preprocessing raw",
        )


def _out(path: Path, name: str, folder: Path) -> Path:
    """One member as a file of its own."""
    target = folder / f"evaluation-{name.replace('/', '_')}.npy"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member, target.open("wb") as file:
            while block := member.read(2**20):
                file.write(block)
        mapped(str(target))
    except arrays.DAMAGED as error:
        raise SourceError(f"{path}: array {name!r} cannot be read: {error}", hint=_EXPECTED) from error
    return target
