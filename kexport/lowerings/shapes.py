"""Layers that change the shape, and layers that do nothing at inference."""

from __future__ import annotations

from typing import Any

from kexport.errors import UnsupportedError
from kexport.lowerings import Builder, Value, lowers
from kexport.operations import Reshape


@lowers("layer", "Reshape")
def reshape(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Reshape`; an axis of -1 is resolved by Keras."""
    target = layer.compute_output_shape(value.shape)[1:]
    if None in target:
        raise UnsupportedError(f"layer {layer.name!r} (Reshape): target shape {target} is not static")
    return build.emit(Reshape(shape=tuple(int(axis) for axis in target)), value)


@lowers("layer", "Flatten")
def flatten(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Flatten`."""
    return reshape(build, layer, value)


@lowers("layer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "StochasticDepth", "Identity")
def identity(build: Builder, layer: Any, value: Value) -> Value:
    """Regularisation: the identity at inference."""
    del build, layer
    return value
