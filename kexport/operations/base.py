"""What every operation is, and how shapes are checked and inferred."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError

Shape = tuple[int | None, ...]
Weights = npt.NDArray[np.float32]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(ABC):
    """What a node computes. `infer` maps input shapes to the output shape, or raises GraphError."""

    @abstractmethod
    def infer(self, *inputs: Shape) -> Shape: ...


class Activation(StrEnum):
    """Element-wise functions (and softmax over the last axis), as defined by `keras.activations`."""

    RELU = "relu"
    RELU6 = "relu6"
    SIGMOID = "sigmoid"
    HARD_SIGMOID = "hard_sigmoid"  # relu6(x + 3) / 6
    HARD_SWISH = "hard_swish"  # x * hard_sigmoid(x)
    SILU = "silu"  # x * sigmoid(x)
    GELU = "gelu"  # exact: x * (1 + erf(x / sqrt 2)) / 2
    TANH = "tanh"
    SOFTMAX = "softmax"

    @property
    def non_negative(self) -> bool:
        """Whether every result is at least zero."""
        return self in _NON_NEGATIVE


_NON_NEGATIVE = frozenset(
    {Activation.RELU, Activation.RELU6, Activation.SIGMOID, Activation.HARD_SIGMOID, Activation.SOFTMAX}
)


def require(condition: bool, message: str) -> None:
    """Raise GraphError unless ``condition`` holds."""
    if not condition:
        raise GraphError(message)


def static(axis: int | None) -> int:
    """An axis that is a number."""
    if axis is None:
        raise GraphError("only the batch axis may be symbolic")
    return axis


def count(inputs: tuple[Shape, ...], wanted: int) -> tuple[Shape, ...]:
    """``inputs``, if there are ``wanted`` of them."""
    require(len(inputs) == wanted, f"takes {wanted} input(s), got {len(inputs)}")
    return inputs


def image(inputs: tuple[Shape, ...], wanted: int) -> tuple[tuple[int | None, int, int, int], ...]:
    """``inputs``, if they are ``wanted`` images."""
    count(inputs, wanted)
    for value in inputs:
        require(len(value) == 4, f"takes images (N, H, W, C), got shape {value}")
    return tuple((v[0], static(v[1]), static(v[2]), static(v[3])) for v in inputs)


def windows(size: Pair, window: Pair, strides: Pair, padding: Padding) -> Pair:
    """How many windows fit along height and width."""

    def along(axis: int) -> int:
        free = size[axis] + sum(padding[axis]) - window[axis]
        require(free >= 0, f"window {window} is larger than the padded image {size} + {padding}")
        return free // strides[axis] + 1

    return along(0), along(1)


def broadcast(*inputs: Shape) -> Shape:
    """The common shape by numpy's rules."""
    rank = max(len(value) for value in inputs)
    padded = [(1,) * (rank - len(value)) + value for value in inputs]
    result: list[int | None] = []
    for axes in zip(*padded, strict=True):
        sizes = {axis for axis in axes if axis != 1}
        require(len(sizes) <= 1, f"shapes {inputs} cannot be broadcast")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)
