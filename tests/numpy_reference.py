"""Every operation of the graph in plain numpy: what files and plans are compared with."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np

from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    GlobalPool,
    LayerNorm,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)

ACTIVATIONS: dict[Activation | None, Callable[[np.ndarray], np.ndarray]] = {
    None: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.RELU6: lambda x: np.clip(x, 0, 6),
    Activation.SIGMOID: lambda x: 1 / (1 + np.exp(-x)),
    Activation.HARD_SIGMOID: lambda x: np.clip(x + 3, 0, 6) / 6,
    Activation.HARD_SWISH: lambda x: x * np.clip(x + 3, 0, 6) / 6,
    Activation.SILU: lambda x: x / (1 + np.exp(-x)),
    Activation.GELU: lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2,
    Activation.TANH: np.tanh,
    Activation.SOFTMAX: lambda x: (
        np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
}


def _windows(image: np.ndarray, size: Any, strides: Any, padding: Any, *, dilation: Any = (1, 1), fill: float = 0.0):
    image = np.pad(image, ((0, 0), *padding, (0, 0)), constant_values=fill)
    extent = tuple((size[axis] - 1) * dilation[axis] + 1 for axis in (0, 1))
    view = np.lib.stride_tricks.sliding_window_view(image, extent, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def _conv(op: Conv, image: np.ndarray) -> np.ndarray:
    view = _windows(image, op.kernel.shape[:2], op.strides, op.padding, dilation=op.dilation)
    inputs, kernels = np.split(view, op.groups, axis=3), np.split(op.kernel, op.groups, axis=3)
    parts = [np.einsum("nrcihw,hwio->nrco", x, k) for x, k in zip(inputs, kernels, strict=True)]
    return ACTIVATIONS[op.activation](np.concatenate(parts, axis=-1) + (0 if op.bias is None else op.bias))


def _pool(op: Pool, image: np.ndarray) -> np.ndarray:
    view = _windows(image, op.size, op.strides, op.padding, fill=np.nan)
    return (np.nanmax if op.kind is PoolKind.MAX else np.nanmean)(view, axis=(4, 5))


def _global_pool(op: GlobalPool, image: np.ndarray) -> np.ndarray:
    reduce = image.max if op.kind is PoolKind.MAX else image.mean
    return reduce(axis=(1, 2), keepdims=op.keepdims)


def _layer_norm(op: LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + op.epsilon) * op.gamma + op.beta


def _crop(op: Crop, x: np.ndarray) -> np.ndarray:
    (top, bottom), (left, right) = op.cropping
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


RULES: dict[type[Operation], Callable[..., np.ndarray]] = {
    Conv: _conv,
    Dense: lambda op, x: ACTIVATIONS[op.activation](x @ op.kernel + (0 if op.bias is None else op.bias)),
    Pool: _pool,
    GlobalPool: _global_pool,
    Pad: lambda op, x: np.pad(x, ((0, 0), *op.padding, (0, 0))),
    Crop: _crop,
    Add: lambda op, *values: ACTIVATIONS[op.activation](sum(values[1:], values[0])),
    Multiply: lambda op, left, right: left * right,
    Concat: lambda op, *values: np.concatenate(values, axis=-1),
    ScaleShift: lambda op, x: x * op.scale + op.offset,
    LayerNorm: _layer_norm,
    Activate: lambda op, x: ACTIVATIONS[op.function](x),
    Clip: lambda op, x: np.clip(x, op.minimum, op.maximum),
    Reshape: lambda op, x: x.reshape(len(x), *op.shape),
}


def compute(operation: Operation, *inputs: np.ndarray) -> np.ndarray:
    """One operation in float64."""
    return RULES[type(operation)](operation, *(np.asarray(value, np.float64) for value in inputs))
