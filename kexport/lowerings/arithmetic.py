"""Merging layers, and `keras.ops` arithmetic with tensors and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.lowerings.joining import as_value
from kexport.lowerings.primitives import (
    Operand,
    binary,
    constant_for,
    positive,
    reduce,
    reshape,
    scale_shift,
    sizes,
    transpose,
    unit,
)
from kexport.operations import (
    Add,
    Binary,
    BinaryKind,
    Clip,
    Concat,
    Dense,
    Elementwise,
    Function,
    Join,
    MatMul,
    ReduceKind,
)


def _aligned(build: Builder, values: list[Value]) -> list[Value]:
    """Values of one rank: Keras gives the lower ones axes of size 1 behind the batch."""
    rank = max(len(value.shape) for value in values)
    return [reshape(build, value, (1,) * (rank - len(value.shape)) + sizes(value), part="aligned") for value in values]


@lowers("layer", "Add")
def add(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Add` of two or more values."""
    del layer
    return build.emit(Add(), *_aligned(build, values))


def _chain(build: Builder, kind: BinaryKind, values: list[Value]) -> Value:
    first, *rest = _aligned(build, values)
    for number, value in enumerate(rest, start=1):
        first = binary(build, kind, first, value, part="" if number == len(rest) else f"part{number}")
    return first


