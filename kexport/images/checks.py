"""What sets of images share: reading photographs in blocks, their marks, and the judgement of what cannot be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.errors import SourceError, UsageError
from kexport.images import photographs, similarity
from kexport.images.similarity import Look
from kexport.records import UNKNOWN, Preprocessing

FEWEST = 32
LEAST_CORRELATION = 0.3
"""Below it neighbouring pixels are unrelated: noise. 500 photographs had 0.71 to 1.0, independent noise 0.0."""
LEAST_COVERAGE = 0.6
"""The part of the input range that a set must span. Arrays in [0, 1] span half of [-1, 1] and nothing of [0, 255]."""
RANGE_MARGIN = 0.02
_SHOWN = 10
Images = npt.NDArray[np.float32]


def as_taken(images: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Numbers in the type that a network takes: the nearest whole ones where it takes those."""
    wanted = np.dtype(dtype)
    if images.dtype == wanted or wanted.kind not in "iu" or images.dtype.kind not in "fiu":
        return images
    ends = np.iinfo(wanted)
    taken: npt.NDArray[Any] = np.clip(np.rint(images), ends.min, ends.max).astype(wanted)
    return taken


InputRange = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a set, as it can be recognised in another. ``sha256`` is the file's; empty where it has none.

    ``small_hash`` and ``cells`` are its `Look`.
    """

    name: str
    sha256: str
    small_hash: int
    cells: str = ""

    @classmethod
    def of(cls, name: str, look: Look, *, sha256: str = "") -> Member:
        """The image of that look."""
        return cls(name=name, sha256=sha256, small_hash=look.bits, cells=look.cells)

    @property
    def look(self) -> Look:
        """What it looks like."""
        return Look(bits=self.small_hash, cells=self.cells)


def image_blocks(paths: Iterable[Path], contract: Preprocessing, size: int) -> Iterator[Images]:
    """Photographs as the network takes them, ``size`` at a time. Raises SourceError at a file that is damaged."""
    remaining = iter(paths)
    while chunk := list(islice(remaining, size)):
        yield np.stack([photographs.prepare(photographs.read(path, contract)[1], contract) for path in chunk])


def read_photographs(
    images: Mapping[str, Path],
    contract: Preprocessing,
    *,
    keep: Callable[[int, npt.NDArray[np.uint8]], None] | None = None,
) -> tuple[tuple[float, ...], tuple[Member, ...]]:
    """Each photograph's correlation of neighbours before any resize, and its marks; every damaged file is named.

    ``keep`` is given the place and the pixels of each, as the network takes them but for their scale.
    """
    correlations, members, damaged = [], [], []
    for place, (name, path) in enumerate(images.items()):
        try:
            centre, fitted = photographs.read(path, contract)
        except SourceError as error:
            damaged.append(error)
            continue
        correlations.append(similarity.neighbour_correlation(centre))
        members.append(member(name, path, fitted))
        if keep is not None:
            keep(place, fitted)
    if damaged:
        lines = [error.message for error in damaged[:_SHOWN]]
        more = [f"and {len(damaged) - _SHOWN} more"] if len(damaged) > _SHOWN else []
        raise SourceError("\n".join([*lines, *more]), hint=damaged[0].hint)
    return tuple(correlations), tuple(members)


def member(name: str, path: Path, fitted: npt.NDArray[np.uint8]) -> Member:
    """A photograph's marks: its file's sha256 and what it looks like."""
    return Member.of(name, similarity.look(fitted), sha256=files.file_digest(path))


def near_duplicates(members: Sequence[Member]) -> dict[int, int]:
    """The places of images that look nearly like an earlier one, and its place."""
    looks = [member.look for member in members]
    return {later: earlier for earlier, later in similarity.near_pairs(looks, looks) if earlier < later}


def duplicate_note(members: Sequence[Member]) -> tuple[str, ...]:
    """A warning where images look nearly the same; nothing where all differ."""
    copies = near_duplicates(members)
    if not copies:
        return ()
    later, earlier = min(copies.items())
    pair = f"{members[later].name} of {members[earlier].name}"
    return (f"{len(copies)} of {len(members)} images are near-duplicates (such as {pair}): they add no information",)


def class_note(names: Sequence[str]) -> tuple[str, ...]:
    """A warning where the names of folders or files say that all images show one class."""
    classes = {_class_of(name) for name in names}
    if len(names) < 2 or len(classes) != 1 or "" in classes:
        return ()
    return (f"all {len(names)} images are of one class ({classes.pop()}): mix the classes that will be met",)


def refuse_non_finite(label: str, row: Images) -> None:
    """An image with NaN or infinity."""
    bad = int(row.size - np.isfinite(row).sum())
    if bad:
        raise UsageError(
            f"{label}: {bad} of {row.size} values are NaN or infinity; expected finite numbers",
            hint="np.isfinite(images).all() finds them; leave these images out and save the file again",
        )


def refuse_range(text: str, found: InputRange, expected: InputRange, *, mode: str) -> None:
    """Values outside the network's input range, or in a small part of it: scaled for another network."""
    if mode == UNKNOWN:
        return
    (low, high), (least, most) = found, expected
    span = most - least
    margin = RANGE_MARGIN * span
    if least - margin <= low and high <= most + margin and high - low >= LEAST_COVERAGE * span:
        return
    raise UsageError(
        f"{text}: values from {low:.4g} to {high:.4g}; the network ({mode!r} preprocessing) takes "
        f"{least + 0.0:.4g} to {most + 0.0:.4g}",  # -0.0 is told as 0
        hint="save uint8 pixels, which go through the network's own preprocessing, or apply it before saving",
    )


