"""Steps that several lowerings are made of: arithmetic with values and constants, reductions, axes, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from kexport.lowerings import Builder, Value, weights
from kexport.lowerings.trace import without_batch
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Binary,
    BinaryKind,
    Elementwise,
    Function,
    Multiply,
    Reduce,
    ReduceKind,
    Regroup,
    Reshape,
    ScaleShift,
    Transpose,
    Weights,
)

Operand = Value | npt.ArrayLike


def positive(axis: int, value: Value) -> int:
    """An axis counted from the front."""
    return axis + len(value.shape) if axis < 0 else axis


def sizes(value: Value) -> tuple[int, ...]:
    """The shape without the batch axis; all of it is numbers."""
    return tuple(axis or 0 for axis in value.shape[1:])


def constant_for(constant: Operand, like: Value) -> Weights:
    """A constant that meets a value; one that a traced layer repeated for the batch, once."""
    assert not isinstance(constant, Value), "a constant"
    return without_batch(weights(constant), len(like.shape))


def relu(build: Builder, value: Value, part: str = "") -> Value:
    """``max(x, 0)``."""
    return build.emit(Activate(function=Activation.RELU), value, part=part)


def unary(build: Builder, function: Function, value: Value, part: str = "") -> Value:
    """One of `Function`."""
    return build.emit(Elementwise(function=function), value, part=part)


def scale_shift(build: Builder, value: Value, scale: npt.ArrayLike, offset: npt.ArrayLike, part: str = "") -> Value:
    """``x * scale + offset``, either given as one number or one per channel."""
    channels = value.shape[-1] or 0

    def vector(numbers: npt.ArrayLike) -> Weights:
        flat = np.asarray(numbers, dtype=np.float32).reshape(-1)
        return np.ascontiguousarray(np.broadcast_to(flat, (channels,)))

    return build.emit(ScaleShift(scale=vector(scale), offset=vector(offset)), value, part=part)


def affine(build: Builder, value: Value, scale: npt.ArrayLike, offset: npt.ArrayLike) -> Value:
    """``x * scale + offset`` with constants of any shapes that leave the value's alone."""
    if all(_per_channel(value, weights(numbers)) for numbers in (scale, offset)):
        return scale_shift(build, value, scale, offset)
    moves = bool(np.any(weights(offset)))
    scaled = binary(build, BinaryKind.MULTIPLY, value, scale, part="scaled" if moves else "")
    return binary(build, BinaryKind.ADD, scaled, offset) if moves else scaled


def binary(build: Builder, kind: BinaryKind, left: Operand, right: Operand, part: str = "") -> Value:
    """``left`` and ``right``, of which at most one is a constant; sums and products in their simplest form."""
    if isinstance(left, Value) and isinstance(right, Value):
        plain = {BinaryKind.ADD: Add, BinaryKind.MULTIPLY: Multiply}.get(kind)
        return build.emit(plain() if plain else Binary(kind=kind), left, right, part=part)
    if isinstance(left, Value):
        return _with_constant(build, kind, left, constant_for(right, left), first=False, part=part)
    assert isinstance(right, Value), "one side is a value"
    constant = constant_for(left, right)
    return _with_constant(build, kind, right, constant, first=True, part=part)


def _with_constant(
    build: Builder, kind: BinaryKind, value: Value, constant: Weights, *, first: bool, part: str
) -> Value:
    affine = _affine(kind, constant, first=first)
    if affine is not None and _per_channel(value, constant):
        return scale_shift(build, value, *affine, part=part)
    return build.emit(Binary(kind=kind, constant=constant, constant_first=first), value, part=part)


def _affine(kind: BinaryKind, constant: Weights, *, first: bool) -> tuple[npt.ArrayLike, npt.ArrayLike] | None:
    """Scale and offset that say the same."""
    if kind is BinaryKind.ADD:
        return 1.0, constant
    if kind is BinaryKind.MULTIPLY:
        return constant, 0.0
    if kind is BinaryKind.SUBTRACT:
        return (-1.0, constant) if first else (1.0, -constant)
    if kind is BinaryKind.DIVIDE and not first and bool(np.all(constant != 0)):
        return 1.0 / constant.astype(np.float64), 0.0
    return None


def _per_channel(value: Value, constant: Weights) -> bool:
    """Whether the constant is one number, or one for each channel, and leaves the value's shape alone."""
    if len(value.shape) < 2 or constant.ndim > len(value.shape):
        return False
    along_last = constant.ndim == 0 or constant.shape[-1] == constant.size
    return along_last and constant.size in (1, value.shape[-1])


