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
    ArgExtreme,
    Binary,
    BinaryKind,
    Cell,
    Clip,
    Compare,
    Concat,
    Conv,
    Conv3d,
    Crop,
    Dense,
    Elementwise,
    Extreme,
    Filled,
    Function,
    GlobalPool,
    GroupNorm,
    Join,
    LayerNorm,
    LeakyRelu,
    Lookup,
    MatMul,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Recurrent,
    Reduce,
    ReduceKind,
    Regroup,
    Reshape,
    Resize,
    ResizeKind,
    ScaleShift,
    Select,
    Slice,
    StridedSlice,
    Take,
    Threshold,
    Tile,
    TopK,
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


def _select(op: Select, condition: np.ndarray, *values: np.ndarray) -> np.ndarray:
    rest = iter(values)
    sides = [next(rest) if side is None else side for side in (op.chosen, op.otherwise)]
    return np.where(condition != 0, *sides)


def _top_k(op: TopK, x: np.ndarray) -> np.ndarray:
    places = np.argsort(-x, axis=-1, kind="stable")[..., : op.k]
    return places if op.places else np.take_along_axis(x, places, axis=-1)


def _strided_slice(op: StridedSlice, x: np.ndarray) -> np.ndarray:
    for axis, (start, size, step) in enumerate(zip(op.starts, op.sizes, op.steps, strict=True), start=1):
        x = np.take(x, [start + number * step for number in range(size)], axis=axis)
    return x


def _recurrent(op: Recurrent, x: np.ndarray, *states: np.ndarray) -> np.ndarray:
    zeros = np.zeros((len(x), op.units))
    state, cell = states if len(states) == 2 else (*states, zeros, zeros)[:2]
    activation, gate = ACTIVATIONS[op.activation], ACTIVATIONS[op.gate]
    made = np.zeros((*x.shape[:2], op.units))
    order = range(x.shape[1])[::-1] if op.backwards else range(x.shape[1])
    for step in order:
        outer = np.split(x[:, step] @ op.kernel + op.bias, op.cell.gates, axis=-1)
        inner = np.split(state @ op.recurrent + op.inner_bias, op.cell.gates, axis=-1)
        if op.cell is Cell.SIMPLE:
            state = activation(outer[0] + inner[0])
        elif op.cell is Cell.LSTM:
            sums = [a + b for a, b in zip(outer, inner, strict=True)]
            cell = gate(sums[1]) * cell + gate(sums[0]) * activation(sums[2])
            state = gate(sums[3]) * activation(cell)
        else:
            update, reset = gate(outer[0] + inner[0]), gate(outer[1] + inner[1])
            last = slice(2 * op.units, None)
            before = (reset * state) @ op.recurrent[:, last] + op.inner_bias[last]
            new = activation(outer[2] + (reset * inner[2] if op.reset_after else before))
            state = update * state + (1 - update) * new
        made[:, step] = state
    return cell[:, np.newaxis] if op.cells else made


def _conv3d(op: Conv3d, x: np.ndarray) -> np.ndarray:
    x = np.pad(x, ((0, 0), *op.padding, (0, 0)))
    extent = tuple((op.kernel.shape[axis] - 1) * op.dilation[axis] + 1 for axis in range(3))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(1, 2, 3))
    steps = tuple(slice(None, None, stride) for stride in op.strides)
    gaps = tuple(slice(None, None, gap) for gap in op.dilation)
    cells = view[(slice(None), *steps, slice(None), *gaps)]
    return np.einsum("ndhwczyx,zyxco->ndhwo", cells, op.kernel) + (0 if op.bias is None else op.bias)


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
    ReduceKind.PRODUCT: np.prod,
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
    Function.ROUND: np.round,
    Function.SIGN: np.sign,
    Function.ERROR: np.vectorize(erf),
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
    Compare: lambda op, *values: np.asarray(
        getattr(np, op.kind.value)(*values, *([] if op.constant is None else [op.constant])), np.float64
    ),
    Select: _select,
    ArgExtreme: lambda op, x: (np.argmax if op.kind is Extreme.LARGEST else np.argmin)(
        x, axis=op.axis, keepdims=op.keepdims
    ),
    TopK: _top_k,
    Take: lambda op, x: np.take(x, op.places, axis=op.axis),
    Lookup: lambda op, x: op.table[x.astype(int)],
    Tile: lambda op, x: np.tile(x, (1, *op.times)),
    StridedSlice: _strided_slice,
    Filled: lambda op, x: np.broadcast_to(op.constant, (len(x), *op.constant.shape)),
    Regroup: lambda op, x: x.reshape(-1, *op.shape),
    Recurrent: _recurrent,
    Conv3d: _conv3d,
}


def compute(operation: Operation, *inputs: np.ndarray) -> np.ndarray:
    """One operation in float64."""
    return RULES[type(operation)](operation, *(np.asarray(value, np.float64) for value in inputs))
