"""Channels of zero weights that fill up the sixteens of depthwise convolutions (`onnx_qdq_forms` says why)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import (
    Activate,
    Add,
    Clip,
    Conv,
    Crop,
    Dense,
    GlobalPool,
    Multiply,
    Operation,
    Pad,
    Pool,
    ScaleShift,
)
from kexport.quantization.plan import Kernel, Precision, QuantPlan

LANES = 16
MANY_CHANNELS = 256  # here the rest is a small share
PER_CHANNEL = (Activate, Clip, Crop, GlobalPool, Pad, Pool, ScaleShift)
JOINS = (Add, Multiply)


def widened(plan: QuantPlan) -> QuantPlan:
    """The plan with more channels where a depthwise convolution has few and no multiple of sixteen.

    The values that share such channels all get them, from the convolutions and dense layers that make them (whose
    new weights are zero) to those that read them (theirs are zero too). Values that something else makes or reads,
    float nodes and outputs among it, stay as they are.
    """
    wide: dict[str, int] = {}
    for node in plan.graph:
        if _has_rest(node.operation) and node.name not in wide:
            group = _sharing(plan, node.name)
            channels = plan.graph.shapes[node.name][-1] or 1
            wide |= dict.fromkeys(group or (), -(-channels // LANES) * LANES)
    if not wide:
        return plan
    changed = {node.name: _changed(node, wide) for node in plan.graph}
    kernels = {name: _kernel(plan.graph.producers[name], kernel, wide) for name, kernel in plan.kernels.items()}
    graph = replace(plan.graph, nodes=tuple(changed[node.name] for node in plan.graph))
    return replace(plan, graph=graph, kernels=kernels)


def _is_depthwise(operation: Operation) -> bool:
    return isinstance(operation, Conv) and operation.depthwise and operation.groups == operation.kernel.shape[3]


def _has_rest(operation: Operation) -> bool:
    if not isinstance(operation, Conv) or not _is_depthwise(operation):
        return False
    return operation.groups % LANES != 0 and operation.groups < MANY_CHANNELS


def _sharing(plan: QuantPlan, value: str) -> frozenset[str] | None:
    """All values that have the same channels as this one; None if one of them cannot have more."""
    found, pending = {value}, [value]
    while pending:
        name = pending.pop()
        near = _neighbours(plan, name)
        if near is None:
            return None
        pending += near - found
        found |= near
    return frozenset(found)


def _neighbours(plan: QuantPlan, value: str) -> set[str] | None:
    graph, maker = plan.graph, plan.graph.producers.get(value)
    if maker is None or value in graph.outputs.values():
        return None
    near: set[str] = set()
    for node in (maker, *graph.consumers[value]):
        if plan.precision(node.name) is not Precision.INT8:
            return None
        if _shares(graph, node):
            near |= {node.name, *node.inputs}
        elif not isinstance(node.operation, (Conv, Dense)) or getattr(node.operation, "groups", 1) != 1:
            return None
    return near


def _shares(graph: Graph, node: Node) -> bool:
    """Whether the channels of what the node makes are those of all that it reads."""
    if isinstance(node.operation, JOINS):
        return len({graph.shapes[value][-1] for value in node.inputs}) == 1
    return _is_depthwise(node.operation) or isinstance(node.operation, PER_CHANNEL)


def _changed(node: Node, wide: dict[str, int]) -> Node:
    out = wide.get(node.name)
    shape = node.shape if out is None else (*node.shape[:-1], out)
    return replace(node, operation=_operation(node, wide), shape=shape)


def _operation(node: Node, wide: dict[str, int]) -> Operation:
    operation, out = node.operation, wide.get(node.name)
    if isinstance(operation, ScaleShift) and out is not None:
        scale, offset = (np.pad(part, (0, out - len(part)), "edge") for part in (operation.scale, operation.offset))
        return replace(operation, scale=scale, offset=offset)
    if not isinstance(operation, (Conv, Dense)):
        return operation
    kernel = _filled(operation.kernel, _sizes(node, wide))
    bias = None if operation.bias is None else _filled(operation.bias, (kernel.shape[-1],))
    if isinstance(operation, Conv) and _is_depthwise(operation):
        return replace(operation, kernel=kernel, bias=bias, groups=kernel.shape[-1])
    return replace(operation, kernel=kernel, bias=bias)


def _sizes(node: Node, wide: dict[str, int]) -> tuple[int, ...]:
    """The new shape of the node's kernel."""
    operation = node.operation
    assert isinstance(operation, (Conv, Dense))
    *taps, inside, out = operation.kernel.shape
    read = inside if _is_depthwise(operation) else wide.get(node.inputs[0], inside)
    return (*taps, read, wide.get(node.name, out))


def _kernel(node: Node, kernel: Kernel, wide: dict[str, int]) -> Kernel:
    numbers = _filled(kernel.numbers, _sizes(node, wide))
    scales = np.pad(kernel.scales, (0, numbers.shape[-1] - len(kernel.scales)), "edge")
    bias = None if kernel.bias is None else _filled(kernel.bias, (numbers.shape[-1],))
    return Kernel(numbers=numbers, scales=scales, bias=bias)


def _filled(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Zeros behind each axis up to the shape."""
    return np.pad(array, [(0, more - have) for have, more in zip(array.shape, shape, strict=True)])
