"""Keras's answers in one file: what artifacts are judged by, here and wherever there is no Keras.

A ``.npz`` file with a header (`Header`, JSON) and the arrays of a `Reference`. Inputs that a seed makes are not in it:
the header has their recipe, and figures by which a machine that draws other numbers is found out. Photographs have at
most 256 values in a channel, so they are stored as places in a palette; nothing is rounded. The same reference gives
the same bytes. Files are read as data from elsewhere: never with pickle, and never more than `MOST_BYTES`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.documents import SCHEMA_VERSION, decode_as, encode
from kexport.errors import KexportError, StoreError
from kexport.images import arrays
from kexport.records import Preprocessing, Signature, SourceFacts
from kexport.sources.answered import Reference
from kexport.sources.layer_samples import LayerFact, Walk
from kexport.sources.preprocessing import Feeding, reference_inputs

Array = npt.NDArray[Any]
MOST_BYTES = 256 * 2**20
"""Of all arrays together; a reference with more is not kept beside artifacts."""
HEADER, MOST_HEADER_BYTES = "header.json", 2**20
_PALETTE = 256
_NEAR = 1e-6
_HINT = "kexport parity --with-keras DIR makes it again"
_DAMAGED = (OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What an input is fed with (`kexport.sources.preprocessing.Feeding`)."""

    name: str
    content: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the inputs are made: each fed with what, of which signature, from one seed."""

    fed: tuple[Drawn, ...]
    inputs: tuple[Signature, ...]
    seed: int

    def draw(self) -> dict[str, Array]:
        """The inputs. Raises UsageError for sizes that are open or too large."""
        fed = [
            Feeding(name=each.name, content=each.content, low=each.low, high=each.high, mode="", basis="")
            for each in self.fed
        ]
        return reference_inputs(fed, self.inputs, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Header:
    """Of which network these are the answers, and how its inputs are made where a seed makes them.

    ``inputs`` and ``contract`` are the network's own, also where a file takes pixels (`kexport.sources.embedding`).
    ``figures`` are two sums per row of each drawn input: alike where the same numbers were drawn. ``layers`` say whose
    samples there are, and ``shown`` which layer makes each output. ``backend`` is what Keras computed with.
    """

    weights_sha256: str = ""
    inputs: tuple[Signature, ...] = ()
    contract: Preprocessing | None = None
    recipe: Recipe | None = None
    figures: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    layers: tuple[LayerFact, ...] = ()
    shown: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    backend: str = ""
    schema: int = SCHEMA_VERSION


def recipe(fed: Sequence[Feeding], inputs: Sequence[Signature], *, seed: int) -> Recipe:
    """The recipe of seeded inputs."""
    drawn = tuple(Drawn(name=each.name, content=each.content, low=each.low, high=each.high) for each in fed)
    return Recipe(fed=drawn, inputs=tuple(inputs), seed=seed)


def save(
    reference: Reference,
    path: Path,
    *,
    made: Recipe | None = None,
    walked: Walk | None = None,
    facts: SourceFacts | None = None,
    versions: Mapping[str, str] | None = None,
    backend: str = "",
) -> None:
    """Write the file; inputs that ``made`` does not draw to the bit are stored as they are."""
    drawn = made is not None and _same(made.draw(), reference.inputs)
    told = Header(
        weights_sha256=facts.weights_sha256 if facts is not None else "",
        inputs=facts.inputs if facts is not None else (),
        contract=facts.preprocessing if facts is not None else None,
        recipe=made if drawn else None,
        figures={name: _figures(array) for name, array in reference.inputs.items()} if drawn else {},
        layers=walked.layers if walked is not None else (),
        shown=dict(walked.shown) if walked is not None else {},
        versions=dict(versions or {}),
        backend=backend,
    )
    _write_all(path, told, reference)


def extend(path: Path, reference: Reference, versions: Mapping[str, str]) -> None:
    """Write the file again, whole or not at all: a ``reference`` with more in it, found by these ``versions`` too."""
    before, beside = header(path), path.with_name(f"{path.name}.part")
    _write_all(beside, replace(before, versions={**before.versions, **versions}), reference)
    beside.replace(path)


def _write_all(path: Path, told: Header, reference: Reference) -> None:
    drawn = told.recipe is not None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), encode(told))
        for kind in fields(Reference):
            for name, array in getattr(reference, kind.name).items():
                if kind.name != "inputs":
                    _write(archive, f"{kind.name}:{name}", array)
                elif not drawn:
                    _write_input(archive, name, array)


def load(path: Path, *, drawn: Sequence[Array] | None = None) -> Reference:
    """The reference of a file; ``drawn`` are those inputs that its seed makes, where they are there already.

    Raises StoreError where it is damaged, or where its seed draws other numbers here.
    """
    try:
        with files.regular(path) as file, zipfile.ZipFile(file) as archive:
            _require_small(archive, path)
            header: Header = decode_as(Header, archive.read(HEADER), told=path.name)
            found = _arrays(archive)
        if header.recipe is None:
            inputs = _stored_inputs(found)
        else:
            inputs = _drawn(header, path) if drawn is None else _named(header.recipe, drawn)
        groups = {kind.name: _of(found, kind.name) for kind in fields(Reference) if kind.name != "inputs"}
        return Reference(inputs=inputs, **groups)
    except _DAMAGED as error:
        raise StoreError(f"{path.name} is no whole reference: {error}", hint=_HINT) from error
    except KexportError as error:
        raise StoreError(error.message, hint=_HINT) from error


def header(path: Path) -> Header:
    """The header alone. Raises StoreError where the file is damaged."""
    try:
        with files.regular(path) as file, zipfile.ZipFile(file) as archive:
            _require_small(archive, path)
            read: Header = decode_as(Header, archive.read(HEADER), told=path.name)
    except _DAMAGED as error:
        raise StoreError(f"{path.name} is no whole reference: {error}", hint=_HINT) from error
    return read


def fits(path: Path) -> bool:
    """Whether a file that `save` wrote is small enough to be read back."""
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist()) <= MOST_BYTES


def _require_small(archive: zipfile.ZipFile, path: Path) -> None:
    size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES or archive.getinfo(HEADER).file_size > MOST_HEADER_BYTES:
        raise StoreError(f"{path.name} unpacks to {size} bytes, expected at most {MOST_BYTES}", hint=_HINT)


def _same(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
    return list(ours) == list(theirs) and all(
        ours[name].dtype == theirs[name].dtype and np.array_equal(ours[name], theirs[name]) for name in ours
    )


def _write(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def _write_input(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    palettes = _palettes(array)
    if palettes is None:
        _write(archive, f"inputs:{name}", array)
        return
    places = [np.searchsorted(palettes[channel], array[..., channel]) for channel in range(len(palettes))]
    _write(archive, f"palettes:{name}", palettes)
    _write(archive, f"places:{name}", np.stack(places, axis=-1).astype(np.uint8))


def _palettes(array: Array) -> Array | None:
    """The values of each channel, ascending, the last repeated; None where one has more than a byte can number."""
    if array.ndim != 4 or array.dtype.kind != "f" or not np.isfinite(array).all():
        return None
    found = [np.unique(array[..., channel]) for channel in range(array.shape[-1])]
    length = max(len(values) for values in found)
    if length > _PALETTE or any(np.signbit(values[values == 0]).any() for values in found):
        return None
    return np.stack([np.pad(values, (0, length - len(values)), mode="edge") for values in found])


def _stored_inputs(found: Mapping[str, Array]) -> dict[str, Array]:
    places, palettes = _of(found, "places"), _of(found, "palettes")
    painted = {
        name: np.stack([palettes[name][channel][where[..., channel]] for channel in range(where.shape[-1])], axis=-1)
        for name, where in places.items()
    }
    order = [key.partition(":")[2] for key in found if key.partition(":")[0] in ("inputs", "places")]
    every = {**_of(found, "inputs"), **painted}
    return {name: every[name] for name in order}


def _named(recipe: Recipe, drawn: Sequence[Array]) -> dict[str, Array]:
    return {each.name: array for each, array in zip(recipe.fed, drawn, strict=True)}


def _drawn(header: Header, path: Path) -> dict[str, Array]:
    assert header.recipe is not None
    inputs = header.recipe.draw()
    for name, array in inputs.items():
        stored = np.array(header.figures.get(name, ()), np.float64)
        ours = np.array(_figures(array), np.float64)
        scale = np.abs(array.astype(np.float64)).max(initial=1.0)
        if stored.shape != ours.shape or not (np.abs(stored - ours) <= _NEAR * scale).all():
            raise StoreError(f"{path.name}: the seed of input {name!r} draws other numbers here", hint=_HINT)
    return inputs


def _figures(array: Array) -> tuple[tuple[float, float], ...]:
    """The mean of each row, and its mean under weights that tell places apart."""
    rows = array.reshape(len(array), -1).astype(np.float64)
    weights = np.cos(np.arange(rows.shape[1]) * 0.7)
    return tuple((float(row.mean()), float((row * weights).mean())) for row in rows)


def _arrays(archive: zipfile.ZipFile) -> dict[str, Array]:
    names = [name for name in archive.namelist() if name != HEADER]
    return {name.removesuffix(".npy"): _read(archive, name) for name in names}


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    entry = archive.getinfo(name)
    with archive.open(entry) as stream:
        shape, dtype = arrays.header(stream, entry.file_size)
        return _exactly(stream, shape, np.dtype(dtype))


def _exactly(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    size = prod(shape) * dtype.itemsize
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends before its array does")
    return np.frombuffer(bytearray(content), dtype).reshape(shape)


def _of(found: Mapping[str, Array], kind: str) -> dict[str, Array]:
    start = f"{kind}:"
    return {key.removeprefix(start): array for key, array in found.items() if key.startswith(start)}
