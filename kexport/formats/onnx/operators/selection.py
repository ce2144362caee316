"""ONNX nodes that compare, choose, look up, repeat and regroup: indices and truth values become the types of ONNX."""

from __future__ import annotations

import numpy as np

from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators.registry import emits, present_layout
from kexport.formats.onnx.operators.tensor import NCHW_AXIS
from kexport.graph import Node
from kexport.operations import (
    ArgExtreme,
    Compare,
    Comparison,
    Extreme,
    Filled,
    Lookup,
    Regroup,
    Select,
    StridedSlice,
    Take,
    Tile,
    TopK,
)

_COMPARISONS = {
    Comparison.EQUAL: "Equal",
    Comparison.GREATER: "Greater",
    Comparison.GREATER_EQUAL: "GreaterOrEqual",
    Comparison.LESS: "Less",
    Comparison.LESS_EQUAL: "LessOrEqual",
    Comparison.NOT_EQUAL: "Equal",
}


@emits(Compare)
def compare(emitter: Emitter, node: Node, operation: Compare) -> None:
    """The question, its answer as a number."""
    values = [emitter.read(value, Layout.NHWC) for value in node.inputs]
    if operation.constant is not None:
        values.append(emitter.weight(f"{node.name}:constant", operation.constant))
    truth = emitter.node(_COMPARISONS[operation.kind], values, f"{node.name}:truth")
    if operation.kind is Comparison.NOT_EQUAL:
        truth = emitter.node("Not", [truth], f"{node.name}:untruth")
    emitter.define(node.name, emitter.cast(truth, node.name, emitter.dtype), Layout.NHWC)


@emits(Select)
def select(emitter: Emitter, node: Node, operation: Select) -> None:
    """Where."""
    condition, *values = (emitter.read(value, Layout.NHWC) for value in node.inputs)
    rest = iter(values)
    sides = [
        next(rest) if constant is None else emitter.weight(f"{node.name}:{side}", constant)
        for side, constant in (("chosen", operation.chosen), ("otherwise", operation.otherwise))
    ]
    truth = emitter.cast(condition, f"{node.name}:truth", "bool")
    emitter.define(node.name, emitter.node("Where", [truth, *sides], node.name), Layout.NHWC)


@emits(ArgExtreme)
def arg_extreme(emitter: Emitter, node: Node, operation: ArgExtreme) -> None:
    """ArgMax, ArgMin: the first of equal numbers."""
    kind = "ArgMax" if operation.kind is Extreme.LARGEST else "ArgMin"
    value, keep = emitter.read(node.inputs[0], Layout.NHWC), int(operation.keepdims)
    place = emitter.node(kind, [value], f"{node.name}:place", axis=operation.axis, keepdims=keep)
    emitter.define(node.name, emitter.cast(place, node.name, emitter.dtype), Layout.NHWC)


@emits(TopK)
def top_k(emitter: Emitter, node: Node, operation: TopK) -> None:
    """TopK over the last axis, one of its two results."""
    inputs = [emitter.read(node.inputs[0], Layout.NHWC), emitter.integers(f"{node.name}:k", [operation.k])]
    names = f"{node.name}:numbers", f"{node.name}:places"
    if not operation.places:
        names = node.name, names[1]
    emitter.several("TopK", inputs, names, axis=-1)
    if operation.places:
        emitter.cast(names[1], node.name, emitter.dtype)
    emitter.define(node.name, node.name, Layout.NHWC)


@emits(Take)
def take(emitter: Emitter, node: Node, operation: Take) -> None:
    """Gather along one axis."""
    layout = present_layout(emitter, node)
    axis = NCHW_AXIS[operation.axis] if layout is Layout.NCHW and len(node.shape) == 4 else operation.axis
    inputs = [emitter.read(node.inputs[0], layout), emitter.integers(f"{node.name}:places", operation.places)]
    emitter.define(node.name, emitter.node("Gather", inputs, node.name, axis=axis), layout)


@emits(Lookup)
def lookup(emitter: Emitter, node: Node, operation: Lookup) -> None:
    """Gather of rows."""
    rows = emitter.cast(emitter.read(node.inputs[0], Layout.NHWC), f"{node.name}:rows", "int64")
    table = emitter.weight(f"{node.name}:table", operation.table)
    emitter.define(node.name, emitter.node("Gather", [table, rows], node.name, axis=0), Layout.NHWC)


@emits(Tile)
def tile(emitter: Emitter, node: Node, operation: Tile) -> None:
    """Tile."""
    times = emitter.integers(f"{node.name}:times", [1, *operation.times])
    value = emitter.read(node.inputs[0], Layout.NHWC)
    emitter.define(node.name, emitter.node("Tile", [value, times], node.name), Layout.NHWC)


@emits(StridedSlice)
def strided_slice(emitter: Emitter, node: Node, operation: StridedSlice) -> None:
    """Slice with steps; where one goes backwards to the front, its end lies before the axis."""
    layout = present_layout(emitter, node)
    image = layout is Layout.NCHW and len(node.shape) == 4
    axes = [NCHW_AXIS[axis + 1] if image else axis + 1 for axis in range(len(operation.starts))]
    places = zip(operation.starts, operation.sizes, operation.steps, strict=True)
    ends = [start + (size - 1) * step + (1 if step > 0 else -1) for start, size, step in places]
    constants = [
        emitter.integers(f"{node.name}:starts", operation.starts),
        emitter.integers(f"{node.name}:ends", [end if end >= 0 else np.iinfo(np.int64).min for end in ends]),
        emitter.integers(f"{node.name}:axes", axes),
        emitter.integers(f"{node.name}:steps", operation.steps),
    ]
    value = emitter.read(node.inputs[0], layout)
    emitter.define(node.name, emitter.node("Slice", [value, *constants], node.name), layout)


@emits(Filled)
def filled(emitter: Emitter, node: Node, operation: Filled) -> None:
    """The constant, expanded to the batch of the input."""
    whole = emitter.node("Shape", [emitter.read(node.inputs[0], Layout.NHWC)], f"{node.name}:whole")
    first = emitter.integers("constant:first", [0])
    batch = emitter.node("Gather", [whole, first], f"{node.name}:batch", axis=0)
    rest = emitter.integers(f"{node.name}:rest", operation.constant.shape)
    shape = emitter.node("Concat", [batch, rest], f"{node.name}:shape", axis=0)
    constant = emitter.weight(f"{node.name}:constant", operation.constant[np.newaxis])
    emitter.define(node.name, emitter.node("Expand", [constant, shape], node.name), Layout.NHWC)


@emits(Regroup)
def regroup(emitter: Emitter, node: Node, operation: Regroup) -> None:
    """Reshape, the batch axis follows from the rest."""
    target = emitter.integers(f"{node.name}:shape", [-1, *operation.shape])
    value = emitter.read(node.inputs[0], Layout.NHWC)
    emitter.define(node.name, emitter.node("Reshape", [value, target], node.name), Layout.NHWC)
