"""ONNX nodes for operations on tensors of any rank; images stay in NCHW where the operation allows it."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.onnx.emitter import TO_NHWC, Emitter, Layout
from kexport.formats.onnx.operators.activations import GELU_OPSET
from kexport.formats.onnx.operators.registry import common_layout, emits, present_layout
from kexport.graph import Node
from kexport.operations import (
    Binary,
    BinaryKind,
    Elementwise,
    Function,
    Join,
    LeakyRelu,
    MatMul,
    Reduce,
    ReduceKind,
    Slice,
    Threshold,
    Transpose,
    Weights,
)

REDUCE_AXES_AS_INPUT_OPSET = 18
"""From here on the axes of mean, maximum and minimum are an input; those of a sum have been since 13."""
NCHW_AXIS = {0: 0, 1: 2, 2: 3, 3: 1}
"""Where an axis of an NHWC value lies in NCHW."""

_FUNCTIONS = {
    Function.ABSOLUTE: "Abs",
    Function.NEGATIVE: "Neg",
    Function.EXPONENTIAL: "Exp",
    Function.LOGARITHM: "Log",
    Function.SQUARE_ROOT: "Sqrt",
    Function.SINE: "Sin",
    Function.COSINE: "Cos",
    Function.FLOOR: "Floor",
    Function.CEILING: "Ceil",
    Function.ROUND: "Round",
    Function.SIGN: "Sign",
    Function.ERROR: "Erf",
    Function.ELU: "Elu",
    Function.SOFTPLUS: "Softplus",
    Function.SOFTSIGN: "Softsign",
}


@emits(Elementwise)
def elementwise(emitter: Emitter, node: Node, operation: Elementwise) -> None:
    """One operator, or the few that make up the function."""
    layout = present_layout(emitter, node)
    value = emitter.read(node.inputs[0], layout)
    if operation.function in _FUNCTIONS:
        name = emitter.node(_FUNCTIONS[operation.function], [value], node.name)
    else:
        name = _COMPOSED[operation.function](emitter, value, node.name)
    emitter.define(node.name, name, layout)


def _square(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node("Mul", [value, value], output)


def _inverse_square_root(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node("Reciprocal", [emitter.node("Sqrt", [value], f"{output}:root")], output)


def _gelu_tanh(emitter: Emitter, value: str, output: str) -> str:
    """Gelu from opset 20, its definition before."""
    if emitter.opset >= GELU_OPSET:
        return emitter.node("Gelu", [value], output, approximate="tanh")
    square = emitter.node("Mul", [value, value], f"{output}:square")
    cube = emitter.node("Mul", [square, value], f"{output}:cube")
    share = emitter.node("Mul", [cube, emitter.scalar("constant:gelu_cube", 0.044715)], f"{output}:share")
    bent = emitter.node("Add", [value, share], f"{output}:bent")
    scaled = emitter.node("Mul", [bent, emitter.scalar("constant:sqrt_two_over_pi", sqrt(2 / pi))], f"{output}:scaled")
    shifted = emitter.node(
        "Add", [emitter.node("Tanh", [scaled], f"{output}:tanh"), emitter.scalar("constant:one", 1.0)], f"{output}:gate"
    )
    product = emitter.node("Mul", [value, shifted], f"{output}:product")
    return emitter.node("Mul", [product, emitter.scalar("constant:half", 0.5)], output)


_COMPOSED: dict[Function, Callable[[Emitter, str, str], str]] = {
    Function.SQUARE: _square,
    Function.INVERSE_SQUARE_ROOT: _inverse_square_root,
    Function.GELU_TANH: _gelu_tanh,
}
_BINARIES = {
    BinaryKind.ADD: "Add",
    BinaryKind.SUBTRACT: "Sub",
    BinaryKind.MULTIPLY: "Mul",
    BinaryKind.DIVIDE: "Div",
    BinaryKind.MAXIMUM: "Max",
    BinaryKind.MINIMUM: "Min",
    BinaryKind.POWER: "Pow",
}


@emits(Binary)
def binary(emitter: Emitter, node: Node, operation: Binary) -> None:
    """One operator with two inputs, the constant in the value's layout."""
    layout = common_layout(emitter, node) if operation.constant is None else present_layout(emitter, node)
    values = [emitter.read(value, layout) for value in node.inputs]
    if operation.constant is not None:
        _refuse_lost_constant(emitter, node, operation.constant)
        constant = _broadcast_constant(emitter, f"{node.name}:constant", operation.constant, layout, len(node.shape))
        values.insert(0 if operation.constant_first else 1, constant)
    emitter.define(node.name, emitter.node(_BINARIES[operation.kind], values, node.name), layout)


def _refuse_lost_constant(emitter: Emitter, node: Node, constant: Weights) -> None:
    """A bound or divisor that float16 rounds to zero would change what the network computes."""
    if emitter.dtype == "float16" and bool(np.any((constant != 0) & (constant.astype(np.float16) == 0))):
        smallest = float(np.abs(constant[constant != 0]).min())
        raise UnsupportedError(
            f"a constant of layer {node.name!r} is {smallest:g}, which float16 rounds to zero", hint="--schemes float32"
        )


