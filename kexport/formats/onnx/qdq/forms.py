"""Equal plans in the forms for which ONNX Runtime's x86 kernels are fastest. The numbers stay the same.

Measured with ONNX Runtime 1.32 on two cores with AVX-512 VNNI, in microseconds before and after:

* a depthwise convolution computes sixteen channels at once and the rest one by one: channels that are zero fill up
  the last sixteen, from the convolutions that make them to those that read them (56 x 56 x 72: 229 to 121);
* a convolution gathers its windows fast where channels come in fours: a photograph's three become twelve, four
  pixels of a row together, and it makes several pixels at a time (3 to 32, stride 2, 224 x 224: 490 to 201);
* a depthwise convolution of one tap over sixteen channels is slower than a full one (112 x 112: 92 to 54).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.formats.onnx.qdq.channels import widened
from kexport.graph import Graph, Node
from kexport.operations import Conv, Reshape
from kexport.quantization.plan import Kernel, Precision, QuantPlan

CELLS = 4  # pixels of a row that are read together
FEW_CHANNELS = 16


def fast(plan: QuantPlan) -> QuantPlan:
    """The plan in these forms; what it computes, and the names of its values, stay."""
    plan = widened(plan)
    for node in plan.graph:
        if plan.precision(node.name) is Precision.INT8 and isinstance(node.operation, Conv):
            if _is_photograph(plan.graph, node, node.operation):
                plan = _in_cells(plan, node, node.operation)
            elif _is_one_tap(node.operation):
                plan = _full(plan, node, node.operation)
    return plan


def _is_one_tap(operation: Conv) -> bool:
    tap, channels = operation.kernel.shape[:3] == (1, 1, 1), operation.kernel.shape[3]
    return tap and operation.groups == channels and 1 < channels <= FEW_CHANNELS


def _full(plan: QuantPlan, node: Node, operation: Conv) -> QuantPlan:
    """A convolution of one tap per channel as one whose other weights are zero."""
    kernel, eye = plan.kernels[node.name], np.eye(operation.groups, dtype=np.int8)
    full = replace(operation, kernel=operation.kernel * eye.astype(np.float32), groups=1)
    stored = replace(kernel, numbers=kernel.numbers * eye)
    return _exchanged(plan, node, (replace(node, operation=full),), {node.name: stored})


def _is_photograph(graph: Graph, node: Node, operation: Conv) -> bool:
    """Whether whole cells of the input give whole cells of the output, in a convolution of few channels."""
    _, _, width, channels = graph.shapes[node.inputs[0]]
    stride, (left, _) = operation.strides[1], operation.padding[1]
    if (channels or 0) >= CELLS or operation.groups != 1 or operation.dilation != (1, 1) or left >= CELLS:
        return False
    return (width or 1) % CELLS == 0 and CELLS % stride == 0 and (node.shape[2] or 0) * stride == width


def _in_cells(plan: QuantPlan, node: Node, operation: Conv) -> QuantPlan:
    """``Reshape``, a convolution of cells, ``Reshape``: the last one has the node's name."""
    (source,) = node.inputs
    batch, height, width, channels = plan.graph.shapes[source]
    _, rows, columns, out = node.shape
    made = CELLS // operation.strides[1]
    numbers, before = _cell_kernel(plan.kernels[node.name].numbers, operation)
    real, _ = _cell_kernel(operation.kernel, operation)
    bias = None if operation.bias is None else np.tile(operation.bias, made)
    conv = replace(
        operation,
        kernel=real,
        bias=bias,
        strides=(operation.strides[0], 1),
        padding=(operation.padding[0], (before, real.shape[1] - 1 - before)),
    )
    cells, folded = f"{node.name}:cells", f"{node.name}:folded"
    into = Reshape(shape=(height or 1, (width or 1) // CELLS, CELLS * (channels or 1)))
    back = Reshape(shape=(rows or 1, columns or 1, out or 1))
    nodes = (
        Node(name=cells, operation=into, inputs=(source,), shape=(batch, *into.shape)),
        Node(name=folded, operation=conv, inputs=(cells,), shape=conv.infer((batch, *into.shape))),
        replace(node, operation=back, inputs=(folded,)),
    )
    kernel = plan.kernels[node.name]
    stored = Kernel(
        numbers=numbers,
        scales=np.tile(kernel.scales, made),
        bias=None if kernel.bias is None else np.tile(kernel.bias, made),
    )
    values = {cells: plan.values[source], folded: plan.values[node.name]}
    plan = replace(plan, values={**plan.values, **values})
    return _exchanged(plan, node, nodes, {folded: stored})


def _cell_kernel(kernel: npt.NDArray[Any], operation: Conv) -> tuple[npt.NDArray[Any], int]:
    """The kernel ``(rows, cells, CELLS * in, made * out)``, and how many cells it begins left of the output's."""
    rows, taps, inside, out = kernel.shape
    stride, left = operation.strides[1], operation.padding[1][0]
    made = CELLS // stride
    places = [[pixel * stride - left + tap for tap in range(taps)] for pixel in range(made)]
    first, last = places[0][0] // CELLS, places[-1][-1] // CELLS
    found = np.zeros((rows, last - first + 1, CELLS, inside, made, out), kernel.dtype)
    for pixel, taken in enumerate(places):
        for tap, place in enumerate(taken):
            found[:, place // CELLS - first, place % CELLS, :, pixel] = kernel[:, tap]
    return found.reshape(rows, last - first + 1, CELLS * inside, made * out), -first


def _exchanged(plan: QuantPlan, node: Node, nodes: tuple[Node, ...], kernels: Mapping[str, Kernel]) -> QuantPlan:
    """The plan with INT8 ``nodes`` instead of one, and their kernels."""
    graph = replace(plan.graph, nodes=tuple(new for each in plan.graph for new in (nodes if each is node else (each,))))
    kept = {name: kernel for name, kernel in plan.kernels.items() if name != node.name}
    precise = dict.fromkeys((new.name for new in nodes), Precision.INT8)
    return replace(plan, graph=graph, kernels={**kept, **kernels}, precisions={**plan.precisions, **precise})
