"""Merging layers, and `keras.ops` arithmetic with tensors and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.normalization import scale_shift
from kexport.operations import Add, Concat, Multiply


@lowers("layer", "Add")
def add(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Add` of two or more values."""
    del layer
    return build.emit(Add(), *values)


@lowers("layer", "Multiply")
def multiply(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Multiply` of two or more values."""
    del layer
    first, *rest = values
    for number, value in enumerate(rest, start=1):
        first = build.emit(Multiply(), first, value, part="" if number == len(rest) else f"part{number}")
    return first


@lowers("layer", "Concatenate")
def concatenate(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Concatenate` on the last axis."""
    require(layer.axis in (-1, len(values[0].shape) - 1), layer, f"axis {layer.axis}")
    return build.emit(Concat(), *values)


@lowers("layer", "CustomScaleLayer")
def custom_scale(build: Builder, layer: Any, values: list[Value]) -> Value:
    """The residual of InceptionResNetV2: ``shortcut + scale * branch``."""
    shortcut, branch = values
    return build.emit(Add(), shortcut, scale_shift(build, branch, layer.scale, 0.0, part="scale"))


def _constant(operation: Any, value: Value, constant: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    array = weights(constant)
    along_last = array.ndim == 0 or array.shape[-1] == array.size
    if not along_last or array.ndim > len(value.shape) or array.size not in (1, value.shape[-1]):
        raise refuse(operation, f"a constant of shape {array.shape} with a value of shape {value.shape}")
    return array


@lowers("operation", "Add")
def ops_add(build: Builder, operation: Any, left: Any, right: Any) -> Value:
    """``left + right``; either may be a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        return build.emit(Add(), left, right)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    return scale_shift(build, value, 1.0, _constant(operation, value, constant))


@lowers("operation", "Subtract")
def ops_subtract(build: Builder, operation: Any, left: Any, right: Any) -> Value:
    """``left - right``; either may be a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        return build.emit(Add(), left, scale_shift(build, right, -1.0, 0.0, part="negative"))
    if isinstance(left, Value):
        return scale_shift(build, left, 1.0, -_constant(operation, left, right))
    return scale_shift(build, right, -1.0, _constant(operation, right, left))


@lowers("operation", "Multiply")
def ops_multiply(build: Builder, operation: Any, left: Any, right: Any) -> Value:
    """``left * right``; either may be a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        return build.emit(Multiply(), left, right)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    return scale_shift(build, value, _constant(operation, value, constant), 0.0)


@lowers("operation", "TrueDivide", "Divide")
def ops_divide(build: Builder, operation: Any, left: Any, right: Any) -> Value:
    """``left / right`` with a constant divisor."""
    if not isinstance(left, Value) or isinstance(right, Value):
        raise refuse(operation, "division by a tensor")
    return scale_shift(build, left, 1.0 / _constant(operation, left, right).astype(np.float64), 0.0)
