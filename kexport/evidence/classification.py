"""Photographs to class names through an artifact alone: its own contract, its runtime, its labels.

What the numbers of an output are is read from the file, not guessed: a softmax or a sigmoid that ends the network.
Where neither does, they are scores, and a softmax is taken of them here and said. One number per image is no class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import runtimes
from kexport.errors import SourceError, UsageError
from kexport.evidence import artifact_file
from kexport.evidence.artifact_file import ArtifactFile
from kexport.images import photographs
from kexport.records import UNKNOWN, Preprocessing, Signature
from kexport.runtimes import Session
from kexport.sources import stated

Numbers = npt.NDArray[np.float64]
_SUM_STEP = 0.02  # integer outputs of 1/256 do not add up to 1 exactly


class Head(StrEnum):
    """What the numbers of one output are."""

    SOFTMAX = "softmax"  # probabilities of classes that exclude each other
    SCORES = "scores"  # logits, or whatever else: the softmax is kexport's
    SIGMOID = "sigmoid"  # a probability for each label by itself
    NUMBER = "number"  # one number per image
    OTHER = "other"  # no vector of classes, or numbers that are not finite


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One class: its index, its name if there is one, and its probability or number."""

    index: int
    name: str | None
    value: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one output says of one image, the largest first; ``note`` is what its reader must know."""

    output: str
    head: Head
    guesses: tuple[Guess, ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class Classified:
    """One image: its answers, or why it has none."""

    image: str
    answers: tuple[Answer, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Images through one artifact. ``notes`` say what was missing or only assumed, ``effective`` what ran."""

    artifact: str
    sha256: str
    effective: str
    contract: Preprocessing
    contract_from: str
    labels: int
    labels_from: str
    images: tuple[Classified, ...]
    notes: tuple[str, ...]


def classify(found: ArtifactFile, images: Sequence[Path], *, top: int, threads: int | None = None) -> Classification:
    """Every image through the file, ``top`` classes each; an image that cannot be read has a problem instead.

    Raises UsageError where the file takes no image or says no contract, ArtifactError where it does not run.
    """
    if top < 1:
        raise UsageError(f"--top {top}: expected 1 or more", hint="--top 5")
    contract = _contract(found)
    runtime = runtimes.for_format(found.format)
    session = runtimes.open_session(runtime, found.path, options=runtimes.SessionOptions(threads=threads))
    return Classification(
        artifact=str(found.path),
        sha256=found.sha256,
        effective=session.effective,
        contract=contract,
        contract_from=found.contract_from,
        labels=len(found.labels),
        labels_from=found.labels_from,
        images=tuple(_one(session, found, contract, image, top) for image in images),
        notes=(*found.notes, *_assumed(found, contract)),
    )


def _contract(found: ArtifactFile) -> Preprocessing:
    if found.path.is_dir():
        raise UsageError(
            f"{found.path} is a folder of {found.format}: classify runs ONNX and TFLite files",
            hint="kexport export MODEL --formats onnx,tflite",
        )
    size, channels, _ = artifact_file.image_input(found)
    contract = found.contract
    if contract is None or contract.mode == UNKNOWN:
        why = "no contract in the file nor beside it" if contract is None else f"its contract is {contract.basis}"
        raise UsageError(f"{found.path}: {why}: what it makes of pixels must be said", hint=stated.HINT)
    fits = all(own in (None, wanted) for own, wanted in zip(size, contract.size, strict=True))
    if not fits or channels not in (None, len(contract.mean)):
        raise UsageError(
            f"{found.path}: its contract is of {contract.size} and {len(contract.mean)} channels, its input "
            f"{list(found.contents.inputs[0].shape)}",
            hint=stated.HINT,
        )
    return contract


def _assumed(found: ArtifactFile, contract: Preprocessing) -> Iterator[str]:
    for what, basis in (("range", contract.range_basis), ("resize", contract.resize_basis)):
        if basis == "assumed":
            option = "--preprocessing" if what == "range" else "--resize"
            yield f"the {what} of the contract is assumed, nothing says it: {option} states it"
    if not found.labels:
        yield "no labels in the file nor beside it: classes have numbers only; --labels FILE names them"


