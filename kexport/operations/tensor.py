"""Operations on tensors of any rank: element-wise functions, arithmetic, reductions, axes, products.

Axes count from the batch axis, 0, and are never negative; no operation here touches the batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kexport.operations.base import Operation, Shape, Weights, broadcast, count, require, static


class Function(StrEnum):
    """Functions of one number."""

    ABSOLUTE = "absolute"
    NEGATIVE = "negative"
    EXPONENTIAL = "exponential"
    LOGARITHM = "logarithm"
    SQUARE = "square"
    SQUARE_ROOT = "square_root"
    INVERSE_SQUARE_ROOT = "inverse_square_root"
    SINE = "sine"
    COSINE = "cosine"
    FLOOR = "floor"
    CEILING = "ceiling"
    ROUND = "round"  # half to even
    SIGN = "sign"
    ERROR = "error"  # the error function, as Abramowitz and Stegun 7.1.26 where a format has none
    ELU = "elu"  # x, or exp(x) - 1 below zero
    SOFTPLUS = "softplus"  # log(1 + exp(x)), without overflow
    SOFTSIGN = "softsign"  # x / (1 + |x|)
    GELU_TANH = "gelu_tanh"  # x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Elementwise(Operation):
    """One of `Function` of every number."""

    function: Function

    def infer(self, *inputs: Shape) -> Shape:
        return count(inputs, 1)[0]


class BinaryKind(StrEnum):
    """Functions of two numbers."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    POWER = "power"


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Operation):
    """Two values, or one value and a ``constant``, broadcast as in numpy.

    A constant has at most the value's rank and size 1 on the batch axis; it is the left side with
    ``constant_first``. The sum and the product of two values are `Add` and `Multiply`; those of a value
    with one number per channel are `ScaleShift`.
    """

    kind: BinaryKind
    constant: Weights | None = None
    constant_first: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        if self.constant is None:
            return broadcast(*count(inputs, 2))
        (value,) = count(inputs, 1)
        shape = self.constant.shape
        fits = len(shape) < len(value) or (len(shape) == len(value) and shape[0] == 1)
        require(fits, f"a constant of shape {shape} does not broadcast to {value}")
        return broadcast(value, shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Operation):
    """``x`` where it is positive, ``slope * x`` elsewhere; ``slope`` broadcasts to the value without batch."""

    slope: Weights

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        shape = self.slope.shape
        fits = len(shape) < len(value) and broadcast(value, shape) == value
        require(fits, f"a slope of shape {shape} does not fit {value}")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold(Operation):
    """``x`` where it is above ``threshold``, ``otherwise`` elsewhere."""

    threshold: float
    otherwise: float

    def infer(self, *inputs: Shape) -> Shape:
        return count(inputs, 1)[0]


class ReduceKind(StrEnum):
    """How many numbers become one."""

    MEAN = "mean"
    SUM = "sum"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    PRODUCT = "product"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduce(Operation):
    """One number for all along ``axes``, which are sorted; they stay, of size 1, with ``keepdims``."""

    kind: ReduceKind
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        _require_axes(self.axes, value)
        require(list(self.axes) == sorted(self.axes), f"axes {self.axes} are not sorted")
        kept = [1 if axis in self.axes else length for axis, length in enumerate(value)]
        return tuple(length for axis, length in enumerate(kept) if self.keepdims or axis not in self.axes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Operation):
    """The axes in another order: axis ``i`` of the result is axis ``order[i]`` of the value; ``order[0]`` is 0."""

    order: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        _require_axes(self.order[1:], value)
        require(len(self.order) == len(value) and self.order[0] == 0, f"order {self.order} of {value}")
        return tuple(value[axis] for axis in self.order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(Operation):
    """A box out of the value. ``starts`` and ``sizes`` exclude the batch axis."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(len(self.starts) == len(self.sizes) == len(value) - 1, f"{self.starts}, {self.sizes} of {value}")
        for start, length, whole in zip(self.starts, self.sizes, value[1:], strict=True):
            inside = start >= 0 and length >= 1 and start + length <= static(whole)
            require(inside, f"{length} from {start} lies outside of {whole}")
        return (value[0], *self.sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Join(Operation):
    """Values one after another on an ``axis`` that is neither the batch nor the last; there it is `Concat`."""

    axis: int

    def infer(self, *inputs: Shape) -> Shape:
        require(len(inputs) >= 1, "nothing to join")
        require(0 < self.axis < len(inputs[0]) - 1, f"axis {self.axis} of {inputs[0]}")
        rests = {value[: self.axis] + value[self.axis + 1 :] for value in inputs}
        require(len(rests) == 1, f"shapes {inputs} differ beside axis {self.axis}")
        total = sum(static(value[self.axis]) for value in inputs)
        return (*inputs[0][: self.axis], total, *inputs[0][self.axis + 1 :])


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Operation):
    """The matrix product of two values over their last two axes; the axes before are equal, or 1 in one of them."""

    def infer(self, *inputs: Shape) -> Shape:
        left, right = count(inputs, 2)
        require(len(left) == len(right) >= 3, f"ranks of {left} and {right}, both must be the same and at least 3")
        require(left[-1] == right[-2], f"{left} has rows of {left[-1]}, {right} has columns of {right[-2]}")
        return (*broadcast(left[:-2], right[:-2]), left[-2], right[-1])


def _require_axes(axes: tuple[int, ...], value: Shape) -> None:
    inside = all(0 < axis < len(value) for axis in axes)
    require(inside and len(set(axes)) == len(axes), f"axes {axes} of {value}")
