"""The standard metadata of a TFLite file of any maker as a contract and labels; bounded, as the file may be hostile.

Slots as in `kexport.formats.tflite.standard`. The resize, which they do not say, is assumed: the whole image squashed,
as the readers of the standard do it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import ArtifactError
from kexport.formats.tflite.check.reader import Reader, Table
from kexport.formats.tflite.standard import MAX_LABELS_BYTES
from kexport.records import Basis, Preprocessing, Resize, Signature

_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_CONTENT, _UNITS, _FILES = 3, 4, 6
_KIND, _VALUE = 0, 1
_IMAGE, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the standard metadata say, and what of it could not be used."""

    contract: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(entry: bytes, path: Path, inputs: tuple[Signature, ...]) -> Found:
    """The contract of the first input and the labels of the first output that names a file of them."""
    try:
        reader = Reader(entry)
        model = reader.table(reader.number("I", 0), "metadata")
        graphs = model.tables(_SUBGRAPHS, "subgraph_metadata")
        if not graphs:
            return Found()
        contract = _contract(graphs[0].tables(_INPUTS, "input_tensor_metadata"), inputs)
        names = tuple(_label_files(graphs[0].tables(_OUTPUTS, "output_tensor_metadata")))
    except ArtifactError as error:
        return Found(notes=(f"standard metadata that cannot be read: {error.message}",))
    if not names:
        return Found(contract=contract)
    try:
        return Found(contract=contract, labels=_labels(path, names[0]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        return Found(contract=contract, notes=(f"the labels {names[0]!r} of its archive cannot be read: {error}",))


def _contract(tables: list[Table], inputs: tuple[Signature, ...]) -> Preprocessing | None:
    """None unless the first input is an image of 3 channels or 1 with a normalisation."""
    shape = inputs[0].shape if inputs else ()
    if not tables or len(shape) != 4 or None in shape[1:]:
        return None
    content = tables[0].child(_CONTENT, "content")
    if content is None or content.number(_KIND, "B", 0) != _IMAGE:
        return None
    height, width, channels = (int(size or 0) for size in shape[1:])
    found = next(
        (numbers for unit in tables[0].tables(_UNITS, "process_units") if (numbers := _normalization(unit))), None
    )
    if found is None or channels not in (1, 3) or any(len(numbers) not in (1, channels) for numbers in found):
        return None
    mean, std = (numbers * (channels // len(numbers)) for numbers in found)
    if not all(map(math.isfinite, (*mean, *std))) or 0 in std:
        return None
    return Preprocessing(
        mode="own", size=(height, width), channel_order="RGB", scale=1.0, mean=mean, std=std, resize=Resize.SQUASH,
        resize_shorter_side=max(height, width), basis="standard TFLite metadata", range_basis=Basis.READ,
        resize_basis=Basis.ASSUMED,
    )  # fmt: skip


def _normalization(unit: Table) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    options = unit.child(_VALUE, "options") if unit.number(_KIND, "B", 0) == _NORMALIZATION else None
    return None if options is None else (tuple(options.reals(0, "mean")), tuple(options.reals(1, "std")))


def _label_files(tables: list[Table]) -> Iterator[str]:
    for table in tables:
        for file in table.tables(_FILES, "associated_files"):
            if file.number(2, "b", 0) == _AXIS_LABELS:
                yield file.text(0, "name")


def _labels(path: Path, name: str) -> tuple[str, ...]:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(name).file_size > MAX_LABELS_BYTES:
            raise ValueError(f"{archive.getinfo(name).file_size} bytes, expected at most {MAX_LABELS_BYTES}")
        with archive.open(name) as file:
            text = file.read(MAX_LABELS_BYTES + 1).decode()
    return tuple(line.strip() for line in text.rstrip("\n").split("\n")) if text else ()
