"""Images of another size, patches, and channels that become pixels.

Every interpolation is linear along each axis: its matrix is asked of Keras, which is shown the unit matrix. So all
modes of `keras.ops.image.resize` are one product per axis, smoothed ones and those that keep the aspect too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, require
from kexport.lowerings.joining import cut, joined
from kexport.lowerings.primitives import reduce, reshape, sizes, transpose
from kexport.lowerings.windows import same_padding
from kexport.operations import NO_PADDING, Conv, Dense, ReduceKind, Resize, ResizeKind, Weights

LARGEST_PROBE = 1 << 26
"""Numbers of the image that is shown to Keras; 512 x 512 pixels in 256 channels."""


def probed(function: Callable[[Any], Any], length: int) -> Weights:
    """The matrix ``(new, old)`` of a linear function of rows ``(1, old, channels)``."""
    made: Weights = np.asarray(function(np.eye(length, dtype=np.float32)[np.newaxis]), np.float32)[0]
    return made


def along(build: Builder, value: Value, axis: int, matrix: Weights, part: str = "") -> Value:
    """The product of a matrix ``(new, old)`` with an axis of the value."""
    rank = len(value.shape)
    order = [*(place for place in range(rank) if place != axis), axis]
    turned = transpose(build, value, order, part=f"{part}/turned")
    made = build.emit(Dense(kernel=np.ascontiguousarray(matrix.T)), turned, part=f"{part}/product")
    return transpose(build, made, [order.index(place) for place in range(rank)], part=part)


def adaptive_maximum(build: Builder, value: Value, axis: int, size: int) -> Value:
    """The maxima of ``size`` parts of an axis, which overlap where it cannot be divided."""
    length = sizes(value)[axis - 1]
    if size == length:
        return value
    parts = []
    for number in range(size):
        start, stop = number * length // size, -(-(number + 1) * length // size)
        span = cut(build, value, axis, start, stop - start, part=f"axis{axis}/cut{number}")
        parts.append(reduce(build, ReduceKind.MAXIMUM, span, [axis], part=f"axis{axis}/part{number}"))
    return joined(build, parts, axis, part=f"axis{axis}")


@lowers("operation", "Resize")
def ops_resize(build: Builder, operation: Any, value: Value) -> Value:
    """`keras.ops.image.resize` of images."""
    size = int(operation.size[0]), int(operation.size[1])
    return resized(build, operation, value, size, operation.interpolation)


def resized(build: Builder, layer: Any, value: Value, size: tuple[int, int], interpolation: str) -> Value:
    """An image by any interpolation; the plain ones as operations of their own."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    require(len(value.shape) == 4, layer, f"a value of shape {value.shape}")
    kinds = [kind for kind in ResizeKind if kind == interpolation]
    special = [name for name in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio") if getattr(layer, name, 0)]
    if kinds and not special:
        return value if value.shape[1:3] == size else build.emit(Resize(kind=kinds[0], size=size), value)
    padded = "pad_to_aspect_ratio" in special
    require(not padded or getattr(layer, "fill_value", 0) == 0, layer, "a border of another colour than 0")
    matrices = [_interpolation(layer, value, size, axis, interpolation) for axis in (1, 2)]
    for axis, matrix in enumerate(matrices, start=1):
        value_is_same = matrix.shape[0] == matrix.shape[1] and bool(np.all(matrix == np.eye(len(matrix))))
        if not value_is_same:
            value = along(build, value, axis, matrix, part=f"axis{axis}")
    return value


def _interpolation(layer: Any, value: Value, size: tuple[int, int], axis: int, interpolation: str) -> Weights:
    """How the lengths along one axis are mixed, where the other one is constant."""
    import keras

    options = {
        name: getattr(layer, name, False) for name in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
    }
    keeps = options["crop_to_aspect_ratio"] or options["pad_to_aspect_ratio"]
    lengths = [sizes(value)[0], sizes(value)[1]]
    source, target = (lengths, list(size)) if keeps else ([1, 1], [1, 1])
    source[axis - 1], target[axis - 1] = lengths[axis - 1], size[axis - 1]
    length = source[axis - 1]
    require(source[0] * source[1] * length <= LARGEST_PROBE, layer, f"an image of {value.shape} that keeps its aspect")
    eye = np.eye(length, dtype=np.float32)
    shape = [1, 1, 1, length]
    shape[axis] = length
    image = np.broadcast_to(eye.reshape(shape), (1, source[0], source[1], length))
    made = np.asarray(
        keras.ops.image.resize(
            image, tuple(target), interpolation=interpolation, data_format="channels_last", **options
        )
    )[0]
    return np.asarray(made[:, made.shape[1] // 2] if axis == 1 else made[made.shape[0] // 2], np.float32)


@lowers("operation", "ExtractPatches")
def extract_patches(build: Builder, operation: Any, value: Value) -> Value:
    """Patches as channels: moved where they tile the image, else gathered by a convolution with ones."""
    require(operation.data_format == "channels_last", operation, f"data format {operation.data_format!r}")
    require(len(value.shape) == 4 and len(operation.size) == 2, operation, f"patches of {value.shape}")
    size = int(operation.size[0]), int(operation.size[1])
    strides = _two(operation.strides)
    dilation = _two(operation.dilation_rate)
    height, width, channels = sizes(value)
    if strides == size and dilation == (1, 1) and height % size[0] == 0 and width % size[1] == 0:
        rows, columns = height // size[0], width // size[1]
        apart = reshape(build, value, (rows, size[0], columns, size[1], channels), part="apart")
        turned = transpose(build, apart, (0, 1, 3, 2, 4, 5), part="turned")
        return reshape(build, turned, (rows, columns, size[0] * size[1] * channels))
    count = size[0] * size[1] * channels
    kernel = np.eye(count, dtype=np.float32).reshape(*size, channels, count)
    padding = NO_PADDING if operation.padding == "valid" else same_padding(value.shape, size, strides, dilation)
    return build.emit(Conv(kernel=kernel, strides=strides, padding=padding, dilation=dilation), value)


def _two(numbers: Any) -> tuple[int, int]:
    return (int(numbers), int(numbers)) if isinstance(numbers, int) else (int(numbers[0]), int(numbers[1]))


@lowers("operation", "DepthToSpace")
def depth_to_space(build: Builder, operation: Any, value: Value) -> Value:
    """Channels become pixels, block by block."""
    require(operation.data_format == "channels_last", operation, f"data format {operation.data_format!r}")
    block, (height, width, channels) = int(operation.block_size), sizes(value)
    apart = reshape(build, value, (height, width, block, block, channels // block**2), part="apart")
    turned = transpose(build, apart, (0, 1, 3, 2, 4, 5), part="turned")
    return reshape(build, turned, (height * block, width * block, channels // block**2))


@lowers("operation", "SpaceToDepth")
def space_to_depth(build: Builder, operation: Any, value: Value) -> Value:
    """Pixels become channels, block by block."""
    require(operation.data_format == "channels_last", operation, f"data format {operation.data_format!r}")
    block, (height, width, channels) = int(operation.block_size), sizes(value)
    apart = reshape(build, value, (height // block, block, width // block, block, channels), part="apart")
    turned = transpose(build, apart, (0, 1, 3, 2, 4, 5), part="turned")
    return reshape(build, turned, (height // block, width // block, block**2 * channels))


@lowers("operation", "RGBToGrayscale")
def rgb_to_grayscale(build: Builder, operation: Any, value: Value) -> Value:
    """A weighted sum of the colours, as Keras weighs them."""
    import keras

    require(operation.data_format == "channels_last", operation, f"data format {operation.data_format!r}")
    colours = np.eye(3, dtype=np.float32).reshape(1, 3, 1, 3)
    shares = np.asarray(keras.ops.image.rgb_to_grayscale(colours, data_format="channels_last"), np.float32)
    return build.emit(Dense(kernel=shares.reshape(3, 1)), value)
