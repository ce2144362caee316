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
    Binary,
    BinaryKind,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    Elementwise,
    Function,
    GlobalPool,
    GroupNorm,
    Join,
    LayerNorm,
    LeakyRelu,
    MatMul,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reduce,
    ReduceKind,
    Reshape,
    Resize,
    ResizeKind,
    ScaleShift,
    Slice,
    Threshold,
    Transpose,
    TransposedConv,
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


def _transposed_conv(op: TransposedConv, x: np.ndarray) -> np.ndarray:
    extent = [(size - 1) * gap + 1 for size, gap in zip(op.kernel.shape[:2], op.dilation, strict=True)]
    size = [(x.shape[1 + axis] - 1) * op.strides[axis] + extent[axis] + op.extra[axis] for axis in (0, 1)]
    whole = np.zeros((len(x), *size, op.kernel.shape[3]))
    for row, column in np.ndindex(x.shape[1:3]):
        top, left = row * op.strides[0], column * op.strides[1]
        cells = whole[:, top : top + extent[0] : op.dilation[0], left : left + extent[1] : op.dilation[1]]
        cells += np.einsum("ni,hwio->nhwo", x[:, row, column], op.kernel)
    cut = _crop(Crop(cropping=op.cropping), whole)
    return cut + (0 if op.bias is None else op.bias)


def _resize(op: Resize, x: np.ndarray) -> np.ndarray:
    for axis, length in enumerate(op.size, start=1):
        places = (np.arange(length) + 0.5) * x.shape[axis] / length
        if op.kind is ResizeKind.NEAREST:
            x = np.take(x, np.floor(places).astype(int), axis=axis)
            continue
        places = np.clip(places - 0.5, 0, x.shape[axis] - 1)
        below = np.minimum(np.floor(places).astype(int), max(x.shape[axis] - 2, 0))
        above = np.minimum(below + 1, x.shape[axis] - 1)
        share = (places - below).reshape([-1 if each == axis else 1 for each in range(4)])
        x = np.take(x, below, axis=axis) * (1 - share) + np.take(x, above, axis=axis) * share
    return x


def _group_norm(op: GroupNorm, x: np.ndarray) -> np.ndarray:
    parts = np.split(x, op.groups, axis=-1)
    normal = [
        (p - p.mean((1, 2, 3), keepdims=True)) / np.sqrt(p.var((1, 2, 3), keepdims=True) + op.epsilon) for p in parts
    ]
    return np.concatenate(normal, axis=-1) * op.gamma + op.beta


def _binary(op: Binary, *values: np.ndarray) -> np.ndarray:
    if op.constant is not None:
        values = (op.constant, *values) if op.constant_first else (*values, op.constant)
    return BINARIES[op.kind](*values)


BINARIES: dict[BinaryKind, Callable[..., np.ndarray]] = {kind: getattr(np, kind.value) for kind in BinaryKind}
REDUCTIONS: dict[ReduceKind, Callable[..., np.ndarray]] = {
    ReduceKind.MEAN: np.mean,
    ReduceKind.SUM: np.sum,
    ReduceKind.MAXIMUM: np.max,
    ReduceKind.MINIMUM: np.min,
}
FUNCTIONS: dict[Function, Callable[[np.ndarray], np.ndarray]] = {
    Function.ABSOLUTE: np.abs,
    Function.NEGATIVE: np.negative,
    Function.EXPONENTIAL: np.exp,
    Function.LOGARITHM: np.log,
    Function.SQUARE: np.square,
    Function.SQUARE_ROOT: np.sqrt,
    Function.INVERSE_SQUARE_ROOT: lambda x: 1 / np.sqrt(x),
    Function.SINE: np.sin,
    Function.COSINE: np.cos,
    Function.FLOOR: np.floor,
    Function.CEILING: np.ceil,
    Function.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    Function.SOFTPLUS: lambda x: np.logaddexp(0, x),
    Function.SOFTSIGN: lambda x: x / (1 + np.abs(x)),
    Function.GELU_TANH: lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
}
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
    TransposedConv: _transposed_conv,
    Resize: _resize,
    GroupNorm: _group_norm,
    Elementwise: lambda op, x: FUNCTIONS[op.function](x),
    Binary: _binary,
    LeakyRelu: lambda op, x: np.where(x > 0, x, op.slope * x),
    Threshold: lambda op, x: np.where(x > op.threshold, x, op.otherwise),
    Reduce: lambda op, x: REDUCTIONS[op.kind](x, axis=op.axes, keepdims=op.keepdims),
    Transpose: lambda op, x: x.transpose(op.order),
    Slice: lambda op, x: x[(slice(None), *(slice(a, a + n) for a, n in zip(op.starts, op.sizes, strict=True)))],
    Join: lambda op, *values: np.concatenate(values, axis=op.axis),
    MatMul: lambda op, left, right: left @ right,
}


def compute(operation: Operation, *inputs: np.ndarray) -> np.ndarray:
    """One operation in float64."""
    return RULES[type(operation)](operation, *(np.asarray(value, np.float64) for value in inputs))
