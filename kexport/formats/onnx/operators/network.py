"""One small function per operation: from the graph's node to ONNX nodes of the standard domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators import image as onnx_image_operators
from kexport.formats.onnx.operators import recurrent as onnx_recurrent_operators
from kexport.formats.onnx.operators import selection as onnx_selection_operators
from kexport.formats.onnx.operators import tensor as onnx_tensor_operators
from kexport.formats.onnx.operators.activations import emit_activation, emit_layer_norm
from kexport.formats.onnx.operators.registry import OPERATORS, common_layout, emits, present_layout
from kexport.graph import Node
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Dense,
    GlobalPool,
    LayerNorm,
    Multiply,
    Padding,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)

REGISTERED_ELSEWHERE = (
    onnx_image_operators,
    onnx_recurrent_operators,
    onnx_selection_operators,
    onnx_tensor_operators,
)


def emit_node(emitter: Emitter, node: Node) -> None:
    """Write one node of the graph."""
    OPERATORS[type(node.operation)](emitter, node, node.operation)


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def _finish(emitter: Emitter, node: Node, layout: Layout, activation: Any, write: Callable[[str], str]) -> None:
    """Write the linear part under the node's name, or under a longer one if an activation follows."""
    if activation is None:
        emitter.define(node.name, write(node.name), layout)
        return
    linear = write(f"{node.name}:linear")
    emitter.define(node.name, emit_activation(emitter, activation, linear, node.name), layout)


@emits(Conv)
def conv(emitter: Emitter, node: Node, operation: Conv) -> None:
    """Conv: kernel ``(out, in / groups, height, width)``."""
    inputs = [
        emitter.read(node.inputs[0], Layout.NCHW),
        emitter.weight(f"{node.name}:kernel", operation.kernel, (3, 2, 0, 1)),
    ]
    if operation.bias is not None:
        inputs.append(emitter.weight(f"{node.name}:bias", operation.bias))
    attributes = {
        "kernel_shape": operation.kernel.shape[:2],
        "strides": operation.strides,
        "pads": _pads(operation.padding),
        "dilations": operation.dilation,
        "group": operation.groups,
    }
    _finish(
        emitter, node, Layout.NCHW, operation.activation, lambda name: emitter.node("Conv", inputs, name, **attributes)
    )


@emits(Dense)
def dense(emitter: Emitter, node: Node, operation: Dense) -> None:
    """Gemm for rank 2, MatMul and Add above; rows are permuted if the input was flattened from NCHW."""
    value = emitter.read(node.inputs[0], Layout.NHWC)
    kernel = _dense_kernel(emitter, node, operation)
    bias = [] if operation.bias is None else [emitter.weight(f"{node.name}:bias", operation.bias)]

    def write(name: str) -> str:
        if len(node.shape) == 2:
            return emitter.node("Gemm", [value, kernel, *bias], name)
        product = emitter.node("MatMul", [value, kernel], f"{name}:product" if bias else name)
        return emitter.node("Add", [product, *bias], name) if bias else product

    _finish(emitter, node, Layout.NHWC, operation.activation, write)


def _dense_kernel(emitter: Emitter, node: Node, operation: Dense) -> str:
    image = emitter.flattened.get(node.inputs[0])
    name = f"{node.name}:kernel"
    if image is None:
        return emitter.weight(name, operation.kernel)
    height, width, channels = (axis or 0 for axis in image[1:])
    folded = operation.kernel.reshape(height, width, channels, -1)
    return emitter.weight(name, folded, (2, 0, 1, 3), operation.kernel.shape)


@emits(Pool)
def pool(emitter: Emitter, node: Node, operation: Pool) -> None:
    """MaxPool, AveragePool: padding never wins and never counts."""
    average = operation.kind is PoolKind.AVERAGE
    extra = {"count_include_pad": 0} if average else {}
    name = emitter.node(
        "AveragePool" if average else "MaxPool",
        [emitter.read(node.inputs[0], Layout.NCHW)],
        node.name,
        kernel_shape=operation.size,
        strides=operation.strides,
        pads=_pads(operation.padding),
        **extra,
    )
    emitter.define(node.name, name, Layout.NCHW)


@emits(GlobalPool)
def global_pool(emitter: Emitter, node: Node, operation: GlobalPool) -> None:
    """GlobalAveragePool or GlobalMaxPool on NCHW; a reduction where the value only exists as NHWC."""
    average = operation.kind is PoolKind.AVERAGE
    if Layout.NCHW not in emitter.layouts(node.inputs[0]):
        _reduce_rows(emitter, node, operation, "ReduceMean" if average else "ReduceMax")
        return
    kind = "GlobalAveragePool" if average else "GlobalMaxPool"
    name = node.name if operation.keepdims else f"{node.name}:pooled"
    pooled = emitter.node(kind, [emitter.read(node.inputs[0], Layout.NCHW)], name)
    if not operation.keepdims:
        pooled = emitter.node("Flatten", [pooled], node.name, axis=1)
    emitter.define(node.name, pooled, Layout.NCHW)


def _reduce_rows(emitter: Emitter, node: Node, operation: GlobalPool, kind: str) -> None:
    value = emitter.read(node.inputs[0], Layout.NHWC)
    keep = int(operation.keepdims)
    if emitter.opset >= 18:
        name = emitter.node(
            kind, [value, emitter.integers("constant:rows_and_columns", [1, 2])], node.name, keepdims=keep
        )
    else:
        name = emitter.node(kind, [value], node.name, axes=[1, 2], keepdims=keep)
    emitter.define(node.name, name, Layout.NHWC)


