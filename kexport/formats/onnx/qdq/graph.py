"""A quantization plan spelled out as a graph: a `Store` wherever a value becomes int8.

What int8 implies is gone from it: activations that saturation does, and clips that change nothing. The int8 value
of a node ``conv`` is ``conv:stored``, which all its readers read; the same holds for a float value that int8 nodes
read, while its float readers read the value itself. One value, one conversion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from kexport.formats.onnx.qdq.stored import (
    AddConstant,
    Load,
    Store,
    Stored,
    StoredClip,
    StoredPad,
    StoredRow,
    StoredWeight,
    stored_weights,
)
from kexport.graph import Graph, Node
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Conv,
    Dense,
    GlobalPool,
    Multiply,
    Operation,
    Pad,
    Reshape,
    ScaleShift,
    Shape,
    Weights,
)
from kexport.quantization.plan import Affine, Precision, QuantPlan, bounds_of

MANY_PIXELS = 28 * 28
RECTIFIERS = (Activation.RELU, Activation.RELU6)


@dataclass(frozen=True, kw_only=True)
class Explicit:
    """The graph, and the integer constants of its convolutions and dense layers by their names in the file."""

    graph: Graph
    stored: dict[str, StoredWeight]


def explicit(plan: QuantPlan) -> Explicit:
    """The plan's graph with every conversion in it."""
    builder = _Builder(plan=plan)
    for node in plan.graph:
        if plan.stored_int8(node.name):
            builder.add_int8(node)
        else:
            builder.add_float(node)
    outputs = {public: builder.shown(value) for public, value in plan.graph.outputs.items()}
    return Explicit(graph=replace(plan.graph, nodes=tuple(builder.nodes), outputs=outputs), stored=builder.stored)


