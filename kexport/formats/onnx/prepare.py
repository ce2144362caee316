"""What readers of ONNX want rewritten in the graph before it is written. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Clip, Conv, Dense

LINE = "/line"
"""What the name of a layer gets that is a sixth of itself and a half."""
Pair = Callable[[Node, Node], bool]


def every(source: Node, gate: Node) -> bool:
    """No pair is left as it is."""
    del source, gate
    return True


def prepare(graph: Graph, *, where: Pair = every) -> Graph:
    """Hard sigmoids behind a convolution or dense layer: the sixth and the half go into its weights, a clip stays.

    ``where`` says of a layer and its gate whether they may be changed.

    OpenCV 4 and 5 take ``x * HardSigmoid(y)`` for the hard swish of ``y``, whatever ``x`` is: so a network with
    squeeze-and-excite would be wrong there, in silence. ONNX Runtime takes as long for either.
    """
    folded: dict[str, tuple[Node, ...]] = {}
    for node in graph:
        pair = _gate(graph, node, where)
        if pair is not None:
            folded[node.inputs[0]], folded[node.name] = pair[:1], pair[1:]
    nodes = tuple(new for node in graph for new in folded.get(node.name, (node,)))
    return replace(graph, nodes=nodes) if folded else graph


def _gate(graph: Graph, node: Node, where: Pair) -> tuple[Node, Node] | None:
    """The linear node with the line of the hard sigmoid in it, and the clip."""
    if not isinstance(node.operation, Activate) or node.operation.function is not Activation.HARD_SIGMOID:
        return None
    source = graph.producers.get(node.inputs[0])
    if source is None or graph.only_reader(source.name) is not node or not where(source, node):
        return None
    operation = source.operation
    if not isinstance(operation, (Conv, Dense)) or operation.activation is not None:
        return None
    bias = 0.0 if operation.bias is None else operation.bias.astype(np.float64)
    line = replace(
        operation,
        kernel=(operation.kernel.astype(np.float64) / 6).astype(np.float32),
        bias=(np.zeros(operation.kernel.shape[-1]) + bias / 6 + 0.5).astype(np.float32),
    )
    name = f"{source.name}{LINE}"
    clip = replace(node, operation=Clip(minimum=0.0, maximum=1.0), inputs=(name,))
    return replace(source, name=name, operation=line), clip
