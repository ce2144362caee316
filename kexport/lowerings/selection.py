"""`keras.ops` that compare, choose, look up, repeat and reorder."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.lowerings.primitives import Operand, binary, constant_for, positive, reshape, sizes, unary
from kexport.operations import (
    ArgExtreme,
    BinaryKind,
    Compare,
    Comparison,
    Extreme,
    Filled,
    Function,
    Lookup,
    Select,
    Take,
    Tile,
    TopK,
    Weights,
)

MIRRORED = {
    Comparison.GREATER: Comparison.LESS,
    Comparison.GREATER_EQUAL: Comparison.LESS_EQUAL,
    Comparison.LESS: Comparison.GREATER,
    Comparison.LESS_EQUAL: Comparison.GREATER_EQUAL,
}


def compared(build: Builder, kind: Comparison, left: Operand, right: Operand, part: str = "") -> Value:
    """1 where the answer is yes, else 0; one side may be a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        return build.emit(Compare(kind=kind), left, right, part=part)
    if isinstance(left, Value):
        return build.emit(Compare(kind=kind, constant=constant_for(right, left)), left, part=part)
    assert isinstance(right, Value), "one side is a value"
    return build.emit(Compare(kind=MIRRORED.get(kind, kind), constant=constant_for(left, right)), right, part=part)


