"""Keras's answers on a set that it was measured on, in one file that lies beside artifacts, without the set itself."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from kexport import files
from kexport.errors import StoreError, UsageError
from kexport.images import arrays
from kexport.images.evaluation import FACTS, OUTPUTS, Evaluated, load, save
from kexport.images.evaluation_set import EvaluationSet
from kexport.records import decode_as, encode

ANSWERS = "answers.npz"
MOST_ANSWER_BYTES = 256 * 2**20
_AGAIN = "kexport export MODEL --eval FOLDER --force lets Keras see them again"


def pack(folder: Path) -> None:
    """Put the set, without the places of its files, and Keras's outputs into one file: `ANSWERS`.

    Nothing is written where the outputs are more than `MOST_ANSWER_BYTES`.
    """
    found = load(folder)
    if found is None or found[1].nbytes > MOST_ANSWER_BYTES:
        return
    evaluated, outputs = found
    bare = replace(evaluated, images=_bare(evaluated.images))
    with zipfile.ZipFile(folder / ANSWERS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(FACTS), encode(bare))
        with archive.open(zipfile.ZipInfo(OUTPUTS), "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(outputs), allow_pickle=False)


def unpack(answers: Path, images: EvaluationSet, folder: Path) -> None:
    """Put what `pack` wrote where the cells look for it, with the places of ``images``: the very same photographs.

    Raises UsageError where they are others, StoreError for a damaged file.
    """
    told = f"{answers.name} is no whole set of answers"
    try:
        with files.regular(answers) as file, zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * MOST_ANSWER_BYTES:
                raise StoreError(f"{told}: it unpacks to too much", hint=_AGAIN)
            stored: Evaluated = decode_as(Evaluated, archive.read(FACTS), told=answers.name)
            with archive.open(OUTPUTS) as stream:
                shape, dtype = arrays.header(stream, archive.getinfo(OUTPUTS).file_size)
                rows = np.frombuffer(stream.read(), dtype).reshape(shape)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{told}: {error}", hint=_AGAIN) from error
    if images.sha256 != stored.images.sha256:
        raise UsageError(
            f"--eval {images.text!r}: {images.count} images, and not the {stored.images.count} that Keras saw "
            f"({stored.images.text}): a file, a name or a label differs",
            hint=_AGAIN,
        )
    save(replace(stored, images=images), iter([rows]), folder)


def _bare(images: EvaluationSet) -> EvaluationSet:
    """The set without the places of its files."""
    return replace(images, paths=(), text=Path(images.text).name, arrays={}, targets="")
