"""Plans for tests: scales from the smallest and largest value, and what a plan computes, in numpy.

The emulation computes each node in float64 on the real numbers that its inputs stand for, and rounds where the
plan stores int8. No runtime is involved.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import (
    Activate,
    Activation,
    Conv,
    Dense,
    Operation,
)
from kexport.quantization.plan import PROBABILITY, Affine, Kernel, Precision, QuantPlan, shares_scale
from tests.numpy_reference import compute

Values = Mapping[str, np.ndarray]

LARGEST = 64
"""Of a kernel: two products beside one another then fit into int16, which CPUs without VNNI add them in."""


class Sketch:
    """A graph, node by node: ``sketch("name", operation, "input", ...)``."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.inputs = tuple(TensorSpec(name=f"in{index}", shape=(None, *shape)) for index, shape in enumerate(shapes))
        self.nodes: list[Node] = []
        self.shapes = {spec.name: spec.shape for spec in self.inputs}

    def __call__(self, name: str, operation: Operation, *inputs: str) -> str:
        self.shapes[name] = operation.infer(*(self.shapes[value] for value in inputs))
        self.nodes.append(Node(name=name, operation=operation, inputs=inputs, shape=self.shapes[name]))
        return name

    def graph(self, **outputs: str) -> Graph:
        shown = outputs or {"output": self.nodes[-1].name}
        return Graph(name="sketch", inputs=self.inputs, nodes=tuple(self.nodes), outputs=shown)


def float_values(graph: Graph, feeds: Values) -> dict[str, np.ndarray]:
    """Every value of the graph in float64."""
    values = dict(feeds)
    for node in graph:
        values[node.name] = compute(node.operation, *(values[value] for value in node.inputs))
    return values


def affine(*values: np.ndarray) -> Affine:
    low, high = min(0.0, *(float(v.min()) for v in values)), max(0.0, *(float(v.max()) for v in values))
    scale = float(np.float32((high - low) / 255)) if high > low else 1.0
    return Affine(scale=scale, zero_point=int(np.clip(round(-128 - low / scale), -128, 127)))


def kernel(operation: Conv | Dense, source: float | None, largest_number: int) -> Kernel:
    """Symmetric per channel; ``source`` is the input's scale, None for a WEIGHTS node."""
    largest = np.abs(operation.kernel).reshape(-1, operation.kernel.shape[-1]).max(0)
    scales = np.maximum(largest / largest_number, 1e-8).astype(np.float32)
    numbers = np.clip(np.rint(operation.kernel / scales), -largest_number, largest_number).astype(np.int8)
    bias = None
    if source is not None:
        real = np.zeros(len(scales)) if operation.bias is None else operation.bias.astype(np.float64)
        bias = np.rint(real / (np.float64(source) * scales)).astype(np.int32)
    return Kernel(numbers=numbers, scales=scales, bias=bias)


def plan_of(
    graph: Graph,
    feeds: Values,
    precisions: Mapping[str, Precision] | None = None,
    default: Precision = Precision.INT8,
    *,
    largest: int = LARGEST,
) -> QuantPlan:
    """Scales from the smallest and largest of each value's numbers; values that must share a scale do.

    ``largest`` is that of a kernel.
    """
    chosen = {node.name: default for node in graph} | dict(precisions or {})
    values, group = float_values(graph, feeds), {value: value for value in graph.shapes}
    for node in graph:
        if chosen[node.name] is Precision.INT8 and shares_scale(node.operation):
            joined = {group[value] for value in node.inputs}
            group = {value: node.name if name in joined else name for value, name in group.items()}
    members: dict[str, list[str]] = {}
    for value, name in group.items():
        members.setdefault(name, []).append(value)
    scales = {}
    for names in members.values():
        fixed = any(_is_sigmoid(graph, name) for name in names)
        scales |= dict.fromkeys(names, PROBABILITY if fixed else affine(*(values[name] for name in names)))
    kernels = {
        node.name: kernel(
            node.operation, scales[node.inputs[0]].scale if chosen[node.name] is Precision.INT8 else None, largest
        )
        for node in graph
        if isinstance(node.operation, (Conv, Dense)) and chosen[node.name] is not Precision.FLOAT32
    }
    precise = {name: precision for name, precision in chosen.items() if precision is not Precision.FLOAT32}
    return QuantPlan(graph=graph, values=scales, kernels=kernels, precisions=precise)


def _is_sigmoid(graph: Graph, value: str) -> bool:
    operation = graph.producers[value].operation if value in graph.producers else None
    return isinstance(operation, Activate) and operation.function is Activation.SIGMOID


def emulate(plan: QuantPlan, feeds: Values) -> dict[str, np.ndarray]:
    """What the plan makes of ``feeds``: int8 of INT8 nodes, float64 of the others. Feeds may be int8."""
    values = dict(feeds)
    for node in plan.graph:
        precision = plan.precision(node.name)
        inputs = [_read(plan, values[name], name, stored=precision is Precision.INT8) for name in node.inputs]
        result = compute(_real(plan, node, precision), *inputs)
        values[node.name] = plan.values[node.name].quantize(result) if precision is Precision.INT8 else result
    return values


def unrounded(plan: QuantPlan, name: str, feeds: Values) -> np.ndarray:
    """The result of an INT8 node in steps of its scale, before it is rounded."""
    values, node, made = emulate(plan, feeds), plan.graph.producers[name], plan.values[name]
    inputs = [_read(plan, values[value], value, stored=True) for value in node.inputs]
    steps = compute(_real(plan, node, Precision.INT8), *inputs) / np.float64(made.scale) + made.zero_point
    return np.clip(steps, -128, 127)


def _read(plan: QuantPlan, value: np.ndarray, name: str, *, stored: bool) -> np.ndarray:
    if stored and value.dtype != np.int8:
        value = plan.values[name].quantize(value)
    return plan.values[name].dequantize(value).astype(np.float64) if value.dtype == np.int8 else value


def _real(plan: QuantPlan, node: Node, precision: Precision) -> Operation:
    """The operation with the real numbers that its int8 kernel and int32 bias stand for."""
    operation = node.operation
    if precision is Precision.FLOAT32 or not isinstance(operation, (Conv, Dense)):
        return operation
    numbers = plan.kernels[node.name]
    bias = operation.bias
    if numbers.bias is not None:
        bias = numbers.bias * (np.float64(plan.values[node.inputs[0]].scale) * numbers.scales)
    return type(operation)(**{**vars(operation), "kernel": numbers.dequantize(), "bias": bias})
