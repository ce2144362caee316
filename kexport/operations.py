"""The canonical operations of a graph: frozen values that carry their weights and infer shapes.

Layouts: feature maps are NHWC; convolution kernels are ``(height, width, in / groups, out)``, with the
output channels of one group next to each other; dense kernels are ``(in, out)``. A depthwise
convolution is a `Conv` with as many groups as input channels. All weights are float32.
Padding is always explicit: ``((top, bottom), (left, right))``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError

Shape = tuple[int | None, ...]
Weights = npt.NDArray[np.float32]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))


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


class PoolKind(StrEnum):
    """How a window becomes one number. Averages never count padding."""

    MAX = "max"
    AVERAGE = "average"


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation(ABC):
    """What a node computes. `infer` maps input shapes to the output shape, or raises GraphError."""

    @abstractmethod
    def infer(self, *inputs: Shape) -> Shape: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Operation):
    """2-D cross-correlation with bias and an optional fused activation (relu or relu6)."""

    kernel: Weights
    bias: Weights | None = None
    strides: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation | None = None

    @property
    def depthwise(self) -> bool:
        """One input channel per group, more than one group."""
        return self.groups > 1 and self.kernel.shape[2] == 1

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = _image(inputs, 1)[0]
        rows, columns, per_group, out = self.kernel.shape
        _require(channels == per_group * self.groups, f"{channels} channels, kernel wants {per_group * self.groups}")
        _require(out % self.groups == 0, f"{out} outputs do not divide into {self.groups} groups")
        _require(self.bias is None or self.bias.shape == (out,), "bias and kernel differ in length")
        window = ((rows - 1) * self.dilation[0] + 1, (columns - 1) * self.dilation[1] + 1)
        size = _windows((height, width), window, self.strides, self.padding)
        return (batch, *size, out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Operation):
    """Matrix product over the last axis of an input of rank 2 or more, with bias and fused activation."""

    kernel: Weights
    bias: Weights | None = None
    activation: Activation | None = None

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = _count(inputs, 1)
        _require(value[-1] == self.kernel.shape[0], f"{value[-1]} features, kernel wants {self.kernel.shape[0]}")
        return (*value[:-1], self.kernel.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """Windowed maximum or average; padding never wins a maximum and never counts in an average."""

    kind: PoolKind
    size: Pair
    strides: Pair
    padding: Padding = NO_PADDING

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = _image(inputs, 1)[0]
        return (batch, *_windows((height, width), self.size, self.strides, self.padding), channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalPool(Operation):
    """Maximum or average over height and width: ``(N, C)``, or ``(N, 1, 1, C)`` with ``keepdims``."""

    kind: PoolKind
    keepdims: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        (batch, _, _, channels) = _image(inputs, 1)[0]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Operation):
    """Zeros around height and width."""

    padding: Padding

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = _image(inputs, 1)[0]
        (top, bottom), (left, right) = self.padding
        return (batch, height + top + bottom, width + left + right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(Operation):
    """Removes rows and columns at the borders."""

    cropping: Padding

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = _image(inputs, 1)[0]
        (top, bottom), (left, right) = self.cropping
        _require(top + bottom < height and left + right < width, "nothing would be left of the image")
        return (batch, height - top - bottom, width - left - right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Operation):
    """Sum of two or more values, broadcast as in numpy, with an optional fused activation."""

    activation: Activation | None = None

    def infer(self, *inputs: Shape) -> Shape:
        _require(len(inputs) >= 2, f"a sum needs two inputs, got {len(inputs)}")
        return _broadcast(*inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Operation):
    """Product of two values, broadcast as in numpy."""

    def infer(self, *inputs: Shape) -> Shape:
        return _broadcast(*_count(inputs, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Operation):
    """Joins values on the last axis."""

    def infer(self, *inputs: Shape) -> Shape:
        _require(len(inputs) >= 1, "nothing to join")
        _require(len({value[:-1] for value in inputs}) == 1, f"shapes {inputs} differ before the last axis")
        return (*inputs[0][:-1], sum(_size(value[-1]) for value in inputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleShift(Operation):
    """``x * scale + offset`` along the last axis: BatchNormalization, Rescaling, Normalization, LayerScale.

    ``scale`` and ``offset`` have shape ``(C,)`` each.
    """

    scale: Weights
    offset: Weights

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = _count(inputs, 1)
        _require(
            self.scale.shape == self.offset.shape == (value[-1],),
            f"scale {self.scale.shape} and offset {self.offset.shape} must be ({value[-1]},)",
        )
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm(Operation):
    """Normalisation over the last axis (Ba et al. 2016): ``(x - mean) / sqrt(var + epsilon) * gamma + beta``."""

    gamma: Weights
    beta: Weights
    epsilon: float

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = _count(inputs, 1)
        _require(self.gamma.shape == self.beta.shape == (value[-1],), f"gamma and beta must be ({value[-1]},)")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Activate(Operation):
    """One of `Activation`, on its own."""

    function: Activation

    def infer(self, *inputs: Shape) -> Shape:
        return _count(inputs, 1)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Operation):
    """``min(max(x, minimum), maximum)``."""

    minimum: float
    maximum: float

    def infer(self, *inputs: Shape) -> Shape:
        _require(self.minimum < self.maximum, f"minimum {self.minimum} is not below maximum {self.maximum}")
        return _count(inputs, 1)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Operation):
    """Another shape for the same numbers in NHWC order. ``shape`` excludes the batch axis."""

    shape: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = _count(inputs, 1)
        have = prod(_size(axis) for axis in value[1:])
        _require(have == prod(self.shape), f"{value[1:]} has {have} numbers, {self.shape} wants {prod(self.shape)}")
        return (value[0], *self.shape)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise GraphError(message)


def _size(axis: int | None) -> int:
    if axis is None:
        raise GraphError("only the batch axis may be symbolic")
    return axis


def _count(inputs: tuple[Shape, ...], wanted: int) -> tuple[Shape, ...]:
    _require(len(inputs) == wanted, f"takes {wanted} input(s), got {len(inputs)}")
    return inputs


def _image(inputs: tuple[Shape, ...], wanted: int) -> tuple[tuple[int | None, int, int, int], ...]:
    _count(inputs, wanted)
    for value in inputs:
        _require(len(value) == 4, f"takes images (N, H, W, C), got shape {value}")
    return tuple((v[0], _size(v[1]), _size(v[2]), _size(v[3])) for v in inputs)


def _windows(size: Pair, window: Pair, strides: Pair, padding: Padding) -> Pair:
    def along(axis: int) -> int:
        free = size[axis] + sum(padding[axis]) - window[axis]
        _require(free >= 0, f"window {window} is larger than the padded image {size} + {padding}")
        return free // strides[axis] + 1

    return along(0), along(1)


def _broadcast(*inputs: Shape) -> Shape:
    rank = max(len(value) for value in inputs)
    padded = [(1,) * (rank - len(value)) + value for value in inputs]
    result: list[int | None] = []
    for axes in zip(*padded, strict=True):
        sizes = {axis for axis in axes if axis != 1}
        _require(len(sizes) <= 1, f"shapes {inputs} cannot be broadcast")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)
