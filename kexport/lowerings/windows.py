"""Pooling, padding and cropping: what moves a window over the image."""

from __future__ import annotations

from typing import Any

from kexport.lowerings import Builder, Value, lowers, require
from kexport.lowerings.primitives import reduce
from kexport.operations import NO_PADDING, Crop, GlobalPool, Pad, Padding, Pair, Pool, PoolKind, ReduceKind, Shape


def same_padding(shape: Shape, size: Pair, strides: Pair, dilation: Pair) -> Padding:
    """TensorFlow's SAME: the output has ``ceil(n / stride)`` places, the odd pixel goes to the end.

    Source: the padding section of the ``tf.nn`` documentation.
    """

    def along(axis: int) -> Pair:
        length = shape[1 + axis] or 0
        window = (size[axis] - 1) * dilation[axis] + 1
        total = max((-(-length // strides[axis]) - 1) * strides[axis] + window - length, 0)
        return total // 2, total - total // 2

    return along(0), along(1)


def _pool(build: Builder, layer: Any, value: Value, kind: PoolKind) -> Value:
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    size, strides = tuple(layer.pool_size), tuple(layer.strides)
    padding = same_padding(value.shape, size, strides, (1, 1)) if layer.padding == "same" else NO_PADDING
    return build.emit(Pool(kind=kind, size=size, strides=strides, padding=padding), value)


@lowers("layer", "MaxPooling2D")
def max_pooling2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.MaxPooling2D`."""
    return _pool(build, layer, value, PoolKind.MAX)


@lowers("layer", "AveragePooling2D")
def average_pooling2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.AveragePooling2D`: padding does not count."""
    return _pool(build, layer, value, PoolKind.AVERAGE)


@lowers("layer", "GlobalAveragePooling2D")
def global_average_pooling2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.GlobalAveragePooling2D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return build.emit(GlobalPool(kind=PoolKind.AVERAGE, keepdims=layer.keepdims), value)


@lowers("layer", "GlobalMaxPooling2D")
def global_max_pooling2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.GlobalMaxPooling2D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return build.emit(GlobalPool(kind=PoolKind.MAX, keepdims=layer.keepdims), value)


@lowers("layer", "GlobalAveragePooling1D")
def global_average_pooling1d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.GlobalAveragePooling1D` without a mask."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return reduce(build, ReduceKind.MEAN, value, [1], keepdims=layer.keepdims)


@lowers("layer", "GlobalMaxPooling1D")
def global_max_pooling1d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.GlobalMaxPooling1D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return reduce(build, ReduceKind.MAXIMUM, value, [1], keepdims=layer.keepdims)


@lowers("layer", "ZeroPadding2D")
def zero_padding2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.ZeroPadding2D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return build.emit(Pad(padding=_pairs(layer.padding)), value)


@lowers("layer", "Cropping2D")
def cropping2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Cropping2D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    return build.emit(Crop(cropping=_pairs(layer.cropping)), value)


def _pairs(pairs: Any) -> Padding:
    (top, bottom), (left, right) = pairs
    return (int(top), int(bottom)), (int(left), int(right))
