"""`keras.ops` on one tensor: functions of each number, reductions, and other shapes."""

from __future__ import annotations

from typing import Any

from kexport.lowerings import Builder, Value, lowers, refuse, require
from kexport.lowerings.primitives import positive, reduce, reshape, sizes, transpose, unary, unit
from kexport.operations import Function, ReduceKind, Slice


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
):
    lowers("operation", *_classes)(_elementary(_function))


def _reduction(kind: ReduceKind) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        axes = [operation.axis] if isinstance(operation.axis, int) else operation.axis
        inside = axes is not None and all(axis % len(value.shape) for axis in axes)
        require(inside, operation, "a reduction over the batch")
        require(getattr(operation, "initial", None) is None, operation, "an initial value")
        return reduce(build, kind, value, axes, keepdims=operation.keepdims)

    return lower


for _kind, *_classes in (
    (ReduceKind.MEAN, "Mean"),
    (ReduceKind.SUM, "Sum"),
    (ReduceKind.MAXIMUM, "Max", "Amax"),
    (ReduceKind.MINIMUM, "Min", "Amin"),
):
    lowers("operation", *_classes)(_reduction(_kind))


@lowers("operation", "Reshape")
def ops_reshape(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.reshape` that keeps the batch axis."""
    return _stated_shape(build, operation, value, operation.newshape)


def _stated_shape(build: Builder, operation: Any, value: Value, stated: Any) -> Value:
    target = tuple(operation.compute_output_spec(_symbolic(value)).shape)
    keeps_batch = len(target) >= 1 and target[0] is None and None not in target[1:]
    require(keeps_batch, operation, f"the shape {stated} from {value.shape}")
    return reshape(build, value, tuple(int(axis) for axis in target[1:]))


def _symbolic(value: Value) -> Any:
    import keras

    return keras.KerasTensor(value.shape)


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
    """``x[:, 1:-1, 0, None]``: numbers, slices without steps, an ellipsis and new axes, the batch untouched."""
    keys = _explicit(operation, value, key)
    starts, lengths, shape = [], [], []
    remaining = iter(sizes(value))
    for each in keys:
        if each is None:
            shape.append(1)
            continue
        start, length = _span(operation, each, next(remaining))
        starts.append(start)
        lengths.append(length)
        shape += [] if isinstance(each, int) else [length]
    whole = tuple(lengths) == sizes(value)
    cut = value if whole else build.emit(Slice(starts=tuple(starts), sizes=tuple(lengths)), value, part="slice")
    return reshape(build, cut, shape)


def _explicit(operation: Any, value: Value, key: Any) -> list[Any]:
    """One key for each axis behind the batch, and None for each new axis."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    known = all(each is None or each is Ellipsis or isinstance(each, (int, slice)) for each in keys)
    require(known, operation, f"the key {key}")
    missing = len(value.shape) - sum(each is not None and each is not Ellipsis for each in keys)
    place = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys[place : place + 1] = [slice(None)] * missing
    if not isinstance(keys[0], slice) or keys[0] != slice(None):
        raise refuse(operation, f"the key {key}, which selects from the batch,")
    return keys[1:]


def _span(operation: Any, key: Any, length: int) -> tuple[int, int]:
    if isinstance(key, int):
        return key % length, 1
    start, stop, step = key.indices(length)
    require(step == 1 and stop > start, operation, f"the slice {key}")
    return start, stop - start


@lowers("operation", "Cast")
def ops_cast(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.cast` to float32, which everything is."""
    del build
    require(operation.dtype == "float32", operation, f"a cast to {operation.dtype}")
    return value


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
