"""What a network is measured on, and what Keras said about it: written once per model, read by its cells.

Photographs, or the arrays of a ``.npz`` file. A folder of a run holds ``evaluation.json`` (`Evaluated`) and
``evaluation.npy`` (Keras's outputs, one row per image, mapped and not read whole).
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
from kexport.errors import UsageError
from kexport.images import answers, checks, evaluation_arrays, given, photographs, similarity
from kexport.images import classes as class_labels
from kexport.images.answers import SIGMOID, Answers
from kexport.images.checks import Member
from kexport.images.classes import Classes, Labelled
from kexport.images.evaluation_set import EvaluationSet
from kexport.options import fetched
from kexport.records import Preprocessing, Signature, decode_as, encode

FACTS, OUTPUTS, TARGETS = "evaluation.json", "evaluation.npy", "evaluation-targets.npy"
ARCHIVE = ".npz"
_HINT = (
    "--eval FOLDER: one folder per class, or files <class index>_*.jpg; or --eval FILE.csv with path,class index; or "
    "--eval FILE.npz with arrays input and labels"
)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A set that Keras has seen. ``overlap`` names the images that the calibration set holds as well.

    ``caveats`` say what is to be known before any number on these images (`kexport.records.AccuracyRecord`).
    """

    images: EvaluationSet
    overlap: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


def check(text: str) -> None:
    """Raise UsageError unless ``text`` could be a set: a folder, a ``.csv`` or a ``.npz`` file."""
    if text.startswith(given.PREFIX):
        return
    if text.lower().endswith(".csv") and fetched.is_at_url(text):
        raise UsageError(
            f"--eval {text!r}: the images that a CSV lists are not fetched with it; expected a folder or a .npz file",
            hint=_HINT,
        )
    kind = fetched.kind(text)
    if not kind:
        raise UsageError(f"--eval {text!r}: there is no such file or folder", hint=_HINT)
    if kind == "file" and Path(text).suffix.lower() not in (".csv", ARCHIVE):
        raise UsageError(f"--eval {text!r}: is neither a folder nor a .csv or .npz file", hint=_HINT)


def open_evaluation(
    text: str,
    preprocessing: Preprocessing,
    inputs: Sequence[Signature],
    outputs: Sequence[Signature],
    *,
    class_names: Sequence[str] = (),
    identities: Sequence[str] = (),
    activation: str = "",
) -> EvaluationSet:
    """The photographs that ``text`` names; every image is read once, so that none is damaged later.

    ``class_names`` are the model's labels by index, ``identities`` other names of the same classes (WordNet's);
    ``activation`` is what the output ends in: one number behind a sigmoid tells two classes apart.
    Raises UsageError for a network that does not classify one image, and for labels that are not its own;
    SourceError that names every damaged file.
    """
    check(text)
    count = _classes(inputs, outputs, activation)
    classes = Classes(count=count, names=class_names, identities=identities if len(identities) == count else ())
    found, left_out = _find(Path(fetched.local(text)), classes)
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
        answers=Answers.BINARY if outputs[0].shape[1] == 1 else Answers.CLASSES,
    )


def open_arrays(
    path: Path,
    preprocessing: Preprocessing | None,
    inputs: Sequence[Signature],
    outputs: Sequence[Signature],
    folder: Path,
    *,
    text: str,
    limits: checks.InputRange,
    class_names: Sequence[str] = (),
    activation: str = "",
) -> EvaluationSet:
    """The arrays of a ``.npz`` file, taken out into ``folder``; ``limits`` is the range of the network's input.

    Raises UsageError and SourceError for arrays and labels that do not fit the network, which has one output.
    """
    if len(outputs) != 1:
        told = ", ".join(spec.name for spec in outputs)
        raise UsageError(f"--eval {text}: expected a network with one output, this one has {told}", hint="--layer NAME")
    files, labels = evaluation_arrays.extracted(path, inputs, folder)
    evaluation_arrays.require_contract(files, inputs, preprocessing)
    members = evaluation_arrays.members(files, inputs, preprocessing, limits, text)
    names = Classes(count=len(class_names) or _rows_of(outputs[0]), names=class_names)
    found = (
        answers.unlabelled(outputs[0], activation)
        if labels is None
        else answers.read(labels, outputs[0], activation=activation, classes=names, text=f"--eval {text}")
    )
    if found.targets is not None:
        np.save(folder / TARGETS, found.targets)
    return EvaluationSet(
        text=text,
        input_name=inputs[0].name,
        contract=preprocessing,
        paths=tuple(str(row) for row in range(len(members))),
        members=members,
        labels=found.indices,
        sha256=durable.file_digest(path),
        notes=(*_class_note(found.indices), *(checks.duplicate_note(members) if len(inputs[0].shape) == 4 else ())),
        classes=found.classes,
        answers=found.answers,
        arrays=files,
        wanted={spec.name: spec.dtype for spec in inputs},
        targets=str(folder / TARGETS) if found.targets is not None else "",
    )


def _rows_of(output: Signature) -> int:
    return max(2, output.shape[-1] or 0)


def overlap(evaluation: Sequence[Member], calibration: Sequence[Member]) -> tuple[str, ...]:
    """Names of evaluation images that calibration holds too: the same file, or one that looks nearly the same."""
    files = {member.sha256 for member in calibration if member.sha256}
    same = {index for index, member in enumerate(evaluation) if member.sha256 in files}
    looks = [[member.look for member in members] for members in (evaluation, calibration)]
    alike = {ours for ours, _ in similarity.near_pairs(*looks)}
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


def _classes(inputs: Sequence[Signature], outputs: Sequence[Signature], activation: str) -> int:
    """The number of classes of a network with one image in and one row of classes out, or one probability."""
    shape = outputs[0].shape if len(outputs) == 1 and len(inputs) == 1 else ()
    if len(shape) == 2 and shape[1] and len(inputs[0].shape) == 4 and (shape[1] > 1 or activation == SIGMOID):
        return max(2, shape[1])
    told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in (*inputs, *outputs))
    raise UsageError(
        f"--eval is for networks that give one image one row of classes; this one has {told}",
        hint="--eval FILE.npz with arrays input and labels, or leave --eval out",
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
