"""`keras.ops` on one tensor: functions of each number, reductions, and other shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require
from kexport.lowerings.primitives import (
    binary,
    positive,
    regrouped,
    reshape,
    scale_shift,
    sizes,
    transpose,
    unary,
    unit,
)
from kexport.lowerings.selection import compared
from kexport.lowerings.trace import is_batch
from kexport.operations import BinaryKind, Comparison, Function, Slice, StridedSlice


def _elementary(function: Function) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        del operation
        return unary(build, function, value)

    return lower


for _function, *_classes in (
    (Function.ABSOLUTE, "Absolute", "Abs"),
    (Function.NEGATIVE, "Negative"),
    (Function.SQUARE, "Square"),
    (Function.SQUARE_ROOT, "Sqrt"),
    (Function.INVERSE_SQUARE_ROOT, "Rsqrt"),
    (Function.EXPONENTIAL, "Exp"),
    (Function.LOGARITHM, "Log"),
    (Function.SINE, "Sin"),
    (Function.COSINE, "Cos"),
    (Function.FLOOR, "Floor"),
    (Function.CEILING, "Ceil"),
    (Function.SIGN, "Sign"),
    (Function.ERROR, "Erf"),
):
    lowers("operation", *_classes)(_elementary(_function))


@lowers("operation", "Reshape")
def ops_reshape(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.reshape` that keeps the batch axis."""
    return _stated_shape(build, operation, value, operation.newshape)


def _stated_shape(build: Builder, operation: Any, value: Value, stated: Any) -> Value:
    target = build.stated[0]
    keeps_batch = len(target) >= 1 and is_batch(target[0]) and None not in target[1:]
    require(keeps_batch, operation, f"the shape {stated} from {value.shape}")
    return regrouped(build, value, tuple(int(axis or 0) for axis in target[1:]))


@lowers("operation", "Squeeze", "ExpandDims")
def ops_squeeze(build: Builder, operation: Any, value: Value) -> Value:
    """Axes of size 1 less or more."""
    return _stated_shape(build, operation, value, operation.axis)


@lowers("operation", "Transpose")
def ops_transpose(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.transpose` that keeps the batch axis first."""
    require(operation.axes is not None, operation, "a transposition of the batch")
    order = [positive(axis, value) for axis in operation.axes]
    require(order[0] == 0, operation, "a transposition of the batch")
    return transpose(build, value, order)


@lowers("operation", "Moveaxis")
def ops_moveaxis(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.moveaxis` of axes that are not the batch."""
    sources, targets = (
        [axis] if isinstance(axis, int) else list(axis) for axis in (operation.source, operation.destination)
    )
    moved = [positive(axis, value) for axis in sources]
    places = [positive(axis, value) for axis in targets]
    rest = iter(axis for axis in range(len(value.shape)) if axis not in moved)
    turned = [moved[places.index(place)] if place in places else next(rest) for place in range(len(value.shape))]
    require(turned[0] == 0, operation, "a transposition of the batch")
    return transpose(build, value, turned)


@lowers("operation", "Swapaxes")
def ops_swapaxes(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.swapaxes` of two axes that are not the batch."""
    order = list(range(len(value.shape)))
    first, second = positive(operation.axis1, value), positive(operation.axis2, value)
    require(0 not in (first, second), operation, "a transposition of the batch")
    order[first], order[second] = order[second], order[first]
    return transpose(build, value, order)


@lowers("operation", "GetItem")
def ops_get_item(build: Builder, operation: Any, value: Value, key: Any) -> Value:
    """``x[:, 1:-1:2, 0, None]``: numbers, slices, an ellipsis and new axes, the batch untouched."""
    spans, shape = [], []
    remaining = iter(sizes(value))
    for each in _explicit(operation, value, key):
        if each is None:
            shape.append(1)
            continue
        spans.append(_span(operation, each, next(remaining)))
        shape += [] if isinstance(each, int) else [spans[-1][1]]
    return reshape(build, _cut(build, value, spans), shape)


def _cut(build: Builder, value: Value, spans: list[tuple[int, int, int]]) -> Value:
    starts, lengths, steps = (tuple(span[place] for span in spans) for place in range(3))
    if any(step != 1 for step in steps):
        return build.emit(StridedSlice(starts=starts, sizes=lengths, steps=steps), value, part="slice")
    if lengths == sizes(value):
        return value
    return build.emit(Slice(starts=starts, sizes=lengths), value, part="slice")


def _explicit(operation: Any, value: Value, key: Any) -> list[Any]:
    """One key for each axis behind the batch, and None for each new axis."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    known = all(each is None or each is Ellipsis or isinstance(each, (int, slice)) for each in keys)
    require(known, operation, f"the key {key}")
    missing = len(value.shape) - sum(each is not None and each is not Ellipsis for each in keys)
    dots = [place for place, each in enumerate(keys) if each is Ellipsis]
    place = dots[0] if dots else len(keys)
    keys[place : place + 1] = [slice(None)] * missing
    if not isinstance(keys[0], slice) or keys[0] != slice(None):
        raise refuse(operation, f"the key {key}, which selects from the batch,")
    return keys[1:]


def _span(operation: Any, key: Any, length: int) -> tuple[int, int, int]:
    """Start, count and step."""
    if isinstance(key, int):
        return key % length, 1, 1
    start, stop, step = key.indices(length)
    count = len(range(start, stop, step))
    require(count > 0, operation, f"the slice {key}")
    return start, count, step if count > 1 else 1


@lowers("operation", "Cast", "SaturateCast")
def ops_cast(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.cast`: whole numbers are cut off, truth values are 1 and 0, all of them are float32 here."""
    import keras

    dtype = keras.backend.standardize_dtype(operation.dtype)
    if dtype.startswith("float"):
        require(dtype in ("float32", "float64"), operation, f"a cast to {dtype}")
        return value
    if dtype == "bool":
        return compared(build, Comparison.NOT_EQUAL, value, 0.0)
    require(dtype in INTEGERS, operation, f"a cast to {dtype}")
    return truncated(build, value)


INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "int64", "uint32")


