"""`keras.ops` that cut, join, turn around and pad."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.primitives import Operand, constant_for, reshape, sizes
from kexport.lowerings.selection import axis_of
from kexport.operations import (
    Concat,
    Dense,
    Filled,
    Join,
    Slice,
    StridedSlice,
    Take,
)


@lowers("operation", "Roll")
def roll(build: Builder, operation: Any, value: Value) -> Value:
    """What falls off one end comes in at the other."""
    require(operation.axis is not None, operation, "a roll of the flattened value")
    axes = [operation.axis] if isinstance(operation.axis, int) else list(operation.axis)
    shifts = [operation.shift] * len(axes) if isinstance(operation.shift, int) else list(operation.shift)
    moves = [(axis_of(operation, value, axis), int(by)) for axis, by in zip(axes, shifts, strict=True)]
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
    return flipped(build, value, [axis_of(operation, value, axis) for axis in axes])


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
    axis = axis_of(operation, value, operation.axis)
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
    axis = axis_of(operation, value, operation.axis)
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
    axis = axis_of(operation, value, operation.axis)
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