@emits(Add)
def add(emitter: Emitter, node: Node, operation: Add) -> None:
    """A chain of binary Add."""
    layout = common_layout(emitter, node)
    first, *rest = (emitter.read(value, layout) for value in node.inputs)

    def write(name: str) -> str:
        total = first
        for number, term in enumerate(rest, start=1):
            total = emitter.node("Add", [total, term], name if number == len(rest) else f"{name}:sum{number}")
        return total

    _finish(emitter, node, layout, operation.activation, write)


@emits(Multiply)
def multiply(emitter: Emitter, node: Node, operation: Multiply) -> None:
    """Mul with broadcasting."""
    del operation
    layout = common_layout(emitter, node)
    values = [emitter.read(value, layout) for value in node.inputs]
    emitter.define(node.name, emitter.node("Mul", values, node.name), layout)


@emits(Concat)
def concat(emitter: Emitter, node: Node, operation: Concat) -> None:
    """Concat on the channels."""
    del operation
    layout = common_layout(emitter, node)
    values = [emitter.read(value, layout) for value in node.inputs]
    axis = 1 if layout is Layout.NCHW else len(node.shape) - 1
    emitter.define(node.name, emitter.node("Concat", values, node.name, axis=axis), layout)


@emits(ScaleShift)
def scale_shift(emitter: Emitter, node: Node, operation: ScaleShift) -> None:
    """BatchNormalization on NCHW (ORT runs it inside its blocked layout), Mul and Add elsewhere."""
    layout = _scale_layout(emitter, node)
    value = emitter.read(node.inputs[0], layout)
    scales, shifts = bool(np.any(operation.scale != 1)), bool(np.any(operation.offset))
    if scales and shifts and layout is Layout.NCHW and len(node.shape) == 4:
        name = _batch_normalization(emitter, node, operation, value)
    else:
        name = _mul_add(emitter, node, operation, value, layout)
    emitter.define(node.name, name, layout)


def _scale_layout(emitter: Emitter, node: Node) -> Layout:
    existing = emitter.layouts(node.inputs[0])
    from_input = node.inputs[0] in {spec.name for spec in emitter.graph.inputs}
    return Layout.NCHW if from_input or Layout.NCHW in existing else Layout.NHWC


def _batch_normalization(emitter: Emitter, node: Node, operation: ScaleShift, value: str) -> str:
    channels = operation.scale.size
    inputs = [
        value,
        emitter.weight(f"{node.name}:scale", operation.scale),
        emitter.weight(f"{node.name}:offset", operation.offset),
        emitter.weight(f"zeros:{channels}", np.zeros(channels, np.float32)),
        emitter.weight(f"ones:{channels}", np.ones(channels, np.float32)),
    ]
    return emitter.node("BatchNormalization", inputs, node.name, epsilon=0.0)


def _mul_add(emitter: Emitter, node: Node, operation: ScaleShift, value: str, layout: Layout) -> str:
    rank = len(node.shape)
    if np.any(operation.scale != 1):
        scale = emitter.vector(f"{node.name}:scale", operation.scale, layout, rank)
        last = not np.any(operation.offset)
        value = emitter.node("Mul", [value, scale], node.name if last else f"{node.name}:scaled")
        if last:
            return value
    offset = emitter.vector(f"{node.name}:offset", operation.offset, layout, rank)
    return emitter.node("Add", [value, offset], node.name)


@emits(LayerNorm)
def layer_norm(emitter: Emitter, node: Node, operation: LayerNorm) -> None:
    """LayerNormalization from opset 17, its parts before."""
    value = emitter.read(node.inputs[0], Layout.NHWC)
    emitter.define(node.name, emit_layer_norm(emitter, node, operation, value), Layout.NHWC)


@emits(Activate)
def activate(emitter: Emitter, node: Node, operation: Activate) -> None:
    """An activation on its own; softmax works on the last axis and so wants NHWC."""
    layout = Layout.NHWC if operation.function is Activation.SOFTMAX else present_layout(emitter, node)
    value = emitter.read(node.inputs[0], layout)
    emitter.define(node.name, emit_activation(emitter, operation.function, value, node.name), layout)


@emits(Clip)
def clip(emitter: Emitter, node: Node, operation: Clip) -> None:
    """Clip between two constants."""
    layout = present_layout(emitter, node)
    bounds = [
        emitter.scalar(f"{node.name}:minimum", operation.minimum),
        emitter.scalar(f"{node.name}:maximum", operation.maximum),
    ]
    name = emitter.node("Clip", [emitter.read(node.inputs[0], layout), *bounds], node.name)
    emitter.define(node.name, name, layout)


@emits(Reshape)
def reshape(emitter: Emitter, node: Node, operation: Reshape) -> None:
    """Reshape in NHWC order, without a Transpose where the order of numbers allows it."""
    source = node.inputs[0]
    shape = emitter.graph.shapes[source]
    if len(shape) == 4 and len(node.shape) == 2 and Layout.NCHW in emitter.layouts(source):
        single = shape[1] == shape[2] == 1
        if single or emitter.feeds_only_dense(node):
            if not single:
                emitter.flattened[node.name] = shape
            name = emitter.node("Flatten", [emitter.read(source, Layout.NCHW)], node.name, axis=1)
            emitter.define(node.name, name, Layout.NCHW)
            return
    target = emitter.integers(f"{node.name}:shape", [0, *operation.shape])
    value = emitter.read(source, Layout.NHWC)
    emitter.define(node.name, emitter.node("Reshape", [value, target], node.name), Layout.NHWC)
