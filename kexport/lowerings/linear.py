"""Convolutions and dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.activations import activate, is_linear
from kexport.lowerings.windows import same_padding
from kexport.operations import NO_PADDING, Conv, Dense, Pair, Weights


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