def refuse_divided(text: str, most: float, *, mode: str) -> None:
    """uint8 pixels that are all 0 or 1: divided by 255 before they became whole, or a mask.

    How dark the others may be is not judged: they go through the network's own contract, as those of an image file.
    """
    if most > 1 or mode == UNKNOWN:
        return
    raise UsageError(
        f"{text}: uint8 pixels from 0 to {most:.0f}, as of a mask or of images divided by 255; expected 0 to 255",
        hint="np.savez('images.npz', input=images) with images of uint8 as they were decoded, before any division",
    )


def refuse_noise(text: str, correlations: Sequence[float], names: Sequence[str], *, hint: str) -> None:
    """Noise and constant images as a set are refused; both calibrate on what no camera gives."""
    values = np.array(correlations)
    if np.isnan(values).all():
        raise UsageError(f"{text}: every image is of one colour; expected photographs", hint=hint)
    noisy = values < LEAST_CORRELATION  # false for NaN
    if noisy.mean() >= 0.5:
        worst = names[int(np.flatnonzero(noisy)[0])]
        raise UsageError(
            f"{text}: {int(noisy.sum())} of {len(values)} images are random noise (such as {worst}: neighbouring "
            f"pixels correlate by {values[noisy][0]:.2f}, photographs by 0.7 or more)",
            hint=hint,
        )


def noise_note(correlations: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """A warning where some images, but not the set, are random noise."""
    noisy = np.flatnonzero(np.array(correlations) < LEAST_CORRELATION)
    return (f"{len(noisy)} of {len(names)} images look like noise (such as {names[noisy[0]]})",) if noisy.size else ()


def count_note(count: int) -> tuple[str, ...]:
    """A warning where a set is small."""
    images = "image" if count == 1 else "images"
    return (f"only {count} {images}: about 100 give stable ranges",) if count < FEWEST else ()


def left_out_note(names: Sequence[str]) -> tuple[str, ...]:
    """A note where a folder holds other files."""
    return (f"{len(names)} files are no images and were left out (such as {names[0]})",) if names else ()


def _class_of(name: str) -> str:
    """The folders that hold the image and the number that its name begins with; empty where neither is there."""
    folder, _, file = name.rpartition("/")
    found = re.match(r"\d+(?=_)", file)
    return " ".join([part for part in (folder, found[0] if found else "") if part])