def _one(session: Session, found: ArtifactFile, contract: Preprocessing, image: Path, top: int) -> Classified:
    try:
        _, pixels = photographs.read(image, contract, upright=True)
    except SourceError as error:
        return Classified(image=str(image), problem=error.message)
    except OSError as error:
        return Classified(image=str(image), problem=f"{image} cannot be read: {error.strerror}")
    outputs = _run(session, found, photographs.prepare(pixels[None], contract))
    answers = (_answer(found, spec, outputs[spec.name], top) for spec in session.signature[1])
    return Classified(image=str(image), answers=tuple(answers))


def _run(session: Session, found: ArtifactFile, image: npt.NDArray[np.float32]) -> dict[str, Numbers]:
    """The outputs of one image; a file of a fixed number of rows gets the image that often."""
    spec = session.signature[0][0]
    rows = runtimes.static_batch(session.signature[0]) or 1
    real: npt.NDArray[Any] = np.repeat(image, rows, axis=0)
    if artifact_file.image_input(found)[2]:
        real = np.ascontiguousarray(real.transpose(0, 3, 1, 2))
    outputs = session.run({spec.name: stored(session, spec, real)})
    return {name: np.asarray(session.real(name, value)[:1], np.float64) for name, value in outputs.items()}


def stored(session: Session, spec: Signature, real: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Real numbers in the type of an input: through its scale where it has one, else rounded to its integers."""
    values = session.stored(spec.name, real)
    dtype = np.dtype(spec.dtype)
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)


def _answer(found: ArtifactFile, spec: Signature, values: Numbers, top: int) -> Answer:
    flat = values.reshape(-1)
    head, note = head_of(found.contents.ends.get(spec.name, ""), values)
    if head is Head.OTHER:
        return Answer(output=spec.name, head=head, guesses=(), note=note)
    if head is Head.NUMBER and found.contents.ends.get(spec.name) == "sigmoid" and len(found.labels) == 2:
        head, flat = Head.SOFTMAX, np.array([1 - flat[0], flat[0]])
        note = f"a sigmoid gives the probability of {found.labels[1]}, the rest is that of {found.labels[0]}"
    shown = _softmax(flat) if head is Head.SCORES else flat
    names = found.labels if len(found.labels) == len(flat) else ()
    if found.labels and not names:
        note += f"; {len(found.labels)} labels for {len(flat)} numbers: left aside"
    order = np.argsort(-shown, kind="stable")[:top]
    guesses = tuple(
        Guess(index=int(index), name=names[index] if names else None, value=float(shown[index])) for index in order
    )
    return Answer(output=spec.name, head=head, guesses=guesses, note=note)


def head_of(end: str, values: Numbers) -> tuple[Head, str]:
    """What the numbers of one image are, from the end of the network and the shape; and that in words."""
    flat = values.reshape(-1)
    if not np.isfinite(flat).all():
        return Head.OTHER, "the file gives numbers that are not finite for this image: kexport parity checks it"
    if max(values.shape[1:], default=1) != flat.size:
        return Head.OTHER, f"an output of shape {list(values.shape[1:])} is no vector of classes"
    if flat.size == 1:
        what = "a sigmoid makes it, between 0 and 1" if end == "sigmoid" else "no softmax and no sigmoid makes it"
        return Head.NUMBER, f"one number per image: {what}; where a class begins is the model's own affair"
    return _ENDS[end] if end in _ENDS else _of_sum(flat)


_ENDS = {
    "softmax": (Head.SOFTMAX, "probabilities of classes that exclude each other"),
    "sigmoid": (Head.SIGMOID, "a probability for each label by itself: they do not add up to 1"),
}


def _of_sum(flat: Numbers) -> tuple[Head, str]:
    if flat.min() >= 0 and abs(flat.sum() - 1) <= _SUM_STEP:
        return Head.SOFTMAX, "taken as probabilities: no softmax ends the file, but the numbers add up to 1"
    return Head.SCORES, "no softmax ends the file: this one is kexport's, over what it gives"


def _softmax(values: Numbers) -> Numbers:
    powers: Numbers = np.exp(values - values.max())
    shares: Numbers = powers / powers.sum()
    return shares
