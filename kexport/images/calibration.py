"""The images that activations are measured on: streamed, always in the same order, judged before they are used.

Wrong calibration data costs accuracy without a word, so a set is read once when it is opened: what cannot be right is
refused with the file and the remedy, what is doubtful becomes a note. Memory holds one block of images.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from kexport import files
from kexport.errors import UsageError
from kexport.images import arrays, checks, decoded, given, photographs, similarity
from kexport.images.checks import Images, InputRange, Member
from kexport.images.seeded import seeded_images
from kexport.options import fetched
from kexport.records import Preprocessing, Signature

SYNTHETIC_COUNT = 8
_BLOCK = 8
Blocks = Callable[[int], Iterator[Mapping[str, Images]]]


class Kind(StrEnum):
    """What a set is made of: photographs, a file of arrays, or seeded images that no camera took."""

    IMAGES = "images"
    ARRAYS = "arrays"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Inputs ready for the network: images, or rows of numbers for each input of a network that takes others.

    ``sha256`` changes with any file, its name or its order. ``shape`` is that of the largest input, without its batch;
    ``pictures``: its rows can be recognised by what they show. ``text`` is what was asked for; ``notes`` are warnings
    for the record and the terminal; ``fit_to_deploy`` is false where the images are synthetic, and then nothing made
    with them may be called ready to deploy.
    """

    text: str
    kind: Kind
    shape: tuple[int, ...]
    members: tuple[Member, ...]
    sha256: str
    notes: tuple[str, ...]
    fit_to_deploy: bool
    blocks: Blocks
    pictures: bool = True

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.members)

    @property
    def near_duplicates(self) -> int:
        """How many of them look nearly like an earlier one; synthetic ones are noise, and all different."""
        return 0 if self.kind is Kind.SYNTHETIC or not self.pictures else len(checks.near_duplicates(self.members))

    def batches(self, size: int) -> Iterator[dict[str, Images]]:
        """Every row once, in the set's order: ``size`` of each input by its name, as the network takes them.

        The last batch may be shorter. Each call begins again and reads anew; memory holds one batch.
        """
        for block in self.blocks(size):
            yield dict(block)


def check(text: str) -> None:
    """Raise UsageError unless ``text`` could be a set: a folder, a ``.npz`` file or ``synthetic:SEED``."""
    if text == "synthetic" or text.startswith("synthetic:"):
        _seed(text)
        return
    if text.startswith(given.PREFIX):
        return
    kind = fetched.kind(text)
    if not kind:
        raise UsageError(f"--calibration {text!r}: there is no such file or folder; {_LEGAL}", hint=_HINT)
    if kind == "file" and Path(text).suffix != ".npz":
        raise UsageError(f"--calibration {text!r}: is neither a folder nor a .npz file; {_LEGAL}", hint=_HINT)


def open_calibration(
    text: str,
    preprocessing: Preprocessing | None,
    inputs: Sequence[Signature],
    input_range: InputRange,
    *,
    folder: Path | None = None,
) -> CalibrationSet:
    """The set that ``text`` names, read once and judged.

    ``inputs`` are the network's. One image of static size may be calibrated on any kind of set, other inputs on a
    ``.npz`` file with an array for each. ``preprocessing`` is None where no input is an image. ``input_range`` is
    what pixels in [0, 255] become after its preprocessing (`kexport.sources.catalog.input_range`). Photographs that
    the ``folder`` of the run has are not read again.
    Raises UsageError or SourceError, which name the file and the remedy, for a set that cannot be right.
    """
    check(text)
    image = _image_input(inputs)
    if image is None or preprocessing is None:
        return _numbers(text, inputs)
    name, shape = image
    if text.startswith("synthetic:"):
        made = _synthetic(text, name, shape, input_range)
        return replace(made, blocks=_taken(made.blocks, inputs[0].dtype))
    opened = (
        _photographs(text, name, shape, preprocessing, folder)
        if Path(text).is_dir()
        else _arrays(text, name, shape, preprocessing, input_range)
    )
    return replace(opened, blocks=_taken(opened.blocks, inputs[0].dtype))


_LEGAL = "expected a folder of images, a .npz file or synthetic:SEED"
_HINT = "--calibration FOLDER, with about 100 photographs like those that the network will meet"
NOISE_HINT = f"{_HINT}; or --calibration synthetic:0, whose result is marked as not fit to deploy"


def _seed(text: str) -> int:
    found = re.fullmatch(r"synthetic:(\d{1,9})", text)
    if found is None:
        raise UsageError(
            f"--calibration {text!r}: the seed is {text.partition(':')[2]!r}, expected a whole number",
            hint="--calibration synthetic:0",
        )
    return int(found[1])


def _image_input(inputs: Sequence[Signature]) -> tuple[str, tuple[int, int, int]] | None:
    """Name and size of the only input, if that is an image of floats. Raises UsageError where a size is open."""
    if any(None in spec.shape[1:] for spec in inputs):
        told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise UsageError(
            f"the network takes {told}; images are for one input of static size", hint="--input-shape 224,224,3"
        )
    if len(inputs) == 1 and len(inputs[0].shape) == 4:
        height, width, channels = (size or 0 for size in inputs[0].shape[1:])
        return inputs[0].name, (height, width, channels)
    return None


def _by_name(name: str, blocks: Callable[[int], Iterator[Images]]) -> Blocks:
    return lambda size: ({name: block} for block in blocks(size))


