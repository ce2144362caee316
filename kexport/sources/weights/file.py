"""Weights from a file that the user names: Keras 3 ``.weights.h5`` or legacy ``.h5``.

The file is compared with the model layer by layer before anything is read into it, so that weights of
another model, or of the same model with other options, are named and not half loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import SourceError
from kexport.sources.keras_walk import functional
from kexport.sources.weights import finalize
from kexport.sources.weights.hdf5_file import StoredWeights, check_signature, opened, stored_weights
from kexport.specs import ModelSpec

_OPTIONS_HINT = "the options must be those of the saved model: --alpha, --classes, --no-top, --minimalistic"


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """One layer of the model: how the file calls it, how the user does, and its variables in file order."""

    key: str
    layer: str
    variables: tuple[Any, ...]


def check_exists(spec: ModelSpec) -> None:
    """Raise SourceError unless the weights file exists and is a sound HDF5 file of Keras weights."""
    path = _path(spec)
    check_signature(path)
    with opened(path) as file:
        stored_weights(file, path)


def load(model: Any, spec: ModelSpec) -> None:
    """Give ``model`` the weights of the file.

    Raises SourceError, and leaves the model unfit for use, for a damaged file, for a layer that is missing,
    left over or of another shape (the first one is named, with both shapes) and for NaN or infinity.
    """
    path = _path(spec)
    check_signature(path)
    with opened(path) as file:
        stored = stored_weights(file, path)
        for expected, datasets in _paired(model, stored, path, spec.network):
            for variable, dataset in zip(expected.variables, datasets, strict=True):
                variable.assign(_values(dataset, path, expected.layer, variable.name))
    finalize(model)


def _path(spec: ModelSpec) -> Path:
    assert spec.weights.path is not None
    return Path(spec.weights.path).expanduser()


def _paired(model: Any, stored: StoredWeights, path: Path, name: str) -> list[tuple[_Expected, tuple[Any, ...]]]:
    """Every layer of the model with its datasets, after all of them were compared."""
    wanted = list(_legacy(model) if stored.legacy else _keras3(model, ""))
    if stored.legacy:  # legacy files are read by position, as Keras reads them: layer names differ between versions
        keys = list(stored.layers)
        wanted = [
            _Expected(key=keys[index] if index < len(keys) else each.key, layer=each.layer, variables=each.variables)
            for index, each in enumerate(wanted)
        ]
    pairs = [(each, stored.layers.get(each.key, ())) for each in wanted]
    for expected, datasets in pairs:
        _compare(expected, datasets, path, name)
    left_over = [key for key in stored.layers if key not in {each.key for each in wanted}]
    if left_over:
        shapes = ", ".join(str(tuple(item.shape)) for item in stored.layers[left_over[0]])
        raise SourceError(
            f"weights {path} are not of this {name}: the file has layer {left_over[0]!r} with {shapes}, "
            "the model has no such layer",
            hint=_OPTIONS_HINT,
        )
    return pairs


def _compare(expected: _Expected, datasets: tuple[Any, ...], path: Path, name: str) -> None:
    ours = [tuple(variable.shape) for variable in expected.variables]
    theirs = [tuple(dataset.shape) for dataset in datasets]
    if ours == theirs:
        return
    told = f"layer {expected.layer!r}"
    for variable, mine, other in zip(expected.variables, ours, theirs, strict=False):
        if mine != other:
            told, ours_text, theirs_text = f"{told}, {variable.name}", f"shape {mine}", f"{other}"
            break
    else:
        ours_text, theirs_text = f"{len(ours)} variables {_told(ours)}", f"{len(theirs) or 'none'} {_told(theirs)}"
    raise SourceError(
        f"weights {path} are not of this {name}: {told}: the model has {ours_text}, "
        f"the file has {theirs_text.strip()} ({expected.key})",
        hint=_OPTIONS_HINT,
    )


def _told(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _values(dataset: Any, path: Path, layer: str, variable: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = dataset[()]
    bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise SourceError(
            f"weights {path}: layer {layer!r}, {variable}: {bad} of {np.size(values)} values are NaN or infinite",
            hint="a model with such weights computes nothing; save the weights of an earlier epoch",
        )
    return np.asarray(values)


def _keras3(model: Any, prefix: str) -> Iterator[_Expected]:
    """Layers by the names of the Keras 3 layout: class names, numbered within their model."""
    from keras.src.utils.naming import to_snake_case

    used: dict[str, int] = {}
    for layer in model.layers:
        kind = str(to_snake_case(type(layer).__name__))
        number = used[kind] = used.get(kind, -1) + 1
        key = f"{prefix}{kind}_{number}" if number else f"{prefix}{kind}"
        if functional(layer) is not None:
            yield from _keras3(layer, f"{key}/layers/")
        elif layer.weights:
            yield _Expected(key=key, layer=layer.name, variables=tuple(layer.weights))


def _legacy(model: Any) -> Iterator[_Expected]:
    """Top-level layers with variables, those of nested models flattened: trainable ones first."""
    for layer in model.layers:
        variables = (*layer.trainable_weights, *layer.non_trainable_weights)
        if variables:
            yield _Expected(key=layer.name, layer=layer.name, variables=variables)
