"""Layers that change the shape, and layers that do nothing at inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.errors import UnsupportedError
from kexport.lowerings import Builder, Value, lowers
from kexport.lowerings.primitives import binary, sizes, transpose
from kexport.operations import BinaryKind, Reshape


@lowers("layer", "Reshape")
def reshape(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Reshape`; an axis of -1 is resolved by Keras."""
    target = layer.compute_output_shape(value.shape)[1:]
    if None in target:
        raise UnsupportedError(f"layer {layer.name!r} (Reshape): target shape {target} is not static")
    return build.emit(Reshape(shape=tuple(int(axis) for axis in target)), value)


@lowers("layer", "Flatten")
def flatten(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Flatten`; where channels come first, Keras moves them behind the places before it flattens."""
    if layer.data_format == "channels_first" and len(value.shape) > 1:
        value = transpose(build, value, (0, *range(2, len(value.shape)), 1), part="channels_last")
    return reshape(build, layer, value)


@lowers("layer", "Permute")
def permute(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Permute`; its axes count from 1, behind the batch."""
    return transpose(build, value, (0, *layer.dims))


@lowers("layer", "RepeatVector")
def repeat_vector(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.RepeatVector`: one row ``n`` times, by broadcasting."""
    row = build.emit(Reshape(shape=(1, *sizes(value))), value, part="row")
    return binary(build, BinaryKind.MULTIPLY, row, np.ones((layer.n, 1), np.float32))


@lowers(
    "layer",
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "StochasticDepth",
)
def identity(build: Builder, layer: Any, value: Value) -> Value:
    """Regularisation: the identity at inference."""
    del build, layer
    return value