def truncated(build: Builder, value: Value) -> Value:
    """``sign(x) * floor(|x|)``."""
    size = unary(build, Function.ABSOLUTE, value, part="size")
    whole = unary(build, Function.FLOOR, size, part="whole")
    return binary(build, BinaryKind.MULTIPLY, unary(build, Function.SIGN, value, part="sign"), whole)


@lowers("operation", "Trunc")
def ops_trunc(build: Builder, operation: Any, value: Value) -> Value:
    """Towards zero."""
    del operation
    return truncated(build, value)


@lowers("operation", "Round")
def ops_round(build: Builder, operation: Any, value: Value) -> Value:
    """To the nearest, half to even, with decimals."""
    factor = 10.0 ** int(operation.decimals)
    if factor == 1:
        return unary(build, Function.ROUND, value)
    rounded = unary(build, Function.ROUND, scale_shift(build, value, factor, 0.0, part="larger"), part="rounded")
    return scale_shift(build, rounded, 1 / factor, 0.0)


def _scaled(function: Function, before: float, after: float, shift: float = 0.0) -> Any:
    """``after * f(before * x + shift)``."""

    def lower(build: Builder, operation: Any, value: Value) -> Value:
        del operation
        if before != 1 or shift:
            value = scale_shift(build, value, before, shift, part="inner")
        part = "function" if after != 1 else ""
        made = unary(build, function, value, part=part)
        return scale_shift(build, made, after, 0.0) if after != 1 else made

    return lower


for _class, _function, _before, _after, _shift in (
    ("Exp2", Function.EXPONENTIAL, float(np.log(2)), 1.0, 0.0),
    ("Log2", Function.LOGARITHM, 1.0, float(1 / np.log(2)), 0.0),
    ("Log10", Function.LOGARITHM, 1.0, float(1 / np.log(10)), 0.0),
    ("Log1p", Function.LOGARITHM, 1.0, 1.0, 1.0),
):
    lowers("operation", _class)(_scaled(_function, _before, _after, _shift))


@lowers("operation", "Tan")
def ops_tan(build: Builder, operation: Any, value: Value) -> Value:
    """Sine by cosine."""
    del operation
    above = unary(build, Function.SINE, value, part="sine")
    return binary(build, BinaryKind.DIVIDE, above, unary(build, Function.COSINE, value, part="cosine"))


@lowers("operation", "Isnan")
def ops_is_nan(build: Builder, operation: Any, value: Value) -> Value:
    """A number that is not itself."""
    del operation
    return compared(build, Comparison.NOT_EQUAL, value, value)


@lowers("operation", "ZerosLike", "OnesLike", "FullLike")
def ops_filled_like(build: Builder, operation: Any, value: Value, fill_value: Any = 0.0) -> Value:
    """One number everywhere."""
    from kexport.operations import Filled

    numbers = {"ZerosLike": 0.0, "OnesLike": 1.0}
    number = numbers.get(type(operation).__name__, fill_value)
    require(not isinstance(number, Value), operation, "a number that is computed")
    return build.emit(Filled(constant=np.full(sizes(value), number, np.float32)), value)


@lowers("operation", "ConvertToTensor")
def ops_convert(build: Builder, operation: Any, value: Value) -> Value:
    """A tensor as it is, or cast."""
    return value if operation.dtype is None else ops_cast(build, operation, value)


@lowers("operation", "StopGradient", "Copy")
def ops_identity(build: Builder, operation: Any, value: Value) -> Value:
    """What only matters while training."""
    del build, operation
    return value


@lowers("operation", "Normalize")
def ops_normalize(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.normalize` to Euclidean length 1."""
    require(operation.order == 2, operation, f"order {operation.order}")
    axes = [operation.axis] if isinstance(operation.axis, int) else list(operation.axis)
    require(all(axis % len(value.shape) for axis in axes), operation, f"axis {operation.axis}")
    return unit(build, value, axes, 1e-7 if operation.epsilon is None else operation.epsilon)
