"""A model made ready for its cells: what only Keras can say, on disk, so that the cells need no Keras.

A folder with ``facts.json`` (`Prepared`), ``reference.npz`` (inputs and the outputs of Keras on them),
the graph (`graph_file`) unless the native graph cannot express the model, and where a cell needs the Keras model:
``weights.npz`` to build it again, or SavedModels of a model that only the program has that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.records import SourceFacts, decode_as, encode

Tensors = Mapping[str, npt.NDArray[Any]]
FACTS, REFERENCE, KERAS_WEIGHTS = "facts.json", "reference.npz", "weights.npz"
CALIBRATED = "calibrated.npz"
"""The reference of calibrated schemes: the first calibration images, which lie in the ranges that were measured."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was found out while Keras was loaded. ``refusal`` says why there is no native graph."""

    facts: SourceFacts
    refusal: str
    seconds: dict[str, float]
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Inputs, and what Keras made of them: arrays by public name, the batch axis first.

    ``logits`` are the outputs with their last softmax or sigmoid left out, where that hides them. ``again`` and
    ``logits_again`` are the first rows once more, rounded otherwise (`kexport.sources.rounding`): nothing where that
    was not asked.
    """

    inputs: Tensors
    outputs: Tensors
    logits: Tensors = field(default_factory=dict)
    again: Tensors = field(default_factory=dict)
    logits_again: Tensors = field(default_factory=dict)


def save(prepared: Prepared, folder: Path) -> None:
    """Write the facts; the last file of the folder, so that its presence means that all is there."""
    (folder / FACTS).write_text(encode(prepared))


def load(folder: Path) -> Prepared:
    """Read the facts back."""
    prepared: Prepared = decode_as(Prepared, (folder / FACTS).read_bytes())
    return prepared


def save_reference(reference: Reference, folder: Path, name: str = REFERENCE) -> None:
    """Write the reference's arrays."""
    arrays = {
        f"{kind.name}:{name}": array
        for kind in fields(Reference)
        for name, array in getattr(reference, kind.name).items()
    }
    with (folder / name).open("wb") as file:
        np.savez(file, **arrays)


def load_reference(folder: Path, name: str = REFERENCE) -> Reference:
    """Read the reference's arrays back."""
    found: dict[str, dict[str, npt.NDArray[Any]]] = {kind.name: {} for kind in fields(Reference)}
    with np.load(folder / name, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, _, public = key.partition(":")
            found[kind][public] = arrays[key]
    return Reference(**found)


def save_weights(model: Any, folder: Path) -> None:
    """Write every weight of a Keras model, in its order."""
    arrays = {str(place): weight.numpy() for place, weight in enumerate(model.weights)}
    with (folder / KERAS_WEIGHTS).open("wb") as file:
        np.savez(file, **arrays)


def served_folder(folder: Path, batch: int | None) -> Path:
    """Where a live model lies as a SavedModel of that batch."""
    return folder / f"served-{batch or 'dynamic'}"


def assign_weights(model: Any, path: Path) -> None:
    """Give the weights back to the same model, built again."""
    with np.load(path, allow_pickle=False) as arrays:
        for place, weight in enumerate(model.weights):
            weight.assign(arrays[str(place)])