@lowers("layer", "Multiply")
def multiply(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Multiply` of two or more values."""
    del layer
    return _chain(build, BinaryKind.MULTIPLY, values)


@lowers("layer", "Maximum")
def maximum(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Maximum` of two or more values."""
    del layer
    return _chain(build, BinaryKind.MAXIMUM, values)


@lowers("layer", "Minimum")
def minimum(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Minimum` of two or more values."""
    del layer
    return _chain(build, BinaryKind.MINIMUM, values)


@lowers("layer", "Subtract")
def subtract(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Subtract` of two values."""
    del layer
    return _chain(build, BinaryKind.SUBTRACT, values)


@lowers("layer", "Average")
def average(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Average` of two or more values."""
    del layer
    total = build.emit(Add(), *_aligned(build, values), part="sum")
    return scale_shift(build, total, 1.0 / len(values), 0.0)


@lowers("layer", "Concatenate")
@lowers("operation", "Concatenate")
def concatenate(build: Builder, layer: Any, parts: list[Operand]) -> Value:
    """`keras.layers.Concatenate` and `keras.ops.concatenate` on any axis but the batch."""
    like = next(each for each in parts if isinstance(each, Value))
    values = [each if isinstance(each, Value) else as_value(build, each, like, n) for n, each in enumerate(parts)]
    axis = positive(layer.axis, like)
    require(axis != 0, layer, "axis 0")
    return build.emit(Concat() if axis == len(values[0].shape) - 1 else Join(axis=axis), *values)


@lowers("layer", "CustomScaleLayer")
def custom_scale(build: Builder, layer: Any, values: list[Value]) -> Value:
    """The residual of InceptionResNetV2: ``shortcut + scale * branch``."""
    shortcut, branch = values
    return build.emit(Add(), shortcut, scale_shift(build, branch, layer.scale, 0.0, part="scale"))


@lowers("layer", "Dot")
def dot(build: Builder, layer: Any, values: list[Value]) -> Value:
    """`keras.layers.Dot` of rows, or of matrices along one axis of each."""
    left, right = values
    ranks = len(left.shape), len(right.shape)
    require(ranks in ((2, 2), (3, 3)), layer, f"a product of the ranks {ranks}")
    axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else tuple(layer.axes)
    first, second = (positive(axis, value) for axis, value in zip(axes, values, strict=True))
    if layer.normalize:
        left, right = (unit(build, v, [axis], 1e-7, part="unit") for v, axis in ((left, first), (right, second)))
    if ranks == (2, 2):
        product = binary(build, BinaryKind.MULTIPLY, left, right, part="product")
        return reduce(build, ReduceKind.SUM, product, [1])
    left = transpose(build, left, (0, 3 - first, first), part="left")
    return build.emit(MatMul(), left, transpose(build, right, (0, second, 3 - second), part="right"))


def _arithmetic(kind: BinaryKind) -> Any:
    def lower(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
        del operation
        return binary(build, kind, left, right)

    return lower


for _kind, *_classes in (
    (BinaryKind.ADD, "Add"),
    (BinaryKind.SUBTRACT, "Subtract"),
    (BinaryKind.MULTIPLY, "Multiply"),
    (BinaryKind.DIVIDE, "Divide", "TrueDivide"),
    (BinaryKind.MAXIMUM, "Maximum"),
    (BinaryKind.MINIMUM, "Minimum"),
):
    lowers("operation", *_classes)(_arithmetic(_kind))


@lowers("operation", "Power")
def ops_power(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
    """``left ** right``; the exponents that are operations of their own as these."""
    del operation
    simple = {2.0: Function.SQUARE, 0.5: Function.SQUARE_ROOT, -0.5: Function.INVERSE_SQUARE_ROOT}
    if isinstance(left, Value) and not isinstance(right, Value) and weights(right).size == 1:
        exponent = float(weights(right).reshape(()))
        if exponent in simple:
            return build.emit(Elementwise(function=simple[exponent]), left)
        if exponent == -1:
            return binary(build, BinaryKind.DIVIDE, 1.0, left)
    return binary(build, BinaryKind.POWER, left, right)


@lowers("operation", "Reciprocal")
def ops_reciprocal(build: Builder, operation: Any, value: Value) -> Value:
    """``1 / x``."""
    del operation
    return binary(build, BinaryKind.DIVIDE, 1.0, value)


@lowers("operation", "Matmul")
def ops_matmul(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
    """The product of two values of one rank, or of a value and a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        return build.emit(MatMul(), left, right)
    if isinstance(left, Value):
        kernel = constant_for(right, left)
        if kernel.ndim == 2 and len(left.shape) >= 2:
            return build.emit(Dense(kernel=kernel), left)
        require(kernel.ndim >= 2 and len(left.shape) >= 3, operation, f"a constant of shape {kernel.shape}")
        return build.emit(MatMul(), left, as_value(build, kernel, left))
    assert isinstance(right, Value), "one side is a value"
    kernel, rank = constant_for(left, right), len(right.shape)
    require(kernel.ndim >= 2 and rank >= 3, operation, f"a constant of shape {kernel.shape} on the left")
    if kernel.ndim > 2:
        return build.emit(MatMul(), as_value(build, kernel, right), right)
    order = [*range(rank - 2), rank - 1, rank - 2]
    turned = transpose(build, right, order, part="turned")
    product = build.emit(Dense(kernel=np.ascontiguousarray(kernel.T)), turned, part="product")
    return transpose(build, product, order)


@lowers("operation", "Dot", "Tensordot")
def ops_dot(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
    """A value times a constant matrix over the last axis."""
    axes = getattr(operation, "axes", 1)
    require(axes == 1 and isinstance(left, Value) and not isinstance(right, Value), operation, f"axes {axes}")
    return ops_matmul(build, operation, left, right)


@lowers("operation", "Mod")
def ops_mod(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
    """``a - floor(a / b) * b``."""
    whole = ops_floor_divide(build, operation, left, right, part="whole")
    back = binary(build, BinaryKind.MULTIPLY, whole, right, part="back")
    return binary(build, BinaryKind.SUBTRACT, left, back)


@lowers("operation", "FloorDivide")
def ops_floor_divide(build: Builder, operation: Any, left: Operand, right: Operand, part: str = "") -> Value:
    """``floor(a / b)``, by a division where a product with the inverse would not be whole."""
    del operation
    if isinstance(left, Value) and not isinstance(right, Value):
        divided = build.emit(Binary(kind=BinaryKind.DIVIDE, constant=constant_for(right, left)), left, part="quotient")
    else:
        divided = binary(build, BinaryKind.DIVIDE, left, right, part="quotient")
    return build.emit(Elementwise(function=Function.FLOOR), divided, part=part)


@lowers("operation", "Hypot")
def ops_hypot(build: Builder, operation: Any, left: Value, right: Value) -> Value:
    """``sqrt(a^2 + b^2)``."""
    del operation
    squares = [build.emit(Elementwise(function=Function.SQUARE), each, part="square") for each in (left, right)]
    return build.emit(Elementwise(function=Function.SQUARE_ROOT), build.emit(Add(), *squares, part="sum"))


@lowers("operation", "Clip")
def ops_clip(build: Builder, operation: Any, value: Value) -> Value:
    """``min(max(x, x_min), x_max)``; the bounds may be arrays or None."""
    pairs = ((BinaryKind.MAXIMUM, operation.x_min), (BinaryKind.MINIMUM, operation.x_max))
    bounds = [(kind, weights(bound)) for kind, bound in pairs if bound is not None]
    if len(bounds) == 2 and all(bound.size == 1 for _, bound in bounds):
        low, high = (float(bound.reshape(())) for _, bound in bounds)
        return build.emit(Clip(minimum=low, maximum=high), value)
    for number, (kind, bound) in enumerate(bounds, start=1):
        part = "" if number == len(bounds) else "raised"
        value = build.emit(Binary(kind=kind, constant=bound), value, part=part)
    return value
