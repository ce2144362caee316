"""`keras.ops` that compare, choose, look up, repeat and reorder."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.primitives import Operand, binary, constant_for, positive, reshape, sizes, unary
from kexport.operations import (
    ArgExtreme,
    BinaryKind,
    Compare,
    Comparison,
    Concat,
    Dense,
    Extreme,
    Filled,
    Function,
    Join,
    Lookup,
    Select,
    Slice,
    StridedSlice,
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


def _axis(operation: Any, value: Value, axis: Any) -> int:
    require(isinstance(axis, int) and positive(axis, value) != 0, operation, f"axis {axis}")
    return positive(axis, value)


def _arg(kind: Extreme) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        axis = _axis(operation, value, operation.axis)
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
    axis = _axis(operation, value, operation.axis)
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
    place = _axis(operation, value, axis)
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
    axis = _axis(operation, value, operation.axis)
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


@lowers("operation", "Roll")
def roll(build: Builder, operation: Any, value: Value) -> Value:
    """What falls off one end comes in at the other."""
    require(operation.axis is not None, operation, "a roll of the flattened value")
    axes = [operation.axis] if isinstance(operation.axis, int) else list(operation.axis)
    shifts = [operation.shift] * len(axes) if isinstance(operation.shift, int) else list(operation.shift)
    moves = [(_axis(operation, value, axis), int(by)) for axis, by in zip(axes, shifts, strict=True)]
    moves = [(axis, by % sizes(value)[axis - 1]) for axis, by in moves]
    moves = [(axis, by) for axis, by in moves if by]
    for number, (axis, by) in enumerate(moves, start=1):
        name = "" if number == len(moves) else f"axis{axis}"
        length = sizes(value)[axis - 1]
        last = cut(build, value, axis, length - by, by, part=f"axis{axis}/last")
        first = cut(build, value, axis, 0, length - by, part=f"axis{axis}/first")
        value = joined(build, [last, first], axis, part=name)
    return value


def cut(build: Builder, value: Value, axis: int, start: int, length: int, *, part: str = "") -> Value:
    """A span of one axis."""
    whole = sizes(value)
    if (start, length) == (0, whole[axis - 1]):
        return value
    starts = tuple(start if place == axis - 1 else 0 for place in range(len(whole)))
    lengths = tuple(length if place == axis - 1 else size for place, size in enumerate(whole))
    return build.emit(Slice(starts=starts, sizes=lengths), value, part=part)


def joined(build: Builder, values: list[Value], axis: int, part: str = "") -> Value:
    """Values one after another on an axis."""
    if len(values) == 1:
        return values[0]
    return build.emit(Concat() if axis == len(values[0].shape) - 1 else Join(axis=axis), *values, part=part)


@lowers("operation", "Flip")
def flip(build: Builder, operation: Any, value: Value) -> Value:
    """Axes backwards."""
    require(operation.axis is not None, operation, "a flip of the batch")
    axes = [operation.axis] if isinstance(operation.axis, int) else list(operation.axis)
    return flipped(build, value, [_axis(operation, value, axis) for axis in axes])


def flipped(build: Builder, value: Value, axes: list[int], part: str = "") -> Value:
    """Axes backwards."""
    whole = sizes(value)
    back = [place + 1 in axes for place in range(len(whole))]
    operation = StridedSlice(
        starts=tuple(size - 1 if turned else 0 for size, turned in zip(whole, back, strict=True)),
        sizes=whole,
        steps=tuple(-1 if turned else 1 for turned in back),
    )
    return build.emit(operation, value, part=part)


@lowers("operation", "Split", "ArraySplit")
def split(build: Builder, operation: Any, value: Value) -> list[Value]:
    """Parts of an axis: so many, or between these places."""
    sections: Any = operation.indices_or_sections
    axis = _axis(operation, value, operation.axis)
    length = sizes(value)[axis - 1]
    if isinstance(sections, int):
        edges = [len(part) for part in np.array_split(np.arange(length), sections)]
        places = [0, *np.cumsum(edges).tolist()]
    else:
        places = [0, *(int(each) for each in sections), length]
    return [cut(build, value, axis, a, b - a, part=f"part{n}") for n, (a, b) in enumerate(pairwise(places))]


@lowers("operation", "Unstack")
def unstack(build: Builder, operation: Any, value: Value) -> list[Value]:
    """The parts of an axis, without it."""
    axis = _axis(operation, value, operation.axis)
    rest = (*sizes(value)[: axis - 1], *sizes(value)[axis:])
    parts = (cut(build, value, axis, n, 1, part=f"cut{n}") for n in range(sizes(value)[axis - 1]))
    return [reshape(build, part, rest, part=f"part{n}") for n, part in enumerate(parts)]


@lowers("operation", "Stack")
def stack(build: Builder, operation: Any, values: list[Operand]) -> Value:
    """Values of one shape beside each other on a new axis."""
    shaped = [value for value in values if isinstance(value, Value)]
    like = shaped[0]
    rank = len(like.shape) + 1
    axis = operation.axis + rank if operation.axis < 0 else operation.axis
    require(axis != 0, operation, "axis 0")
    whole = [value if isinstance(value, Value) else as_value(build, value, like, n) for n, value in enumerate(values)]
    target = (*sizes(like)[: axis - 1], 1, *sizes(like)[axis - 1 :])
    parts = [reshape(build, value, target, part=f"part{number}") for number, value in enumerate(whole)]
    return joined(build, parts, axis)


def as_value(build: Builder, constant: Any, like: Value, number: int = 0, rank: int | None = None) -> Value:
    """A constant as a value whose batch is that of ``like``; it has ``rank`` axes, the batch among them."""
    array = constant_for(constant, like)
    wanted = rank or len(like.shape)
    whole = array.reshape((1,) * (wanted - array.ndim) + array.shape)
    return build.emit(Filled(constant=np.ascontiguousarray(whole[0])), like, part=f"constant{number}")


@lowers("operation", "Cumsum")
def cumulative_sum(build: Builder, operation: Any, value: Value) -> Value:
    """Sums of all so far along the last axis: a product with a triangle of ones."""
    axis = _axis(operation, value, operation.axis)
    require(axis == len(value.shape) - 1, operation, f"axis {operation.axis}")
    length = sizes(value)[-1]
    return build.emit(Dense(kernel=np.triu(np.ones((length, length), np.float32))), value)


@lowers("operation", "Pad")
def pad(build: Builder, operation: Any, value: Value, constant_values: Any = None) -> Value:
    """`keras.ops.pad` of any axes but the batch."""
    pairs = [(int(low), int(high)) for low, high in np.broadcast_to(operation.pad_width, (len(value.shape), 2))]
    require(pairs[0] == (0, 0), operation, "a padded batch")
    fill = 0.0 if constant_values is None else float(weights(constant_values).reshape(()))
    return padded(build, operation, value, pairs[1:], mode=operation.mode, fill=fill)


MODES = {"reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "wrap": "wrap", "circular": "wrap"}


def padded(
    build: Builder, layer: Any, value: Value, pairs: list[tuple[int, int]], *, mode: str = "constant", fill: float = 0.0
) -> Value:
    """Axes made longer at their ends by a constant, or by numbers of their own."""
    from kexport.operations import Pad

    changed = [axis for axis, pair in enumerate(pairs, start=1) if pair != (0, 0)]
    if mode == "constant" and fill == 0 and len(pairs) == 3 and pairs[2] == (0, 0):
        return build.emit(Pad(padding=(pairs[0], pairs[1])), value)
    if mode != "constant" and mode not in MODES:
        raise refuse(layer, f"padding of mode {mode!r}")
    for number, axis in enumerate(changed, start=1):
        part = "" if number == len(changed) else f"axis{axis}"
        if mode == "constant":
            value = _with_borders(build, value, axis, pairs[axis - 1], fill=fill, part=part)
        else:
            padding: Any = np.pad
            places = padding(np.arange(sizes(value)[axis - 1]), pairs[axis - 1], mode=MODES[mode])
            value = build.emit(Take(axis=axis, places=tuple(places.tolist())), value, part=part)
    return value


def _with_borders(build: Builder, value: Value, axis: int, pair: tuple[int, int], *, fill: float, part: str) -> Value:
    values = [value]
    for end, length in enumerate(pair):
        if length:
            shape = tuple(length if place == axis - 1 else size for place, size in enumerate(sizes(value)))
            border = build.emit(Filled(constant=np.full(shape, fill, np.float32)), value, part=f"border{axis}{end}")
            values.insert(len(values) * end, border)
    return joined(build, values, axis, part=part)
