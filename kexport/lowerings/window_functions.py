"""`keras.ops` that move a window: convolutions and pools of rows, images and volumes, in either data format.

Rows are images of one column; channels that come first are turned behind the rest and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.lowerings.primitives import reduce, reshape, sizes, transpose
from kexport.lowerings.resampling import adaptive_maximum, along, probed
from kexport.lowerings.windows import same_padding
from kexport.operations import (
    NO_PADDING,
    Conv,
    Conv3d,
    Pair,
    Pool,
    PoolKind,
    ReduceKind,
    TransposedConv,
    Weights,
)

Inner = Callable[[Value], Value]


def channels_last(build: Builder, operation: Any, value: Value, lower: Inner) -> Value:
    """What ``lower`` makes of the value with its channels behind, turned back."""
    if getattr(operation, "data_format", None) != "channels_first":
        return lower(value)
    rank = len(value.shape)
    turned = transpose(build, value, [0, *range(2, rank), 1], part="channels_last")
    made = lower(turned)
    return transpose(build, made, [0, len(made.shape) - 1, *range(1, len(made.shape) - 1)], part="channels_first")


def _tuple(numbers: Any, rank: int) -> tuple[int, ...]:
    return (int(numbers),) * rank if isinstance(numbers, int) else tuple(int(each) for each in numbers)


def _as_image(build: Builder, value: Value) -> Value:
    """Rows as an image of one column."""
    return reshape(build, value, (sizes(value)[0], 1, sizes(value)[1]), part="column")


def _as_rows(build: Builder, value: Value) -> Value:
    return reshape(build, value, (sizes(value)[0], sizes(value)[2]), part="rows")


def _pairs(operation: Any, value: Value, size: Sequence[int], strides: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    require(operation.padding in ("valid", "same"), operation, f"padding {operation.padding!r}")
    if operation.padding == "valid":
        return NO_PADDING
    return same_padding(value.shape, (size[0], size[1]), strides, dilation)


def _two(numbers: tuple[int, ...]) -> Pair:
    """Of an image, or of a column."""
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (numbers[0], 1)


def convolved(
    build: Builder, operation: Any, value: Value, kernel: Weights, groups: int, *, plain: bool = False
) -> Value:
    """An image, or rows, by a kernel ``(*size, in / groups, out)``."""
    rank = kernel.ndim - 2
    image = _as_image(build, value) if rank == 1 else value
    strides = (1, 1) if plain else _two(_tuple(operation.strides, rank))
    dilation = (1, 1) if plain else _two(_tuple(operation.dilation_rate, rank))
    whole = kernel[:, np.newaxis] if rank == 1 else kernel
    padding = _pairs(operation, image, whole.shape[:2], strides, dilation)
    conv = Conv(kernel=np.ascontiguousarray(whole), strides=strides, padding=padding, dilation=dilation, groups=groups)
    made = build.emit(conv, image, part="convolution")
    return _as_rows(build, made) if rank == 1 else made


def _kernel(operation: Any, kernel: Any) -> Weights:
    require(not isinstance(kernel, Value), operation, "a kernel that is computed")
    return weights(kernel)


@lowers("operation", "Conv")
def conv(build: Builder, operation: Any, value: Value, kernel: Any) -> Value:
    """`keras.ops.conv`."""
    numbers = _kernel(operation, kernel)

    def lower(image: Value) -> Value:
        if numbers.ndim == 5:
            return _volume(build, operation, image, numbers)
        return convolved(build, operation, image, numbers, groups=sizes(image)[-1] // numbers.shape[-2])

    return channels_last(build, operation, value, lower)


def _volume(build: Builder, operation: Any, value: Value, kernel: Weights) -> Value:
    require(sizes(value)[-1] == kernel.shape[3], operation, "a grouped convolution of volumes")
    strides, dilation = _tuple(operation.strides, 3), _tuple(operation.dilation_rate, 3)
    pairs = []
    for axis in range(3):
        column = (None, sizes(value)[axis], 1, 1)
        size, stride, gap = (kernel.shape[axis], 1), (strides[axis], 1), (dilation[axis], 1)
        same = operation.padding == "same"
        pairs.append(same_padding(column, size, stride, gap)[0] if same else (0, 0))
    conv3d = Conv3d(
        kernel=kernel,
        strides=(strides[0], strides[1], strides[2]),
        padding=(pairs[0], pairs[1], pairs[2]),
        dilation=(dilation[0], dilation[1], dilation[2]),
    )
    return build.emit(conv3d, value)


def _depthwise(kernel: Weights) -> Weights:
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


@lowers("operation", "DepthwiseConv")
def depthwise_conv(build: Builder, operation: Any, value: Value, kernel: Any) -> Value:
    """`keras.ops.depthwise_conv`: one group per channel."""
    numbers = _kernel(operation, kernel)
    return channels_last(
        build,
        operation,
        value,
        lambda image: convolved(build, operation, image, _depthwise(numbers), groups=numbers.shape[-2]),
    )


@lowers("operation", "SeparableConv")
def separable_conv(build: Builder, operation: Any, value: Value, depthwise: Any, pointwise: Any) -> Value:
    """`keras.ops.separable_conv`: channel by channel, then pixel by pixel."""
    first, second = _kernel(operation, depthwise), _kernel(operation, pointwise)

    def lower(image: Value) -> Value:
        middle = convolved(build, operation, image, _depthwise(first), groups=first.shape[-2])
        return convolved(build, operation, middle, second, groups=1, plain=True)

    return channels_last(build, operation, value, lower)


@lowers("operation", "ConvTranspose")
def conv_transpose(build: Builder, operation: Any, value: Value, kernel: Any) -> Value:
    """`keras.ops.conv_transpose` of rows and images."""
    numbers = _kernel(operation, kernel)
    rank = numbers.ndim - 2
    require(rank < 3, operation, "a transposed convolution of volumes")
    first = operation.data_format == "channels_first"
    target = build.stated[0][2:] if first else build.stated[0][1:-1]
    whole = numbers[:, np.newaxis] if rank == 1 else numbers
    strides, dilation = _two(_tuple(operation.strides, rank)), _two(_tuple(operation.dilation_rate, rank))
    wanted = [int(each or 0) for each in target] + [1] * (2 - rank)

    def lower(inner: Value) -> Value:
        image = _as_image(build, inner) if rank == 1 else inner
        borders = []
        for axis in (0, 1):
            extent = (whole.shape[axis] - 1) * dilation[axis] + 1
            reach = (sizes(image)[axis] - 1) * strides[axis] + extent
            before = max(reach - wanted[axis], 0) // 2 if operation.padding == "same" else 0
            after = reach - wanted[axis] - before
            borders.append((before, max(after, 0), max(-after, 0)))
        transposed = TransposedConv(
            kernel=np.ascontiguousarray(whole.transpose(0, 1, 3, 2)),
            strides=strides,
            dilation=dilation,
            cropping=((borders[0][0], borders[0][1]), (borders[1][0], borders[1][1])),
            extra=(borders[0][2], borders[1][2]),
        )
        made = build.emit(transposed, image, part="convolution")
        return _as_rows(build, made) if rank == 1 else made

    return channels_last(build, operation, value, lower)


def _pool(kind: PoolKind) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        return channels_last(build, operation, value, lambda image: pooled(build, operation, image, kind))

    return lower


def pooled(build: Builder, operation: Any, value: Value, kind: PoolKind) -> Value:
    """Rows, images and volumes; a volume first over its images, then along its depth."""
    rank = len(value.shape) - 2
    size = _tuple(operation.pool_size, rank)
    strides = size if operation.strides is None else _tuple(operation.strides, rank)
    if rank == 1:
        made = _window(build, operation, _as_image(build, value), kind, size=(size[0], 1), strides=(strides[0], 1))
        return _as_rows(build, made)
    if rank == 2:
        return _window(build, operation, value, kind, size=(size[0], size[1]), strides=(strides[0], strides[1]))
    depth, height, width, channels = sizes(value)
    turned = transpose(build, value, (0, 2, 3, 1, 4), part="turned")
    images = reshape(build, turned, (height, width, depth * channels), part="images")
    flat = _window(build, operation, images, kind, size=(size[1], size[2]), strides=(strides[1], strides[2]))
    height, width, _ = sizes(flat)
    apart = reshape(build, flat, (height, width, depth, channels), part="apart")
    turned = transpose(build, apart, (0, 3, 1, 2, 4), part="back")
    slices = reshape(build, turned, (depth, height * width, channels), part="slices")
    deep = _window(build, operation, slices, kind, size=(size[0], 1), strides=(strides[0], 1))
    return reshape(build, deep, (sizes(deep)[0], height, width, channels), part="volume")


def _window(build: Builder, operation: Any, value: Value, kind: PoolKind, *, size: Pair, strides: Pair) -> Value:
    padding = _pairs(operation, value, size, strides, (1, 1))
    return build.emit(Pool(kind=kind, size=size, strides=strides, padding=padding), value, part="pool")


lowers("operation", "MaxPool")(_pool(PoolKind.MAX))
lowers("operation", "AveragePool")(_pool(PoolKind.AVERAGE))


@lowers("layer", "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")
@lowers("operation", "AdaptiveAveragePool")
def adaptive_average_pool(build: Builder, operation: Any, value: Value) -> Value:
    """Averages of as many parts as asked for: a product along each axis."""
    import keras

    def lower(image: Value) -> Value:
        for axis, size in enumerate(_tuple(operation.output_size, len(image.shape) - 2), start=1):
            length = sizes(image)[axis - 1]

            def shares(eye: Any, size: int = size) -> Any:
                return keras.ops.adaptive_average_pool(eye, (size,), data_format="channels_last")

            if size == 1:
                image = reduce(build, ReduceKind.MEAN, image, [axis], part=f"axis{axis}")
            elif size != length:
                image = along(build, image, axis, probed(shares, length), part=f"axis{axis}")
        return image

    return channels_last(build, operation, value, lower)


@lowers("layer", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")
@lowers("operation", "AdaptiveMaxPool")
def adaptive_max_pool(build: Builder, operation: Any, value: Value) -> Value:
    """Maxima of as many parts as asked for."""

    def lower(image: Value) -> Value:
        for axis, size in enumerate(_tuple(operation.output_size, len(image.shape) - 2), start=1):
            image = adaptive_maximum(build, image, axis, size)
        return image

    return channels_last(build, operation, value, lower)