def _broadcast_constant(emitter: Emitter, name: str, constant: Weights, layout: Layout, rank: int) -> str:
    """The constant as it broadcasts against a value of this layout."""
    if layout is Layout.NHWC or rank != 4 or constant.size == 1:
        return emitter.weight(name, constant)
    whole = constant.reshape((1,) * (4 - constant.ndim) + constant.shape)
    return emitter.weight(name, whole, (0, 3, 1, 2))


@emits(LeakyRelu)
def leaky_relu(emitter: Emitter, node: Node, operation: LeakyRelu) -> None:
    """LeakyRelu with one slope, PRelu with several."""
    layout = present_layout(emitter, node)
    value = emitter.read(node.inputs[0], layout)
    if operation.slope.size == 1:
        name = emitter.node("LeakyRelu", [value], node.name, alpha=float(operation.slope.reshape(())))
    else:
        slope = _broadcast_constant(emitter, f"{node.name}:slope", operation.slope, layout, len(node.shape))
        name = emitter.node("PRelu", [value, slope], node.name)
    emitter.define(node.name, name, layout)


@emits(Threshold)
def threshold(emitter: Emitter, node: Node, operation: Threshold) -> None:
    """Greater and Where."""
    layout = present_layout(emitter, node)
    value = emitter.read(node.inputs[0], layout)
    bound = emitter.scalar(f"{node.name}:threshold", operation.threshold)
    otherwise = emitter.scalar(f"{node.name}:otherwise", operation.otherwise)
    above = emitter.node("Greater", [value, bound], f"{node.name}:above")
    emitter.define(node.name, emitter.node("Where", [above, value, otherwise], node.name), layout)


_REDUCTIONS = {
    ReduceKind.MEAN: "ReduceMean",
    ReduceKind.SUM: "ReduceSum",
    ReduceKind.MAXIMUM: "ReduceMax",
    ReduceKind.MINIMUM: "ReduceMin",
    ReduceKind.PRODUCT: "ReduceProd",
}


@emits(Reduce)
def reduce(emitter: Emitter, node: Node, operation: Reduce) -> None:
    """A reduction, in NCHW where what remains has the order that it has in NHWC."""
    keeps_order = operation.keepdims or 3 in operation.axes or {1, 2} <= set(operation.axes)
    is_image = emitter.rank(node.inputs[0]) == 4
    layout = present_layout(emitter, node) if keeps_order or not is_image else Layout.NHWC
    axes = sorted(NCHW_AXIS[axis] for axis in operation.axes) if is_image and layout is Layout.NCHW else operation.axes
    value, kind = emitter.read(node.inputs[0], layout), _REDUCTIONS[operation.kind]
    keep = int(operation.keepdims)
    if kind == "ReduceSum" or emitter.opset >= REDUCE_AXES_AS_INPUT_OPSET:
        name = emitter.node(kind, [value, emitter.integers(f"{node.name}:axes", list(axes))], node.name, keepdims=keep)
    else:
        name = emitter.node(kind, [value], node.name, axes=list(axes), keepdims=keep)
    emitter.define(node.name, name, layout)


@emits(Transpose)
def transpose(emitter: Emitter, node: Node, operation: Transpose) -> None:
    """One Transpose from whichever layout exists; none if that one has the order already."""
    layout = present_layout(emitter, node)
    value, order = emitter.read(node.inputs[0], layout), list(operation.order)
    if layout is Layout.NCHW and len(order) == 4:
        order = [TO_NHWC[axis] for axis in order]
    same = order == list(range(len(order)))
    name = emitter.node("Identity", [value], node.name) if same else _permute(emitter, value, node.name, order)
    emitter.define(node.name, name, Layout.NHWC)


def _permute(emitter: Emitter, value: str, output: str, order: list[int]) -> str:
    return emitter.node("Transpose", [value], output, perm=order)


@emits(Slice)
def slice_(emitter: Emitter, node: Node, operation: Slice) -> None:
    """Slice along the axes that get shorter."""
    layout = present_layout(emitter, node)
    whole = emitter.graph.shapes[node.inputs[0]][1:]
    cut = [axis for axis, length in enumerate(operation.sizes) if length != whole[axis]]
    as_nchw = layout is Layout.NCHW and len(whole) == 3
    axes = [NCHW_AXIS[axis + 1] if as_nchw else axis + 1 for axis in cut]
    value = emitter.read(node.inputs[0], layout)
    constants = [
        emitter.integers(f"{node.name}:starts", [operation.starts[axis] for axis in cut]),
        emitter.integers(f"{node.name}:ends", [operation.starts[axis] + operation.sizes[axis] for axis in cut]),
        emitter.integers(f"{node.name}:axes", axes),
    ]
    emitter.define(node.name, emitter.node("Slice", [value, *constants], node.name), layout)


@emits(Join)
def join(emitter: Emitter, node: Node, operation: Join) -> None:
    """Concat on another axis than the last."""
    layout = common_layout(emitter, node)
    values = [emitter.read(value, layout) for value in node.inputs]
    axis = NCHW_AXIS[operation.axis] if layout is Layout.NCHW else operation.axis
    emitter.define(node.name, emitter.node("Concat", values, node.name, axis=axis), layout)


@emits(MatMul)
def matmul(emitter: Emitter, node: Node, operation: MatMul) -> None:
    """MatMul over the last two axes."""
    del operation
    values = [emitter.read(value, Layout.NHWC) for value in node.inputs]
    emitter.define(node.name, emitter.node("MatMul", values, node.name), Layout.NHWC)
