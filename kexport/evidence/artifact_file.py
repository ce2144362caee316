"""An artifact file alone: what it says of itself, and what a record beside it adds; never with Keras, never written to.

The contract and the labels are looked for in this order: what the caller states, kexport's own entries in the file, the
format's standard for them, the record beside the file if it is of these very bytes. What is nowhere is said.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kexport import files, runtimes
from kexport.documents import adapter, decode_as
from kexport.errors import ArtifactError, MissingDependencyError, StoreError, UsageError
from kexport.records import Basis, Preprocessing, Record, Resize, decode
from kexport.records.contents import Contents
from kexport.registry import Format
from kexport.runtimes import precheck
from kexport.sources import catalog, stated
from kexport.sources import labels as label_files

CONTRACT, LABELS = "kexport.preprocessing", "kexport.labels"
_LARGEST_SIDE = 2**16
_MOST_RECORD = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class ArtifactFile:
    """A model file with everything that is known of it here.

    ``contract_from`` and ``labels_from`` say where the contract and the labels are from, or that there are none;
    ``notes`` say what else is missing or damaged. ``record`` is that of these very bytes.
    """

    path: Path
    format: Format
    sha256: str
    size_bytes: int
    contents: Contents
    record: Record | None
    contract: Preprocessing | None
    contract_from: str
    labels: tuple[str, ...]
    labels_from: str
    notes: tuple[str, ...]


def format_of(path: Path) -> Format:
    """The format of a file or folder, by its name's ending, or what lies in the folder. Raises UsageError."""
    if not files.there(path):
        raise _missing(path)
    found = next((form for form in Format if path.name.lower().endswith(form.suffix)), None)
    found = found or next((form for form in Format if form.marker and (path / form.marker).is_file()), None)
    if found is None:
        endings = ", ".join(form.suffix for form in Format)
        raise UsageError(f"{path} is no artifact: expected a name that ends in {endings}", hint="kexport list formats")
    return found


def _missing(path: Path) -> UsageError:
    """With what lies beside it under the most similar name, or with what makes an artifact."""
    beside = (
        [each.name for each in path.parent.iterdir()]
        if os.access(path.parent, os.R_OK) and path.parent.is_dir()
        else []
    )
    found = [name for name in beside if any(name.lower().endswith(form.suffix) for form in Format)]
    close = difflib.get_close_matches(path.name, found, n=1)
    offer = f"did you mean {path.parent / close[0]}?" if close else "kexport export MobileNetV3Small"
    return UsageError(f"{path} does not exist", hint=offer)


def read(
    path: Path,
    *,
    labels: Path | None = None,
    preprocessing: str | None = None,
    resize: str | None = None,
    run: bool = False,
) -> ArtifactFile:
    """The file at ``path``, looked at before it is read; the other arguments are what the caller states.

    ``run``: it will be run in this process, and is run once in another before, which it may crash.

    Raises UsageError for what is no artifact, ArtifactError for a file that is not sound, and what the readers of
    labels and of a stated contract raise.
    """
    form = format_of(path)
    if form.contents is None:
        raise UsageError(
            f"{path}: the format {form} has no reader of what a file says of itself", hint="kexport list formats"
        )
    precheck.require_sound(runtimes.for_format(form), path, run=run)
    try:
        contents = form.contents(path)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path}: reading it needs the package {error.name}", hint="pip install 'kexport[cpu]'"
        ) from error
    try:
        sha256 = files.digest(path, limit_bytes=files.MOST_BYTES)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint="kexport verify DIR") from error
    record, notes = _record(path, sha256)
    contract, contract_from, damage = _contract(contents, record)
    names, names_from, more = _labels(contents, record)
    found = ArtifactFile(
        path=path, format=form, sha256=sha256, size_bytes=files.size_bytes(path), contents=contents, record=record,
        contract=contract, contract_from=contract_from, labels=names, labels_from=names_from,
        notes=(*contents.notes, *notes, *damage, *more),
    )  # fmt: skip
    return _stated(found, labels, stated.of(preprocessing, resize))


def beside(path: Path) -> Record | None:
    """The record that lies beside a file, also if that was changed since; None where there is none that is whole."""
    try:
        return decode(files.read(path.with_name(f"{path.name}.json"), limit_bytes=_MOST_RECORD))
    except (StoreError, OSError):
        return None


def image_input(found: ArtifactFile) -> tuple[tuple[int | None, int | None], int | None, bool]:
    """Height and width, channels, and whether channels come first, of the only input.

    An input with 1 or 3 channels before two larger axes is an image with its channels first, as PyTorch's are.
    Raises UsageError where the file does not take exactly one image.
    """
    inputs = found.contents.inputs
    shape = inputs[0].shape if len(inputs) == 1 else ()
    if len(shape) != 4:
        told = "; ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in inputs)
        raise UsageError(
            f"{found.path}: expected one input that is an image, it takes {told}", hint=f"kexport inspect {found.path}"
        )
    if shape[1] in (1, 3) and shape[3] not in (1, 3):
        return (shape[2], shape[3]), shape[1], True
    return (shape[1], shape[2]), shape[3], False


