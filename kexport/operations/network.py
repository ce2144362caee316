"""Operations of image networks: convolutions, pools, sums, normalisations, activations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from kexport.operations.base import (
    NO_PADDING,
    Activation,
    Operation,
    Padding,
    Pair,
    Shape,
    Weights,
    broadcast,
    count,
    image,
    require,
    static,
    windows,
)


class PoolKind(StrEnum):
    """How a window becomes one number. Averages never count padding."""

    MAX = "max"
    AVERAGE = "average"


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
        (batch, height, width, channels) = image(inputs, 1)[0]
        rows, columns, per_group, out = self.kernel.shape
        require(channels == per_group * self.groups, f"{channels} channels, kernel wants {per_group * self.groups}")
        require(out % self.groups == 0, f"{out} outputs do not divide into {self.groups} groups")
        require(self.bias is None or self.bias.shape == (out,), "bias and kernel differ in length")
        window = ((rows - 1) * self.dilation[0] + 1, (columns - 1) * self.dilation[1] + 1)
        extent = windows((height, width), window, self.strides, self.padding)
        return (batch, *extent, out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Operation):
    """Matrix product over the last axis of an input of rank 2 or more, with bias and fused activation."""

    kernel: Weights
    bias: Weights | None = None
    activation: Activation | None = None

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(value[-1] == self.kernel.shape[0], f"{value[-1]} features, kernel wants {self.kernel.shape[0]}")
        return (*value[:-1], self.kernel.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """Windowed maximum or average; padding never wins a maximum and never counts in an average."""

    kind: PoolKind
    size: Pair
    strides: Pair
    padding: Padding = NO_PADDING

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = image(inputs, 1)[0]
        return (batch, *windows((height, width), self.size, self.strides, self.padding), channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalPool(Operation):
    """Maximum or average over height and width: ``(N, C)``, or ``(N, 1, 1, C)`` with ``keepdims``."""

    kind: PoolKind
    keepdims: bool = False

    def infer(self, *inputs: Shape) -> Shape:
        (batch, _, _, channels) = image(inputs, 1)[0]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Operation):
    """Zeros around height and width."""

    padding: Padding

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = image(inputs, 1)[0]
        (top, bottom), (left, right) = self.padding
        return (batch, height + top + bottom, width + left + right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(Operation):
    """Removes rows and columns at the borders."""

    cropping: Padding

    def infer(self, *inputs: Shape) -> Shape:
        (batch, height, width, channels) = image(inputs, 1)[0]
        (top, bottom), (left, right) = self.cropping
        require(top + bottom < height and left + right < width, "nothing would be left of the image")
        return (batch, height - top - bottom, width - left - right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Operation):
    """Sum of two or more values, broadcast as in numpy, with an optional fused activation."""

    activation: Activation | None = None

    def infer(self, *inputs: Shape) -> Shape:
        require(len(inputs) >= 2, f"a sum needs two inputs, got {len(inputs)}")
        return broadcast(*inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Operation):
    """Product of two values, broadcast as in numpy."""

    def infer(self, *inputs: Shape) -> Shape:
        return broadcast(*count(inputs, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Operation):
    """Joins values on the last axis."""

    def infer(self, *inputs: Shape) -> Shape:
        require(len(inputs) >= 1, "nothing to join")
        require(len({value[:-1] for value in inputs}) == 1, f"shapes {inputs} differ before the last axis")
        return (*inputs[0][:-1], sum(static(value[-1]) for value in inputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleShift(Operation):
    """``x * scale + offset`` along the last axis: BatchNormalization, Rescaling, Normalization, LayerScale.

    ``scale`` and ``offset`` have shape ``(C,)`` each.
    """

    scale: Weights
    offset: Weights

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(
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
        (value,) = count(inputs, 1)
        require(self.gamma.shape == self.beta.shape == (value[-1],), f"gamma and beta must be ({value[-1]},)")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Activate(Operation):
    """One of `Activation`, on its own."""

    function: Activation

    def infer(self, *inputs: Shape) -> Shape:
        return count(inputs, 1)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Operation):
    """``min(max(x, minimum), maximum)``."""

    minimum: float
    maximum: float

    def infer(self, *inputs: Shape) -> Shape:
        require(self.minimum < self.maximum, f"minimum {self.minimum} is not below maximum {self.maximum}")
        return count(inputs, 1)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Operation):
    """Another shape for the same numbers in NHWC order. ``shape`` excludes the batch axis."""

    shape: tuple[int, ...]

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        have = prod(static(axis) for axis in value[1:])
        require(have == prod(self.shape), f"{value[1:]} has {have} numbers, {self.shape} wants {prod(self.shape)}")
        return (value[0], *self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class TransposedConv(Operation):
    """The gradient of a convolution: every input cell adds its kernel times itself to the output.

    ``kernel`` is ``(height, width, in, out)``. Without ``cropping`` and ``extra``, ``n`` cells give
    ``(n - 1) * stride + (kernel - 1) * dilation + 1``; ``cropping`` takes cells away at the borders,
    ``extra`` adds empty ones (only the bias) at the end, fewer than the stride.
    """

    kernel: Weights
    bias: Weights | None = None
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)
    cropping: Padding = NO_PADDING
    extra: Pair = (0, 0)

    def infer(self, *inputs: Shape) -> Shape:
        (batch, *extent, channels) = image(inputs, 1)[0]
        rows, columns, wanted, out = self.kernel.shape
        require(channels == wanted, f"{channels} channels, kernel wants {wanted}")
        require(self.bias is None or self.bias.shape == (out,), "bias and kernel differ in length")
        require(all(self.extra[axis] < self.strides[axis] for axis in (0, 1)), f"{self.extra} is not below the strides")
        reach = [
            (extent[axis] - 1) * self.strides[axis] + (cells - 1) * self.dilation[axis] + 1 + self.extra[axis]
            for axis, cells in enumerate((rows, columns))
        ]
        height, width = (reach[axis] - sum(self.cropping[axis]) for axis in (0, 1))
        require(height > 0 and width > 0, f"cropping {self.cropping} leaves nothing of {reach}")
        return (batch, height, width, out)


class ResizeKind(StrEnum):
    """How a pixel between pixels is made. Pixel centres lie at halves, the border pixel continues outwards.

    As `tf.image.resize` without antialiasing (``half_pixel_centers``).
    """

    NEAREST = "nearest"
    BILINEAR = "bilinear"


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Operation):
    """Another height and width for an image. ``size`` is ``(height, width)``."""

    kind: ResizeKind
    size: Pair

    def infer(self, *inputs: Shape) -> Shape:
        (batch, _, _, channels) = image(inputs, 1)[0]
        require(min(self.size) >= 1, f"size {self.size}, both must be at least 1")
        return (batch, *self.size, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupNorm(Operation):
    """Normalisation over height, width and the channels of each group (Wu and He 2018), then gamma and beta."""

    groups: int
    gamma: Weights
    beta: Weights
    epsilon: float

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = image(inputs, 1)
        require(value[3] % self.groups == 0, f"{value[3]} channels do not divide into {self.groups} groups")
        require(self.gamma.shape == self.beta.shape == (value[3],), f"gamma and beta must be ({value[3]},)")
        return value