def _taken(blocks: Blocks, dtype: str) -> Blocks:
    return lambda size: ({name: checks.as_taken(rows, dtype) for name, rows in block.items()} for block in blocks(size))


def _numbers(text: str, inputs: Sequence[Signature]) -> CalibrationSet:
    """Rows of a file, for a network that takes something else than one image."""
    if text.startswith("synthetic:") or Path(text).is_dir():
        told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise UsageError(
            f"--calibration {text}: is for a network of one image input; this one takes {told}",
            hint=arrays.saving(inputs),
        )
    found = arrays.open_arrays(Path(text), inputs)

    def blocks(size: int) -> Iterator[dict[str, Images]]:
        for rows in zip(*(each.blocks(size) for each in found), strict=True):
            yield {spec.name: block for spec, block in zip(inputs, rows, strict=True)}

    for start, block in enumerate(blocks(_BLOCK)):
        for name, rows in block.items():
            checks.refuse_non_finite(f"{text} array {name!r}, rows from {start * _BLOCK}", rows)
    names = [f"{text} row {index}" for index in range(found[0].shape[0])]
    largest = max((each.shape[1:] for each in found), key=math.prod)
    return CalibrationSet(
        text=text,
        kind=Kind.ARRAYS,
        shape=largest,
        members=tuple(Member(name=each, sha256="", small_hash=index) for index, each in enumerate(names)),
        sha256=files.file_digest(Path(text)),
        notes=checks.count_note(len(names)),
        fit_to_deploy=True,
        blocks=blocks,
        pictures=False,
    )


def _synthetic(text: str, name: str, shape: tuple[int, int, int], input_range: InputRange) -> CalibrationSet:
    first, (low, high) = (_seed(text) + 1) << 32, input_range  # far from the seeds of the parity reference

    def one(index: int) -> Images:
        return seeded_images(1, shape, seed=first + index, low=low, high=high)

    def blocks(size: int) -> Iterator[Images]:
        for start in range(0, SYNTHETIC_COUNT, size):
            yield np.concatenate([one(index) for index in range(start, min(start + size, SYNTHETIC_COUNT))])

    names = [f"{text}[{index}]" for index in range(SYNTHETIC_COUNT)]
    return CalibrationSet(
        text=text,
        kind=Kind.SYNTHETIC,
        shape=shape,
        members=tuple(Member(name=each, sha256="", small_hash=index) for index, each in enumerate(names)),
        sha256=hashlib.sha256(f"{text} {SYNTHETIC_COUNT} {shape} {low!r} {high!r}".encode()).hexdigest(),
        notes=(f"calibrated on {SYNTHETIC_COUNT} synthetic images: not fit to deploy",),
        fit_to_deploy=False,
        blocks=_by_name(name, blocks),
    )


def _photographs(
    text: str, name: str, shape: tuple[int, int, int], contract: Preprocessing, folder: Path | None
) -> CalibrationSet:
    found = photographs.listing(Path(text))
    if not found.images:
        raise UsageError(
            f"{text}: holds no images ({', '.join(photographs.SUFFIXES)})"
            + (f", but {len(found.left_out)} other files" if found.left_out else ""),
            hint=_HINT,
        )
    shown = decoded.read({found.name(path): path for path in found.images}, contract, folder)
    correlations, members = shown.correlations, shown.members
    names = [member.name for member in members]
    checks.refuse_noise(text, correlations, names, hint=NOISE_HINT)
    return CalibrationSet(
        text=text,
        kind=Kind.IMAGES,
        shape=shape,
        members=members,
        sha256=files.listing_digest({member.name: member.sha256 for member in members}),
        notes=(
            *_notes(members, correlations),
            *checks.class_note(names),
            *checks.left_out_note(found.left_out),
        ),
        fit_to_deploy=True,
        blocks=_by_name(name, shown.blocks),
    )


def _arrays(
    text: str, name: str, shape: tuple[int, int, int], contract: Preprocessing, input_range: InputRange
) -> CalibrationSet:
    source = arrays.open_array(Path(text), input_name=name, shape=shape, contract=contract)
    low, high, most = math.inf, -math.inf, 0.0
    correlations: list[float] = []
    members: list[Member] = []
    for stored in source.stored(_BLOCK):
        most = max(most, float(stored.max()))
        for row in source.inputs(stored):
            label = f"{text} image {len(members)}"
            checks.refuse_non_finite(label, row)
            low, high = min(low, float(row.min())), max(high, float(row.max()))
            correlations.append(similarity.neighbour_correlation(row))
            members.append(Member.of(label, similarity.look(row)))
    if source.are_pixels:
        checks.refuse_divided(text, most, mode=contract.mode)
    else:
        checks.refuse_range(text, (low, high), input_range, mode=contract.mode)
    names = [each.name for each in members]
    checks.refuse_noise(text, correlations, names, hint=NOISE_HINT)
    return CalibrationSet(
        text=text,
        kind=Kind.ARRAYS,
        shape=shape,
        members=tuple(members),
        sha256=files.file_digest(Path(text)),
        notes=_notes(members, correlations),
        fit_to_deploy=True,
        blocks=_by_name(name, source.blocks),
    )


def _notes(members: Sequence[Member], correlations: Sequence[float]) -> tuple[str, ...]:
    names = [member.name for member in members]
    return (
        *checks.count_note(len(members)),
        *checks.duplicate_note(members),
        *checks.noise_note(correlations, names),
    )
