"""A model made ready for its cells: what only Keras can say, on disk, so that the cells need no Keras.

A folder with ``facts.json`` (`Prepared`), ``reference.npz`` (inputs and the outputs of Keras on them: `stored`),
the graph (`graph_file`) unless the native graph cannot express the model, and where a cell needs the Keras model:
``weights.npz`` to build it again, or SavedModels of a model that only the program has that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import SourceError
from kexport.records import SourceFacts, decode_as, encode
from kexport.sources import backend, stored
from kexport.sources.answered import Reference
from kexport.sources.layer_samples import Walk
from kexport.sources.stored import Recipe

Tensors = Mapping[str, npt.NDArray[Any]]
MAKERS = ("keras", *chain.from_iterable(backend.DISTRIBUTIONS.values()))
FACTS, REFERENCE, KERAS_WEIGHTS = "facts.json", "reference.npz", "weights.npz"
DRAWN = "drawn-{}"
"""The inputs of a reference as they are: a seed makes them again, and a cell need not."""
CALIBRATED = "calibrated.npz"
"""The reference of calibrated schemes: the first calibration images, which lie in the ranges that were measured."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was found out while Keras was loaded.

    ``refusal`` says why there is no native graph, ``refusals`` by format why its own writer cannot write this one, and
    by format and scheme, as in ``tflite int16x8``, why it cannot be in that.
    """

    facts: SourceFacts
    refusal: str
    seconds: dict[str, float]
    peak_memory_bytes: int
    refusals: dict[str, str] = field(default_factory=dict)

    def refusal_of(self, form: str) -> str:
        """Why a file of this format is not native; empty where it is."""
        return self.refusal or self.refusals.get(form, "")


def save(prepared: Prepared, folder: Path) -> None:
    """Write the facts; the last file of the folder, so that its presence means that all is there."""
    (folder / FACTS).write_text(encode(prepared))


def load(folder: Path) -> Prepared:
    """Read the facts back."""
    prepared: Prepared = decode_as(Prepared, (folder / FACTS).read_bytes())
    return prepared


def save_reference(
    reference: Reference,
    folder: Path,
    name: str = REFERENCE,
    *,
    made: Recipe | None = None,
    walked: Walk | None = None,
    facts: SourceFacts | None = None,
) -> None:
    """Write the reference as it will be kept beside artifacts (`kexport.sources.stored`)."""
    makers, chosen = backend.versions(), backend.chosen()
    stored.save(reference, folder / name, made=made, walked=walked, facts=facts, versions=makers, backend=chosen)
    if made is not None:
        inputs: dict[str, Any] = {str(place): array for place, array in enumerate(reference.inputs.values())}
        with (folder / DRAWN.format(name)).open("wb") as file:
            np.savez(file, **inputs)


def load_reference(folder: Path, name: str = REFERENCE) -> Reference:
    """Read the reference back. Raises StoreError where it is damaged."""
    return stored.load(folder / name, drawn=_inputs(folder / DRAWN.format(name)))


def references(folder: Path) -> tuple[str, ...]:
    """Which references lie in the folder."""
    return tuple(name for name in (REFERENCE, CALIBRATED) if (folder / name).is_file())


def add_answers(folder: Path, name: str, other: str, found: Reference) -> None:
    """Put what another backend, that of this process, has ``found`` into the reference of that name."""
    known = load_reference(folder, name)
    stored.extend(folder / name, known.with_answers(other, found), backend.versions())


def _inputs(path: Path) -> list[npt.NDArray[Any]] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[place] for place in arrays.files]


def save_weights(model: Any, folder: Path) -> None:
    """Write every weight of a Keras model, in its order."""
    arrays: dict[str, Any] = {str(place): np.asarray(weight) for place, weight in enumerate(model.weights)}
    with (folder / KERAS_WEIGHTS).open("wb") as file:
        np.savez(file, **arrays)


def served_folder(folder: Path, batch: int | None) -> Path:
    """Where a live model lies as a SavedModel of that batch."""
    return folder / f"served-{batch or 'dynamic'}"


def assign_weights(model: Any, path: Path) -> None:
    """Give the weights back to the same model, built again. Raises SourceError for another one."""
    with np.load(path, allow_pickle=False) as arrays:
        ours, theirs = [tuple(weight.shape) for weight in model.weights], [arrays[each].shape for each in arrays.files]
        if ours != theirs:
            raise SourceError(f"builds another network, with weights of shapes {ours} in place of {theirs}")
        for place, weight in enumerate(model.weights):
            weight.assign(arrays[str(place)])


__all__ = [
    "CALIBRATED", "FACTS", "KERAS_WEIGHTS", "REFERENCE", "Prepared", "Recipe", "Reference", "Tensors", "add_answers",
    "assign_weights", "load", "load_reference", "references", "save", "save_reference", "save_weights",
]  # fmt: skip
