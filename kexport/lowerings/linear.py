"""Convolutions and dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.activations import activate, is_linear
from kexport.lowerings.primitives import reshape, sizes
from kexport.lowerings.windows import same_padding
from kexport.operations import NO_PADDING, Conv, Dense, Pair, TransposedConv, Weights


def _convolve(build: Builder, layer: Any, value: Value, *, kernel: Weights, groups: int, part: str) -> Value:
    dilation: Pair = tuple(layer.dilation_rate)
    strides: Pair = tuple(layer.strides)
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    operation = Conv(
        kernel=kernel,
        bias=weights(layer.bias) if layer.use_bias else None,
        strides=strides,
        padding=_padding(layer, value, (kernel.shape[0], kernel.shape[1]), strides, dilation),
        dilation=dilation,
        groups=groups,
    )
    return build.emit(operation, value, part=part)


def _padding(layer: Any, value: Value, size: Pair, strides: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if layer.padding == "valid":
        return NO_PADDING
    if layer.padding == "same":
        return same_padding(value.shape, size, strides, dilation)
    raise refuse(layer, f"padding {layer.padding!r}")


def _depthwise(kernel: Weights) -> Weights:
    rows, columns, channels, multiplier = kernel.shape
    return kernel.reshape(rows, columns, 1, channels * multiplier)


@lowers("layer", "Conv2D")
def conv2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Conv2D`, grouped ones included."""
    part = "" if is_linear(layer) else "convolution"
    result = _convolve(build, layer, value, kernel=weights(layer.kernel), groups=layer.groups, part=part)
    return activate(build, layer, result)


@lowers("layer", "DepthwiseConv2D")
def depthwise_conv2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.DepthwiseConv2D`: one group per input channel."""
    kernel = weights(layer.kernel)
    part = "" if is_linear(layer) else "convolution"
    result = _convolve(build, layer, value, kernel=_depthwise(kernel), groups=kernel.shape[2], part=part)
    return activate(build, layer, result)


@lowers("layer", "Conv2DTranspose")
def conv2d_transpose(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Conv2DTranspose`: TensorFlow crops as the SAME or VALID convolution of its output would pad."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    kernel = np.ascontiguousarray(weights(layer.kernel).transpose(0, 1, 3, 2))
    target = layer.compute_output_shape(value.shape)
    borders = [_borders(layer, axis, length=value.shape[1 + axis] or 0, target=target[1 + axis]) for axis in (0, 1)]
    operation = TransposedConv(
        kernel=kernel,
        bias=weights(layer.bias) if layer.use_bias else None,
        strides=tuple(layer.strides),
        dilation=tuple(layer.dilation_rate),
        cropping=((borders[0][0], borders[0][1]), (borders[1][0], borders[1][1])),
        extra=(borders[0][2], borders[1][2]),
    )
    return activate(build, layer, build.emit(operation, value, part="" if is_linear(layer) else "convolution"))


def _borders(layer: Any, axis: int, *, length: int, target: int) -> tuple[int, int, int]:
    """What is cropped before and after, and what is added after, so that ``target`` places are left."""
    stride, extent = layer.strides[axis], (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
    whole = (length - 1) * stride + extent
    before = max(whole - target, 0) // 2 if layer.padding == "same" else 0
    after = whole - target - before
    return before, max(after, 0), max(-after, 0)


@lowers("layer", "Conv1D")
def conv1d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Conv1D`: a `Conv` over images of one column."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    kernel = weights(layer.kernel)
    size, stride, dilation = kernel.shape[0], layer.strides[0], layer.dilation_rate[0]
    length, channels = sizes(value)
    rows = {
        "valid": (0, 0),
        "same": same_padding((None, length, 1), (size, 1), (stride, 1), (dilation, 1))[0],
        "causal": ((size - 1) * dilation, 0),
    }[layer.padding]
    operation = Conv(
        kernel=kernel[:, np.newaxis],
        bias=weights(layer.bias) if layer.use_bias else None,
        strides=(stride, 1),
        padding=(rows, (0, 0)),
        dilation=(dilation, 1),
        groups=layer.groups,
    )
    result = build.emit(operation, reshape(build, value, (length, 1, channels), part="column"), part="convolution")
    part = "" if is_linear(layer) else "rows"
    return activate(build, layer, reshape(build, result, (sizes(result)[0], sizes(result)[2]), part=part))


@lowers("layer", "SeparableConv2D")
def separable_conv2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.SeparableConv2D`: depthwise without bias, then pointwise with it."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    depthwise = weights(layer.depthwise_kernel)
    dilation, strides = tuple(layer.dilation_rate), tuple(layer.strides)
    first = Conv(
        kernel=_depthwise(depthwise),
        strides=strides,
        padding=_padding(layer, value, (depthwise.shape[0], depthwise.shape[1]), strides, dilation),
        dilation=dilation,
        groups=depthwise.shape[2],
    )
    second = Conv(kernel=weights(layer.pointwise_kernel), bias=weights(layer.bias) if layer.use_bias else None)
    middle = build.emit(first, value, part="depthwise")
    return activate(build, layer, build.emit(second, middle, part="" if is_linear(layer) else "pointwise"))


@lowers("layer", "Dense")
def dense(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Dense` on inputs of rank 2 or more."""
    bias = weights(layer.bias) if layer.use_bias else None
    part = "" if is_linear(layer) else "logits" if _is_softmax(layer) else "product"
    kernel = np.asarray(weights(layer.kernel))
    return activate(build, layer, build.emit(Dense(kernel=kernel, bias=bias), value, part=part))


def _is_softmax(layer: Any) -> bool:
    return getattr(layer.activation, "__name__", "") == "softmax"