def reduce(
    build: Builder, kind: ReduceKind, value: Value, axes: Sequence[int], *, keepdims: bool = True, part: str = ""
) -> Value:
    """One number for all along ``axes``, which may be negative."""
    places = tuple(sorted(positive(axis, value) for axis in axes))
    return build.emit(Reduce(kind=kind, axes=places, keepdims=keepdims), value, part=part)


def reshape(build: Builder, value: Value, shape: Sequence[int], part: str = "") -> Value:
    """Another shape, without the batch axis; nothing is added where it is the same."""
    return value if sizes(value) == tuple(shape) else build.emit(Reshape(shape=tuple(shape)), value, part=part)


def regrouped(build: Builder, value: Value, shape: Sequence[int], part: str = "") -> Value:
    """As `reshape`, where the batch axis may take up others or give some away."""
    if prod(sizes(value)) == prod(shape):
        return reshape(build, value, shape, part=part)
    return build.emit(Regroup(shape=tuple(shape)), value, part=part)


def transpose(build: Builder, value: Value, order: Sequence[int], part: str = "") -> Value:
    """The axes in another order; nothing is added where it is the same."""
    same = list(order) == list(range(len(value.shape)))
    return value if same else build.emit(Transpose(order=tuple(order)), value, part=part)


def softmax(build: Builder, value: Value, axes: Sequence[int], part: str = "") -> Value:
    """Softmax over one axis or over several together; the last one needs no turning."""
    places = tuple(sorted(positive(axis, value) for axis in axes))
    last = len(value.shape) - 1
    function = Activate(function=Activation.SOFTMAX)
    if places == (last,):
        return build.emit(function, value, part=part)
    order = [axis for axis in range(last + 1) if axis not in places] + list(places)
    turned = transpose(build, value, order, part=_within(part, "turned"))
    kept = sizes(turned)[: last - len(places)]
    together = (*kept, prod(sizes(turned)[len(kept) :]))
    flat = reshape(build, turned, together, part=_within(part, "together"))
    shares = build.emit(function, flat, part=_within(part, "shares"))
    back = [order.index(axis) for axis in range(last + 1)]
    straight = back == list(range(last + 1))
    apart = reshape(build, shares, sizes(turned), part=part if straight else _within(part, "apart"))
    return transpose(build, apart, back, part=part)


def _within(part: str, step: str) -> str:
    return f"{part}/{step}" if part else step


def standardised_parts(build: Builder, value: Value, axes: Sequence[int]) -> Value:
    """``(x - mean)^2`` over ``axes``."""
    mean = reduce(build, ReduceKind.MEAN, value, axes, part="mean")
    centred = binary(build, BinaryKind.SUBTRACT, value, mean, part="centred")
    return unary(build, Function.SQUARE, centred, part="square")


def standardised(build: Builder, value: Value, axes: Sequence[int], epsilon: float, part: str) -> Value:
    """``(x - mean) / sqrt(variance + epsilon)`` over ``axes``."""
    mean = reduce(build, ReduceKind.MEAN, value, axes, part="mean")
    centred = binary(build, BinaryKind.SUBTRACT, value, mean, part="centred")
    inverse = inverse_root(build, ReduceKind.MEAN, centred, axes, epsilon)
    return build.emit(Multiply(), centred, inverse, part=part)


def inverse_root(build: Builder, kind: ReduceKind, value: Value, axes: Sequence[int], epsilon: float) -> Value:
    """``1 / sqrt(reduce(x^2) + epsilon)``, the reduced axes kept."""
    square = unary(build, Function.SQUARE, value, part="square")
    total = reduce(build, kind, square, axes, part="variance")
    safe = build.emit(Binary(kind=BinaryKind.ADD, constant=np.float32(epsilon).reshape(1)), total, part="safe")
    return unary(build, Function.INVERSE_SQUARE_ROOT, safe, part="inverse")


def unit(build: Builder, value: Value, axes: Sequence[int], epsilon: float, part: str = "") -> Value:
    """``x / max(|x|, epsilon)`` with the Euclidean norm over ``axes``, as `keras.ops.normalize` has it."""
    square = unary(build, Function.SQUARE, value, part="square")
    total = reduce(build, ReduceKind.SUM, square, axes, part="sum")
    least = np.float32(epsilon * epsilon).reshape(1)
    safe = build.emit(Binary(kind=BinaryKind.MAXIMUM, constant=least), total, part="safe")
    inverse = unary(build, Function.INVERSE_SQUARE_ROOT, safe, part="inverse")
    return build.emit(Multiply(), value, inverse, part=part)
