"""What TFLite wants rewritten in the graph before it is written. Values in, values out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Conv, Dense, ScaleShift

IMAGE = 4  # axes
FEW_CHANNELS = 15  # of an image; from 16 on, XNNPACK adds and multiplies in long enough rows


def prepare(graph: Graph) -> Graph:
    """Hard sigmoids behind a convolution or dense layer, and images scaled and shifted channel by channel.

    The three of ``relu6(conv(x) + 3) / 6`` goes into the bias, relu6 is fused: one multiplication is left. What scales
    and shifts the few channels of an image becomes a convolution: XNNPACK would multiply row by row, and rows of three
    numbers take twice the time, and OpenCV reads the row that such a constant is repeated to wrongly.
    """
    folded: dict[str, tuple[Node, ...]] = {}
    for node in graph:
        pair = _hard_sigmoid(graph, node)
        if pair is not None:
            folded[node.inputs[0]], folded[node.name] = pair[:1], pair[1:]
        elif (channels := _few_channels(node)) is not None:
            folded[node.name] = (channels,)
    nodes = tuple(new for node in graph for new in folded.get(node.name, (node,)))
    return replace(graph, nodes=nodes) if folded else graph


def _few_channels(node: Node) -> Node | None:
    """The convolution with a diagonal kernel that scales and shifts an image; None where one number serves all."""
    operation = node.operation
    if not isinstance(operation, ScaleShift) or len(node.shape) != IMAGE:
        return None
    channels, uniform = len(operation.scale), np.ptp(operation.scale) == 0 and np.ptp(operation.offset) == 0
    if not 1 < channels <= FEW_CHANNELS or uniform:
        return None
    kernel = np.diag(operation.scale.astype(np.float32))[np.newaxis, np.newaxis]
    return replace(node, operation=Conv(kernel=kernel, bias=operation.offset.astype(np.float32)))


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