def _comparison(kind: Comparison) -> Any:
    def lower(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
        del operation
        return compared(build, kind, left, right)

    return lower


for _kind, _class in (
    (Comparison.EQUAL, "Equal"),
    (Comparison.GREATER, "Greater"),
    (Comparison.GREATER_EQUAL, "GreaterEqual"),
    (Comparison.LESS, "Less"),
    (Comparison.LESS_EQUAL, "LessEqual"),
    (Comparison.NOT_EQUAL, "NotEqual"),
):
    lowers("operation", _class)(_comparison(_kind))


def truth(build: Builder, operand: Operand, part: str) -> Operand:
    """1 for what is not 0; that of a constant is one."""
    if isinstance(operand, Value):
        return build.emit(Compare(kind=Comparison.NOT_EQUAL, constant=np.zeros(1, np.float32)), operand, part=part)
    made: Weights = (weights(operand) != 0).astype(np.float32)
    return made


def _logical(kind: BinaryKind) -> Any:
    def lower(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
        del operation
        return binary(build, kind, truth(build, left, "left"), truth(build, right, "right"))

    return lower


for _binary, _class in ((BinaryKind.MINIMUM, "LogicalAnd"), (BinaryKind.MAXIMUM, "LogicalOr")):
    lowers("operation", _class)(_logical(_binary))


@lowers("operation", "LogicalXor")
def logical_xor(build: Builder, operation: Any, left: Operand, right: Operand) -> Value:
    """Whether just one is true."""
    del operation
    return compared(build, Comparison.NOT_EQUAL, truth(build, left, "left"), truth(build, right, "right"))


@lowers("operation", "LogicalNot")
def logical_not(build: Builder, operation: Any, value: Value) -> Value:
    """1 for 0, else 0."""
    del operation
    return compared(build, Comparison.EQUAL, value, 0.0)


@lowers("operation", "Where")
def where(build: Builder, operation: Any, condition: Operand, x1: Any = None, x2: Any = None) -> Value:
    """`keras.ops.where` with both alternatives, of which the condition and one or both may be constants."""
    require(x1 is not None and x2 is not None, operation, "where without its alternatives")
    like = max((each for each in (condition, x1, x2) if isinstance(each, Value)), key=lambda value: len(value.shape))
    if not isinstance(condition, Value):
        mask = constant_for(weights(condition) != 0, like)
        condition = build.emit(Filled(constant=_unbatched(mask, like)), like, part="condition")
    values = [each for each in (x1, x2) if isinstance(each, Value)]
    chosen, otherwise = (None if isinstance(each, Value) else constant_for(each, like) for each in (x1, x2))
    return build.emit(Select(chosen=chosen, otherwise=otherwise), condition, *values)


def _unbatched(array: Any, like: Value) -> Any:
    """A constant without the axis of the batch."""
    whole = array.reshape((1,) * (len(like.shape) - array.ndim) + array.shape)
    return np.ascontiguousarray(whole[0])


def axis_of(operation: Any, value: Value, axis: Any) -> int:
    """The axis counted from the front; the batch is refused."""
    require(isinstance(axis, int) and positive(axis, value) != 0, operation, f"axis {axis}")
    return positive(axis, value)


def _arg(kind: Extreme) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        axis = axis_of(operation, value, operation.axis)
        return build.emit(ArgExtreme(kind=kind, axis=axis, keepdims=bool(operation.keepdims)), value)

    return lower


lowers("operation", "Argmax")(_arg(Extreme.LARGEST))
lowers("operation", "Argmin")(_arg(Extreme.SMALLEST))


@lowers("operation", "TopK")
def top_k(build: Builder, operation: Any, value: Value) -> tuple[Value, Value]:
    """`keras.ops.top_k`: numbers and their places."""
    k = int(operation.k)
    return build.emit(TopK(k=k), value), build.emit(TopK(k=k, places=True), value, part="places")


@lowers("operation", "Sort")
def sort(build: Builder, operation: Any, value: Value) -> Value:
    """Upwards along the last axis."""
    axis = axis_of(operation, value, operation.axis)
    require(axis == len(value.shape) - 1, operation, f"axis {operation.axis}")
    length = sizes(value)[-1]
    mirrored = unary(build, Function.NEGATIVE, value, part="mirrored")
    return unary(build, Function.NEGATIVE, build.emit(TopK(k=length), mirrored, part="sorted"))


@lowers("operation", "Take")
def take(build: Builder, operation: Any, value: Operand, indices: Operand) -> Value:
    """`keras.ops.take` of constant places of an axis, or of the rows of a constant table that a value names."""
    axis = operation.axis
    if not isinstance(value, Value):
        table = weights(value)
        first = axis is not None and axis % table.ndim == 0
        require(first and isinstance(indices, Value), operation, f"axis {axis} of a constant")
        assert isinstance(indices, Value)
        return looked_up(build, table, indices)
    require(not isinstance(indices, Value), operation, "places that are computed")
    place = axis_of(operation, value, axis)
    numbers = np.asarray(weights(indices)).astype(int)
    length = sizes(value)[place - 1]
    taken = build.emit(
        Take(axis=place, places=tuple(int(each) % length for each in numbers.reshape(-1))),
        value,
        part="" if numbers.ndim == 1 else "taken",
    )
    return reshape(build, taken, (*sizes(value)[: place - 1], *numbers.shape, *sizes(value)[place:]))


def looked_up(build: Builder, table: Any, indices: Value) -> Value:
    """Rows of a table of any rank."""
    flat = np.ascontiguousarray(table.reshape(len(table), -1))
    found = build.emit(Lookup(table=flat), indices, part="" if table.ndim == 2 else "rows")
    return reshape(build, found, (*sizes(indices), *table.shape[1:]))


@lowers("operation", "OneHot")
def one_hot(build: Builder, operation: Any, value: Value) -> Value:
    """Rows of the unit matrix."""
    require(operation.axis in (-1, len(value.shape)) and not operation.sparse, operation, f"axis {operation.axis}")
    return build.emit(Lookup(table=np.eye(int(operation.num_classes), dtype=np.float32)), value)


@lowers("operation", "Repeat")
def repeat(build: Builder, operation: Any, value: Value) -> Value:
    """Each part of an axis several times."""
    axis = axis_of(operation, value, operation.axis)
    places = np.repeat(np.arange(sizes(value)[axis - 1]), np.asarray(operation.repeats))
    return build.emit(Take(axis=axis, places=tuple(places.tolist())), value)


@lowers("operation", "Tile")
def tile(build: Builder, operation: Any, value: Value) -> Value:
    """The whole several times along its axes."""
    times = [operation.repeats] if isinstance(operation.repeats, int) else [int(each) for each in operation.repeats]
    missing = len(value.shape) - len(times)
    require(missing >= 0, operation, f"{times} repeats of {value.shape}")
    times = [1] * missing + times
    require(times[0] == 1, operation, "a repetition of the batch")
    return build.emit(Tile(times=tuple(times[1:])), value)


@lowers("operation", "BroadcastTo")
def broadcast_to(build: Builder, operation: Any, value: Value) -> Value:
    """Axes of size 1 repeated, and new ones of size 1 before them but behind the batch."""
    target = build.stated[0][1:]
    require(None not in target and len(target) >= len(value.shape) - 1, operation, f"the shape {build.stated[0]}")
    wide = reshape(build, value, (1,) * (len(target) - len(value.shape) + 1) + sizes(value), part="wide")
    pairs = list(zip(target, sizes(wide), strict=True))
    require(all(have in (1, want) for want, have in pairs), operation, f"the shape {build.stated[0]}")
    times = tuple(1 if have == want else int(want or 0) for want, have in pairs)
    return wide if set(times) <= {1} else build.emit(Tile(times=times), wide)