@dataclass(kw_only=True)
class _Builder:
    plan: QuantPlan
    nodes: list[Node] = field(default_factory=list)
    stored: dict[str, StoredWeight] = field(default_factory=dict)
    _stores: dict[str, str] = field(default_factory=dict)
    _loaded: set[str] = field(default_factory=set)

    def shown(self, value: str) -> str:
        """What an output of this value shows."""
        return self._stores[value] if self.plan.stored_int8(value) else value

    def _real(self, value: str) -> str:
        """Where a float reader finds the value."""
        if not self.plan.stored_int8(value):
            return value
        stored = self._stores[value]
        name = f"{stored}:real"
        if stored not in self._loaded:
            self._loaded.add(stored)
            shape, affine = self.plan.graph.shapes[value], self.plan.values[value]
            self.nodes.append(Node(name=name, operation=Load(affine=affine), inputs=(stored,), shape=shape))
        return name

    def _int8(self, value: str) -> str:
        """Where an int8 reader finds the value; a float value is stored when first asked for."""
        if value not in self._stores:
            self._store(value, self.plan.values[value], self.plan.graph.shapes[value])
        return self._stores[value]

    def add_float(self, node: Node) -> None:
        """A node of float arithmetic, perhaps with an integer kernel."""
        weights = self.plan.precision(node.name) is Precision.WEIGHTS
        if weights and self._multiplies_integers(node):
            (value,) = node.inputs
            self._keep_weights(node, node.name, self.plan.values[value].scale)
            self.nodes.append(replace(node, inputs=(self._stores[value],)))
            return
        if weights:
            self._keep_weights(node, node.name, None)
        self.nodes.append(replace(node, inputs=tuple(self._real(value) for value in node.inputs)))

    def _multiplies_integers(self, node: Node) -> bool:
        """Whether both factors are integers: a dense layer of rank 2 then is a QGemm with float results in ORT."""
        return isinstance(node.operation, Dense) and len(node.shape) == 2 and self.plan.stored_int8(node.inputs[0])

    def _keep_weights(self, node: Node, name: str, input_scale: float | None) -> None:
        if isinstance(node.operation, (Conv, Dense)):
            kernel, bias = self.plan.kernels[node.name], node.operation.bias
            self.stored.update(stored_weights(name, kernel, bias=bias, input_scale=input_scale))

    def add_int8(self, node: Node) -> None:
        """An int8 node: its linear part stored, and a clip behind it unless that changes nothing."""
        inputs = tuple(self._factor(node, value) for value in node.inputs)
        if _is_clip(node.operation):
            self._clip(node, inputs[0])
        elif isinstance(node.operation, Pad):
            self._stored(node, StoredPad(affine=self.plan.values[node.name], padding=node.operation.padding), inputs[0])
        elif self.plan.saturates(node):
            self._linear(node, node.name, inputs)
        else:
            self._linear(node, f"{node.name}:linear", inputs)
            self._clip(node, self._stores[f"{node.name}:linear"])

    def _factor(self, node: Node, value: str) -> str:
        """Where the node finds a value; a gate of many pixels as a row of them.

        ONNX Runtime multiplies run by run; a gate's own runs are its channels (56 x 56 x 16: 40 us, by rows 15).
        """
        stored, shape = self._int8(value), self.plan.graph.shapes[value]
        if not isinstance(node.operation, Multiply) or len(shape) != 4 or shape[1:3] != (1, 1):
            return stored
        _, rows, columns, channels = node.shape
        if (rows or 1) * (columns or 1) < MANY_PIXELS or shape[-1] != channels:
            return stored
        repeat = StoredRow(affine=self.plan.values[value], columns=columns or 1)
        row = Node(name=f"{node.name}:row", operation=repeat, inputs=(stored,), shape=repeat.infer(shape))
        self.nodes.append(row)
        return row.name

    def _clip(self, node: Node, value: str) -> None:
        if self.plan.saturates(node):
            self._stores[node.name] = value
            return
        low, high = bounds_of(node.operation)
        self._stored(node, StoredClip(affine=self.plan.values[node.name], minimum=low, maximum=high), value)

    def _stored(self, node: Node, operation: Stored, value: str) -> None:
        """A step on stored numbers, without conversions."""
        self._stores[node.name] = node.name
        self.nodes.append(replace(node, operation=operation, inputs=(value,)))

    def _linear(self, node: Node, name: str, inputs: tuple[str, ...]) -> None:
        """The node without its activation, as steps that runtimes know in int8, each stored."""
        shapes = tuple(self.plan.graph.shapes[value] for value in node.inputs)
        source, made = self.plan.values[node.inputs[0]], self.plan.values[node.name]
        *before, last = _steps(node.operation, shapes)
        for step in before:
            shapes = (step.infer(*shapes),)
            part = f"{name}:{type(step).__name__.lower()}"
            affine = source if isinstance(step, Reshape) else made
            made_by = replace(node, name=part, operation=step, inputs=inputs, shape=shapes[0])
            inputs = (self._add(node, made_by, affine),)
        self._add(node, replace(node, name=name, operation=last, inputs=inputs), made)

    def _add(self, node: Node, step: Node, affine: Affine) -> str:
        """One ``step`` of the plan's ``node``, its result stored."""
        if isinstance(step.operation, (Conv, Dense)):
            self._keep_weights(node, step.name, self.plan.values[node.inputs[0]].scale)
        self.nodes.append(step)
        return self._store(step.name, affine, step.shape)

    def _store(self, value: str, affine: Affine, shape: Shape) -> str:
        name = self._stores[value] = f"{value}:stored"
        self.nodes.append(Node(name=name, operation=Store(affine=affine), inputs=(value,), shape=shape))
        return name


def _is_clip(operation: Operation) -> bool:
    return isinstance(operation, Clip) or (isinstance(operation, Activate) and operation.function in RECTIFIERS)


def _steps(operation: Operation, inputs: tuple[Shape, ...]) -> list[Operation]:
    """An operation as runtimes know it in int8: numbers are moved before and after, and computed once."""
    if isinstance(operation, ScaleShift):
        return [AddConstant(number=float(operation.offset[0]))]
    if isinstance(operation, GlobalPool) and not operation.keepdims:
        return [replace(operation, keepdims=True), Reshape(shape=(inputs[0][-1] or 0,))]
    if isinstance(operation, Add):
        return [replace(operation, activation=None)]
    if not isinstance(operation, (Conv, Dense)):
        return [operation]
    bias = np.zeros(operation.kernel.shape[-1], np.float32) if operation.bias is None else operation.bias
    if isinstance(operation, Dense) and len(inputs[0]) > 2:
        return _pointwise(operation.kernel, bias, inputs[0])
    return [replace(operation, bias=bias, activation=None)]


def _pointwise(kernel: Weights, bias: Weights, value: Shape) -> list[Operation]:
    """A dense layer over the last of several axes is a convolution of 1 x 1: the same sums."""
    conv = Conv(kernel=kernel[np.newaxis, np.newaxis], bias=bias)
    if len(value) == 4:
        return [conv]
    rows, (channels, out) = [axis or 0 for axis in value[1:-1]], kernel.shape
    return [Reshape(shape=(prod(rows), 1, channels)), conv, Reshape(shape=(*rows, out))]
