"""Operations that compare, choose, look up, repeat and regroup.

A truth value is 1.0 or 0.0 and an index is a whole number, both float32, as every value of the graph: exact
below 2^24. Files turn them into their own types where an operator wants one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from kexport.operations.base import Operation, Shape, Weights, broadcast, count, require, static

LARGEST_EXACT = 1 << 24
"""Whole numbers above it have gaps in float32."""


class Comparison(StrEnum):
    """Questions about two numbers."""

    EQUAL = "equal"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    NOT_EQUAL = "not_equal"


@dataclass(frozen=True, kw_only=True, eq=False)
class Compare(Operation):
    """1 where the answer is yes, else 0: of two values, or of a value and a ``constant`` on the right."""

    kind: Comparison
    constant: Weights | None = None

    def infer(self, *inputs: Shape) -> Shape:
        if self.constant is None:
            return broadcast(*count(inputs, 2))
        (value,) = count(inputs, 1)
        return _with_constant(value, self.constant)


@dataclass(frozen=True, kw_only=True, eq=False)
class Select(Operation):
    """``chosen`` where the first input is not 0, ``otherwise`` elsewhere; those that are None are further inputs."""

    chosen: Weights | None = None
    otherwise: Weights | None = None

    def infer(self, *inputs: Shape) -> Shape:
        constants = [each for each in (self.chosen, self.otherwise) if each is not None]
        shape = broadcast(*count(inputs, 3 - len(constants)))
        for constant in constants:
            shape = _with_constant(shape, constant)
        return shape


def _with_constant(value: Shape, constant: Weights) -> Shape:
    shape = constant.shape
    fits = len(shape) < len(value) or (len(shape) == len(value) and shape[0] == 1)
    require(fits, f"a constant of shape {shape} does not broadcast to {value}")
    return broadcast(value, shape)


class Extreme(StrEnum):
    """Which place is asked for."""

    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgExtreme(Operation):
    """The place of the largest or smallest number along an axis, the first of equal ones."""

    kind: Extreme
    axis: int
    keepdims: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        _inside(self.axis, value)
        kept = (1,) if self.keepdims else ()
        return (*value[: self.axis], *kept, *value[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True, eq=False)
class TopK(Operation):
    """The ``k`` largest numbers of the last axis, the largest first, or with ``places`` where they are."""

    k: int
    places: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(1 <= self.k <= static(value[-1]), f"{self.k} of {value[-1]}")
        return (*value[:-1], self.k)


@dataclass(frozen=True, kw_only=True, eq=False)
class Take(Operation):
    """The parts of an axis that ``places`` name, in their order, also more than once."""

    axis: int
    places: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        _inside(self.axis, value)
        length = static(value[self.axis])
        require(len(self.places) >= 1, "nothing to take")
        require(all(0 <= place < length for place in self.places), f"a place outside of 0 to {length - 1}")
        return (*value[: self.axis], len(self.places), *value[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup(Operation):
    """The rows of a ``table`` ``(rows, width)`` that the value names by their numbers: an embedding."""

    table: Weights

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(self.table.ndim == 2, f"a table of shape {self.table.shape}, expected two axes")
        return (*value, self.table.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile(Operation):
    """The value repeated as a whole along its axes; ``times`` excludes the batch axis."""

    times: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(len(self.times) == len(value) - 1 and min(self.times) >= 1, f"{self.times} times {value}")
        return (value[0], *(static(axis) * each for axis, each in zip(value[1:], self.times, strict=True)))


@dataclass(frozen=True, kw_only=True, eq=False)
class StridedSlice(Operation):
    """Every ``steps``-th number from ``starts`` on, ``sizes`` of them; a negative step goes backwards.

    All exclude the batch axis.
    """

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        same = len(self.starts) == len(self.sizes) == len(self.steps) == len(value) - 1
        require(same, f"{self.starts}, {self.sizes}, {self.steps} of {value}")
        for start, length, step, whole in zip(self.starts, self.sizes, self.steps, value[1:], strict=True):
            last = start + (length - 1) * step
            inside = length >= 1 and step != 0 and 0 <= start < static(whole) and 0 <= last < static(whole)
            require(inside, f"{length} from {start} by {step} lie outside of {whole}")
        return (value[0], *self.sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Filled(Operation):
    """The same ``constant`` for every row of the batch of its input, whose numbers do not matter."""

    constant: Weights

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        return (value[0], *self.constant.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Regroup(Operation):
    """Another shape for the same numbers, in which the batch axis takes up others or gives some away.

    Windows of an image that are computed like images of their own. ``shape`` excludes the batch axis.
    """

    shape: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        have, wanted = prod(static(axis) for axis in value[1:]), prod(self.shape)
        require(have % wanted == 0 or wanted % have == 0, f"{value[1:]} cannot be parted into {self.shape}")
        if value[0] is None:
            return (None, *self.shape)
        require(value[0] * have % wanted == 0, f"{value} cannot be parted into {self.shape}")
        return (value[0] * have // wanted, *self.shape)


def _inside(axis: int, value: Shape) -> None:
    require(0 < axis < len(value), f"axis {axis} of {value}")