def _record(path: Path, sha256: str) -> tuple[Record | None, tuple[str, ...]]:
    """The record beside the file, and what is to be said of it."""
    beside = path.with_name(f"{path.name}.json")
    if files.too_long(beside.name) or not files.there(beside):
        return None, ("no record beside the file: what it was made from and its proof are not known here",)
    try:
        record = decode(files.read(beside, limit_bytes=_MOST_RECORD))
    except StoreError as error:
        return None, (f"{beside.name}: {error.message}",)
    except OSError as error:
        return None, (f"{beside.name} cannot be read: {error.strerror}",)
    if record.artifact is None or record.artifact.sha256 != sha256:
        return None, (f"{beside.name} is the record of other bytes: left aside",)
    return record, ()


def _contract(contents: Contents, record: Record | None) -> tuple[Preprocessing | None, str, tuple[str, ...]]:
    damage: tuple[str, ...] = ()
    if CONTRACT in contents.metadata:
        try:
            return legal(_decoded(contents.metadata[CONTRACT], Preprocessing)), "in the file", ()
        except (StoreError, ValueError) as error:
            damage = (f"{CONTRACT} in the file cannot be used: {error}",)
    if contents.contract is not None:
        return contents.contract, "standard metadata in the file", damage
    if record is not None and record.source is not None and record.source.preprocessing is not None:
        try:
            return legal(record.source.preprocessing), "its record", damage
        except ValueError as error:
            damage = (*damage, f"the contract of its record cannot be used: {error}")
    return None, "none", damage


def legal(contract: Preprocessing) -> Preprocessing:
    """The contract. ValueError for one that no image can be prepared by."""
    numbers = (contract.scale, *contract.mean, *contract.std)
    sides = (*contract.size, contract.resize_shorter_side)
    if len(contract.mean) != len(contract.std) or not contract.mean:
        raise ValueError(f"{len(contract.mean)} means for {len(contract.std)} standard deviations")
    if not all(map(math.isfinite, numbers)) or 0 in contract.std:
        raise ValueError("a mean or standard deviation that is no finite number, or 0")
    if not all(0 < side <= _LARGEST_SIDE for side in sides):
        raise ValueError(f"sides of {sides} pixels")
    return contract


def _decoded(text: str, kind: Any) -> Any:
    return decode_as(kind, text, told="it")


def _labels(contents: Contents, record: Record | None) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    damage: tuple[str, ...] = ()
    if LABELS in contents.metadata:
        try:
            names: list[str] = adapter(list[str]).validate_python(json.loads(contents.metadata[LABELS]), strict=True)
            return tuple(names), "in the file", ()
        except (ValueError, RecursionError):
            damage = (f"{LABELS} in the file is no list of names",)
    if contents.labels:
        return contents.labels, "standard metadata in the file", damage
    if record is not None and record.source is not None and record.source.labels:
        return record.source.labels, "its record", damage
    return (), "none", damage


def _stated(found: ArtifactFile, labels: Path | None, said: stated.Stated) -> ArtifactFile:
    if labels is not None:
        found = replace(found, labels=label_files.read(labels), labels_from=str(labels))
    if said.scaling is not None:
        found = replace(found, contract=_of_scaling(found, said), contract_from=said.text)
    if said.resizing is not None:
        if found.contract is None:
            raise UsageError(
                f"--resize: {found.path.name} has no contract that it could be a part of", hint=stated.HINT
            )
        found = replace(found, contract=said.resizing.applied(found.contract, Basis.STATED))
    return found


def _of_scaling(found: ArtifactFile, said: stated.Stated) -> Preprocessing:
    size, channels, _ = image_input(found)
    scaling = said.scaling
    assert scaling is not None
    height, width = size
    if height is None or width is None or channels is None:
        raise UsageError(
            f"{found.path}: its input leaves height, width or channels open: {list(found.contents.inputs[0].shape)}",
            hint="export it with a fixed size: --input-shape 224,224,3",
        )
    if not scaling.fits(channels):
        raise UsageError(
            f"{said.text}: is for {len(scaling.mean)} channels, the file takes {channels}", hint=stated.HINT
        )
    scaling = scaling.of_channels(channels)
    known = found.contract
    return Preprocessing(
        mode=scaling.mode, size=(height, width), channel_order=scaling.channel_order, scale=scaling.scale,
        mean=scaling.mean, std=scaling.std, basis=said.text, range_basis=Basis.STATED,
        resize_shorter_side=known.resize_shorter_side if known else catalog.shorter_side((height, width)),
        resize=known.resize if known else Resize.CROP,
        resize_basis=known.resize_basis if known else Basis.ASSUMED,
    )  # fmt: skip
