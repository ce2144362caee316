"""What TFLite wants rewritten in the graph before it is written. Values in, values out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Conv, Dense, ScaleShift


def prepare(graph: Graph) -> Graph:
    """Hard sigmoids behind a convolution or dense layer: the three goes into its bias, relu6 is fused.

    ``relu6(conv(x) + 3) / 6`` then costs one multiplication instead of an addition and a multiplication.
    """
    folded: dict[str, tuple[Node, ...]] = {}
    for node in graph:
        pair = _hard_sigmoid(graph, node)
        if pair is not None:
            folded[node.inputs[0]], folded[node.name] = pair[:1], pair[1:]
    nodes = tuple(new for node in graph for new in folded.get(node.name, (node,)))
    return replace(graph, nodes=nodes) if folded else graph


def _hard_sigmoid(graph: Graph, node: Node) -> tuple[Node, Node] | None:
    if not isinstance(node.operation, Activate) or node.operation.function != Activation.HARD_SIGMOID:
        return None
    source = graph.producers.get(node.inputs[0])
    if source is None or graph.only_reader(source.name) is not node or len(node.shape) < 2:
        return None
    operation = source.operation
    if not isinstance(operation, (Conv, Dense)) or operation.activation is not None:
        return None
    channels = operation.kernel.shape[-1]
    bias = np.zeros(channels, np.float32) if operation.bias is None else operation.bias
    moved = replace(operation, bias=bias + np.float32(3), activation=Activation.RELU6)
    shares = ScaleShift(
        scale=np.full(channels, 1 / 6, np.float32),
        offset=np.zeros(channels, np.float32),
    )
    name = f"{node.name}/relu6"
    return replace(source, name=name, operation=moved), replace(node, operation=shares, inputs=(name,))
