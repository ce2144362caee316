"""An equal graph made of what int8 runtimes compute.

* a hard sigmoid behind a linear operation becomes a `Clip` to [0, 1] of a rescaled one: saturation makes it free;
* a hard swish becomes ``6 u * clip(u + 1/2, 0, 1)`` with ``u = x / 6``: an addition and a product. The six goes
  into whatever reads the result, the sixth into what makes x;
* silu becomes a product with a sigmoid;
* a scale-and-shift of an image becomes a depthwise 1x1 convolution, whose int8 kernel is exact;
* two linear 1x1 convolutions in a row are one, unless that has many more weights: what lies between, a bottleneck of
  few channels, is not rounded;
* sums are binary; a convolution of 1x1 images to 1x1 is a dense layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import (
    NO_PADDING,
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
    Pool,
    Reshape,
    ScaleShift,
)
from kexport.passes import fuse_activation, scale_after_linear

MOST_WEIGHTS = 1.5  # of two convolutions that their product may have

Rewrite = Callable[[Graph, Node], tuple[Node, ...] | None]


def rewrite(graph: Graph) -> Graph:
    """All rewrites, in order."""
    graph = _everywhere(graph, _silu)
    graph = _everywhere(graph, _binary_sums)
    graph = _hard_swishes(graph)
    graph = _everywhere(graph, _hard_sigmoid)
    graph = scale_after_linear.run(graph)
    graph = _everywhere(graph, _scale_as_depthwise)
    graph = fuse_activation.run(graph)
    graph = _without_bottlenecks(graph)
    return _dense_from_1x1(graph)


def _everywhere(graph: Graph, rule: Rewrite) -> Graph:
    nodes = tuple(new for node in graph for new in rule(graph, node) or (node,))
    return replace(graph, nodes=nodes)


def _is(node: Node, function: Activation) -> bool:
    return isinstance(node.operation, Activate) and node.operation.function is function


def _silu(_: Graph, node: Node) -> tuple[Node, ...] | None:
    if not _is(node, Activation.SILU):
        return None
    gate = replace(node, name=f"{node.name}/sigmoid", operation=Activate(function=Activation.SIGMOID))
    return gate, replace(node, operation=Multiply(), inputs=(*node.inputs, gate.name))


def _binary_sums(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    if not isinstance(node.operation, Add) or len(node.inputs) == 2:
        return None
    first, *rest = node.inputs
    names = [f"{node.name}/sum{step}" for step in range(1, len(rest))] + [node.name]
    sums: list[Node] = []
    total = first
    for name, value in zip(names, rest, strict=True):
        last = name == node.name
        known = {made.name: made.shape for made in sums}
        shape = Add().infer(known.get(total) or graph.shapes[total], graph.shapes[value])
        operation = node.operation if last else Add()
        sums.append(replace(node, name=name, operation=operation, inputs=(total, value), shape=shape))
        total = name
    return tuple(sums)


def _ones(node: Node, scale: float, offset: float) -> ScaleShift:
    channels = node.shape[-1] or 0
    return ScaleShift(scale=np.full(channels, scale, np.float32), offset=np.full(channels, offset, np.float32))


def _hard_sigmoid(_: Graph, node: Node) -> tuple[Node, ...] | None:
    if not _is(node, Activation.HARD_SIGMOID):
        return None
    line = replace(node, name=f"{node.name}/line", operation=_ones(node, 1 / 6, 0.5))
    return line, replace(node, operation=Clip(minimum=0.0, maximum=1.0), inputs=(line.name,))


def _hard_swishes(graph: Graph) -> Graph:
    """Split every hard swish whose readers can take the six, and whose maker can take the sixth."""
    for node in graph:
        if not _is(node, Activation.HARD_SWISH):
            continue
        takers = _takers(graph, node.name) if _linear(graph, node.inputs[0]) else None
        graph = _split_hard_swish(graph, node, takers)
    return graph


def _linear(graph: Graph, value: str) -> bool:
    maker = graph.producers.get(value)
    return (
        maker is not None
        and isinstance(maker.operation, (Conv, Dense))
        and maker.operation.activation is None
        and graph.only_reader(value) is not None
    )


def _split_hard_swish(graph: Graph, node: Node, takers: frozenset[str] | None) -> Graph:
    sixth = replace(node, name=f"{node.name}/sixth", operation=_ones(node, 1 / 6, 0.0))
    moved = replace(node, name=f"{node.name}/moved", operation=_ones(node, 1.0, 0.5), inputs=(sixth.name,))
    gate = replace(node, name=f"{node.name}/gate", operation=Clip(minimum=0.0, maximum=1.0), inputs=(moved.name,))
    product = replace(node, operation=Multiply(), inputs=(sixth.name, gate.name))
    made = [sixth, moved, gate, product]
    if takers is None:
        made[-1] = replace(product, name=f"{node.name}/product")
        made.append(replace(node, operation=_ones(node, 6.0, 0.0), inputs=(made[-1].name,)))
    nodes: list[Node] = []
    for each in graph:
        if each is node:
            nodes += made
        elif takers and each.name in takers:
            nodes.append(replace(each, operation=_times(each.operation, 6.0)))
        else:
            nodes.append(each)
    return scale_after_linear.run(replace(graph, nodes=tuple(nodes)))


def _times(operation: Operation, factor: float) -> Operation:
    if not isinstance(operation, (Conv, Dense)):
        raise TypeError(f"{type(operation).__name__} has no kernel")
    return replace(operation, kernel=operation.kernel * np.float32(factor))


def _takers(graph: Graph, value: str) -> frozenset[str] | None:
    """The linear nodes that read a multiple of ``value``, if nothing else does; None otherwise."""
    if value in graph.outputs.values():
        return None
    found: set[str] = set()
    for reader in graph.consumers[value]:
        if isinstance(reader.operation, (Conv, Dense)):
            found.add(reader.name)
            continue
        proportional = isinstance(reader.operation, (GlobalPool, Pool, Pad, Reshape)) or (
            isinstance(reader.operation, Multiply) and _only_one_depends(graph, reader, value)
        )
        further = _takers(graph, reader.name) if proportional else None
        if further is None:
            return None
        found |= further
    return frozenset(found)


def _only_one_depends(graph: Graph, product: Node, value: str) -> bool:
    """Whether exactly one factor is proportional to the value: the other passes through a convolution first."""
    return sum(_proportional(graph, factor, value) for factor in product.inputs) == 1


def _proportional(graph: Graph, name: str, value: str) -> bool:
    if name == value:
        return True
    node = graph.producers.get(name)
    if node is None or not isinstance(node.operation, (GlobalPool, Pool, Pad, Reshape, Multiply)):
        return False
    return any(_proportional(graph, each, value) for each in node.inputs)


def _scale_as_depthwise(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """Not at the graph's inputs, where it stays float, and not for rows of numbers."""
    operation = node.operation
    if not isinstance(operation, ScaleShift) or len(node.shape) != 4 or node.inputs[0] not in graph.producers:
        return None
    if np.all(operation.scale == 1.0) and np.all(operation.offset == operation.offset[0]):
        return None
    channels = len(operation.scale)
    kernel = operation.scale.reshape(1, 1, 1, channels)
    return (replace(node, operation=Conv(kernel=kernel, bias=operation.offset, groups=channels)),)


