"""The images that accuracy is measured on, and what Keras said about them: written once per model, read by its cells.

A folder of a run holds ``evaluation.json`` (`Evaluated`) and ``evaluation.npy`` (Keras's outputs, one row per image,
mapped and not read whole).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files as durable
from kexport.errors import SourceError, UsageError
from kexport.images import checks, photographs, similarity
from kexport.images import classes as class_labels
from kexport.images.checks import Images, Member
from kexport.images.classes import Classes, Labelled
from kexport.records import Preprocessing, Signature, decode_as, encode

FACTS, OUTPUTS = "evaluation.json", "evaluation.npy"
_HINT = "--eval FOLDER: one folder per class, or files <class index>_*.jpg; or --eval FILE.csv with path,class index"


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Photographs, and the index of the class of each where it is known, in a fixed order.

    ``sha256`` changes with any file, its name, its label or the order; ``notes`` are warnings for the record.
    ``classes`` is how many the network has; ``guess`` says how those of the images were guessed, if they were.
    """

    text: str
    input_name: str
    contract: Preprocessing
    paths: tuple[str, ...]
    members: tuple[Member, ...]
    labels: tuple[int, ...] | None
    sha256: str
    notes: tuple[str, ...]
    classes: int = 0
    guess: str = ""

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.members)

    def batches(self, size: int) -> Iterator[dict[str, Images]]:
        """Every image once, in order, as the network takes it: float32 by the input's name; the last may be shorter.

        Raises SourceError if a file is not what it was when the set was opened.
        """
        for start in range(0, self.count, size):
            chosen = range(start, min(start + size, self.count))
            yield {self.input_name: np.concatenate([self._image(index) for index in chosen])}

    def _image(self, index: int) -> Images:
        path = Path(self.paths[index])
        if not path.is_file() or durable.file_digest(path) != self.members[index].sha256:
            raise SourceError(f"{path}: was changed while the run was using it", hint="run again")
        return next(checks.image_blocks([path], self.contract, 1))


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A set that Keras has seen. ``overlap`` names the images that the calibration set holds as well.

    ``caveats`` say what is to be known before any number on these images (`kexport.records.AccuracyRecord`).
    """

    images: EvaluationSet
    overlap: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


def check(text: str) -> None:
    """Raise UsageError unless ``text`` could be a set: a folder or a ``.csv`` file."""
    path = Path(text)
    if not path.exists():
        raise UsageError(f"--eval {text!r}: there is no such file or folder", hint=_HINT)
    if not path.is_dir() and path.suffix.lower() != ".csv":
        raise UsageError(f"--eval {text!r}: is neither a folder nor a .csv file", hint=_HINT)


def open_evaluation(
    text: str,
    preprocessing: Preprocessing,
    inputs: Sequence[Signature],
    outputs: Sequence[Signature],
    *,
    class_names: Sequence[str] = (),
    identities: Sequence[str] = (),
) -> EvaluationSet:
    """The set that ``text`` names; every image is read once, so that none is damaged later.

    ``class_names`` are the model's labels by index, ``identities`` other names of the same classes (WordNet's).
    Raises UsageError for a network that does not classify one image, and for labels that are not its own;
    SourceError that names every damaged file.
    """
    check(text)
    count = _classes(inputs, outputs)
    classes = Classes(count=count, names=class_names, identities=identities if len(identities) == count else ())
    found, left_out = _find(Path(text), classes)
    _, members = checks.read_photographs(dict(zip(found.names, found.paths, strict=True)), preprocessing)
    marks = {f"{index} {member.name}": member.sha256 for index, member in enumerate(members)}
    labels = "" if found.labels is None else ",".join(map(str, found.labels))
    return EvaluationSet(
        text=text,
        input_name=inputs[0].name,
        contract=preprocessing,
        paths=tuple(str(path.absolute()) for path in found.paths),
        members=members,
        labels=found.labels,
        sha256=durable.listing_digest({**marks, f"labels {labels}": ""}),
        notes=(*left_out, *_class_note(found.labels), *checks.duplicate_note(members)),
        classes=count,
        guess=found.guess,
    )


def overlap(evaluation: Sequence[Member], calibration: Sequence[Member]) -> tuple[str, ...]:
    """Names of evaluation images that calibration holds too: the same file, or one that looks nearly the same."""
    files = {member.sha256 for member in calibration if member.sha256}
    same = {index for index, member in enumerate(evaluation) if member.sha256 in files}
    hashes = [[member.small_hash for member in members] for members in (evaluation, calibration)]
    alike = {ours for ours, _ in similarity.near_pairs(*hashes)}
    return tuple(evaluation[index].name for index in sorted(same | alike))


def save(evaluated: Evaluated, rows: Iterator[npt.NDArray[Any]], folder: Path) -> None:
    """Write Keras's outputs as they come, then the facts: their presence means that all is there."""
    save_outputs(evaluated.images.count, rows, folder)
    save_facts(evaluated, folder)


def save_outputs(count: int, rows: Iterator[npt.NDArray[Any]], folder: Path) -> npt.NDArray[Any]:
    """Write the outputs as they come, one row for each of ``count`` images; they come back mapped."""
    start, first = 0, next(rows)
    shape = (count, *first.shape[1:])
    stored = np.lib.format.open_memmap(folder / OUTPUTS, mode="w+", dtype=first.dtype, shape=shape)
    for block in itertools.chain([first], rows):
        stored[start : start + len(block)] = block
        start += len(block)
    stored.flush()
    if start != count:
        raise ValueError(f"{start} rows for {count} images")
    return stored


def save_facts(evaluated: Evaluated, folder: Path) -> None:
    """Write what is known of the set, when its outputs are there."""
    (folder / FACTS).write_text(encode(evaluated))


def load(folder: Path) -> tuple[Evaluated, npt.NDArray[Any]] | None:
    """The set and Keras's outputs, mapped; None if the run evaluates nothing."""
    if not (folder / FACTS).is_file():
        return None
    evaluated: Evaluated = decode_as(Evaluated, (folder / FACTS).read_bytes())
    return evaluated, np.load(folder / OUTPUTS, mmap_mode="r", allow_pickle=False)


def _classes(inputs: Sequence[Signature], outputs: Sequence[Signature]) -> int:
    """The number of classes of a network with one image in and one row of classes out."""
    shape = outputs[0].shape if len(outputs) == 1 and len(inputs) == 1 else ()
    if len(shape) == 2 and shape[1] and shape[1] > 1 and len(inputs[0].shape) == 4:
        return shape[1]
    told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in (*inputs, *outputs))
    raise UsageError(
        f"--eval is for networks that give one image one row of classes; this one has {told}", hint="leave --eval out"
    )


def _class_note(labels: Sequence[int] | None) -> tuple[str, ...]:
    if labels is None or len(labels) < 2 or len(set(labels)) > 1:
        return ()
    return (f"all {len(labels)} images are of class {labels[0]}: accuracy on one class says little",)


def _find(path: Path, classes: Classes) -> tuple[Labelled, tuple[str, ...]]:
    if not path.is_dir():
        return class_labels.from_csv(path, classes=classes), ()
    found = photographs.listing(path)
    if not found.images:
        raise UsageError(f"{path}: holds no images ({', '.join(photographs.SUFFIXES)})", hint=_HINT)
    labelled = class_labels.from_folder(found, classes=classes)
    return labelled, checks.left_out_note(found.left_out)
