"""Photographs that are read once in a run: their pixels and marks stay in the run's own folder, for whoever is next.

A set is opened by several processes, and each goes over it again and again; decoding a file costs far more than
mapping its pixels. What is kept holds as long as the list of files, their sizes and times, and the contract are the
same, and at most `MOST_BYTES`; otherwise the files are read. The folder is private to the run (`kexport.pipeline`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.images import checks, photographs
from kexport.images.checks import Images, Member
from kexport.records import Preprocessing

MOST_BYTES = 256 * 2**20
"""Of the pixels of a set; a larger one is read anew each time."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """A set that was read: what each image is known by, and its pixels, (images, height, width, channels), if kept."""

    paths: tuple[Path, ...]
    correlations: tuple[float, ...]
    members: tuple[Member, ...]
    contract: Preprocessing
    pixels: Pixels | None = None

    def blocks(self, size: int) -> Iterator[Images]:
        """The images as the network takes them, ``size`` at a time. Raises SourceError at a file that is damaged."""
        if self.pixels is None:
            yield from checks.image_blocks(self.paths, self.contract, size)
            return
        for start in range(0, len(self.pixels), size):
            yield np.stack([photographs.prepare(each, self.contract) for each in self.pixels[start : start + size]])


def read(images: Mapping[str, Path], contract: Preprocessing, folder: Path | None = None) -> Photographs:
    """The photographs by name, read once, or as the ``folder`` has them. Raises SourceError: every damaged file."""
    paths = tuple(images.values())
    if folder is None or not folder.is_dir() or len(paths) * _bytes(contract) > MOST_BYTES:
        correlations, members = checks.read_photographs(images, contract)
        return Photographs(paths=paths, correlations=correlations, members=members, contract=contract)
    place = folder / f"photographs-{_key(images, contract)}.npy"
    marks = place.with_suffix(".json")
    if not marks.exists():
        _keep(images, contract, place, marks)
    told = json.loads(marks.read_text(encoding="utf-8"))
    return Photographs(
        paths=paths,
        correlations=tuple(told["correlations"]),
        members=tuple(Member(**each) for each in told["members"]),
        contract=contract,
        pixels=np.load(place, mmap_mode="r", allow_pickle=False),
    )


def _bytes(contract: Preprocessing) -> int:
    return contract.size[0] * contract.size[1] * len(contract.mean)


def _key(images: Mapping[str, Path], contract: Preprocessing) -> str:
    """Changes with every file, as far as its folder tells, and with all that the pixels follow from."""
    digest = hashlib.sha256(repr(contract).encode())
    for name, path in images.items():
        digest.update(repr((name, str(path), _state(path))).encode())
    return digest.hexdigest()[:16]


def _state(path: Path) -> tuple[int, ...]:
    """Nothing of a file that is gone: reading it says so."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _keep(images: Mapping[str, Path], contract: Preprocessing, place: Path, marks: Path) -> None:
    """Read the files; the pixels first, then the marks, each complete or not there. Raises StoreError on a full disk.

    Written, not mapped: a map that finds the disk full ends the process without a word.
    """
    pixels, text = _beside(place), _beside(marks)
    shape = (len(images), *contract.size, len(contract.mean))
    refused = partial(files.foreign_errors, place, needed_bytes=math.prod(shape))
    try:
        with pixels.open("wb") as file:

            def keep(index: int, fitted: Pixels) -> None:
                del index  # they come in order, or the set is refused
                with refused():
                    file.write(np.ascontiguousarray(fitted).tobytes())

            with refused():
                _write_header(file, shape)
            correlations, members = checks.read_photographs(images, contract, keep=keep)
            with refused():
                file.flush()
        told = {"correlations": correlations, "members": [asdict(each) for each in members]}
        with refused():
            text.write_text(json.dumps(told), encoding="utf-8")
            pixels.replace(place)
            text.replace(marks)
    finally:
        pixels.unlink(missing_ok=True)
        text.unlink(missing_ok=True)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _beside(path: Path) -> Path:
    """A name of its own in the same folder: two processes may read the same set at once."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    os.close(handle)
    return Path(name)


__all__ = ["MOST_BYTES", "Photographs", "read"]