def _without_bottlenecks(graph: Graph) -> Graph:
    for name in [node.name for node in graph]:
        node, reader = graph.producers[name], graph.only_reader(name)
        first, second = _pointwise(node), _pointwise(reader)
        if reader is None or first is None or second is None or first.activation is not None:
            continue
        weights = first.kernel.shape[2] * second.kernel.shape[3]
        if weights <= MOST_WEIGHTS * (first.kernel.size + second.kernel.size):
            layers = node.layers + reader.layers
            one = replace(reader, operation=_product(first, second), inputs=node.inputs, layers=layers)
            swap = {name: (), reader.name: (one,)}
            graph = replace(graph, nodes=tuple(new for each in graph for new in swap.get(each.name, (each,))))
    return graph


def _pointwise(node: Node | None) -> Conv | None:
    """The node's convolution if it computes every pixel of its output from one pixel."""
    operation = node.operation if node is not None else None
    if not isinstance(operation, Conv) or operation.kernel.shape[:2] != (1, 1) or operation.groups != 1:
        return None
    return operation if operation.strides == (1, 1) and operation.padding == NO_PADDING else None


def _product(first: Conv, second: Conv) -> Conv:
    """The second convolution of the first one's result."""
    left, right = first.kernel[0, 0].astype(np.float64), second.kernel[0, 0].astype(np.float64)
    bias = np.zeros(right.shape[1]) if second.bias is None else second.bias.astype(np.float64)
    bias = bias if first.bias is None else bias + first.bias @ right
    kernel = (left @ right).astype(np.float32)[np.newaxis, np.newaxis]
    return replace(second, kernel=kernel, bias=bias.astype(np.float32))


def _dense_from_1x1(graph: Graph) -> Graph:
    """``Reshape(Conv(x))`` over a 1x1 image becomes ``Dense(Reshape(x))``."""
    for node in graph:
        conv = graph.producers.get(node.inputs[0]) if isinstance(node.operation, Reshape) else None
        if conv is None or not isinstance(conv.operation, Conv) or graph.only_reader(conv.name) is not node:
            continue
        operation = conv.operation
        if len(node.shape) != 2 or graph.shapes[conv.inputs[0]][1:3] != (1, 1) or operation.groups != 1:
            continue
        if operation.kernel.shape[:2] != (1, 1) or operation.padding != NO_PADDING:
            continue
        inside, out = operation.kernel.shape[2:]
        kernel = operation.kernel.reshape(inside, out)
        flat = replace(
            node,
            name=f"{conv.name}/flat",
            operation=Reshape(shape=(inside,)),
            inputs=conv.inputs,
            shape=(node.shape[0], inside),
            layers=(),
        )
        dense = replace(
            node,
            operation=Dense(kernel=kernel, bias=operation.bias, activation=operation.activation),
            inputs=(flat.name,),
            layers=conv.layers + node.layers,
        )
        swap = {conv.name: (flat,), node.name: (dense,)}
        graph = replace(graph, nodes=tuple(new for each in graph for new in swap.get(each.name, (each,))))
    return graph
