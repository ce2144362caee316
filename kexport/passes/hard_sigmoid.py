"""``relu6(x + 3) / 6`` written as three nodes becomes one hard sigmoid.

MobileNetV3's squeeze-and-excite is written so in `keras.applications`; ORT and LiteRT fuse the single
operation into the convolution before it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, ScaleShift
from kexport.passes.contract import Pass, Property, own_feeder


def run(graph: Graph) -> Graph:
    """Replace the pattern wherever nobody reads its inner values."""
    done: dict[str, Node] = {}
    for node in graph:
        clipped = _only_feeder(graph, done, node)
        shifted = _only_feeder(graph, done, clipped)
        if clipped and shifted and _is_pattern(shifted, clipped, node):
            del done[clipped.name], done[shifted.name]
            done[node.name] = replace(
                node,
                operation=Activate(function=Activation.HARD_SIGMOID),
                inputs=shifted.inputs,
                layers=shifted.layers + clipped.layers + node.layers,
            )
        else:
            done[node.name] = node
    return replace(graph, nodes=tuple(done.values()))


def _only_feeder(graph: Graph, done: dict[str, Node], node: Node | None) -> Node | None:
    if node is None or len(node.inputs) != 1:
        return None
    feeder = done.get(node.inputs[0])
    return feeder if feeder and graph.only_reader(feeder.name) else None


def _is_pattern(shifted: Node, clipped: Node, scaled: Node) -> bool:
    return (
        _is_scale_shift(shifted, scale=1.0, offset=3.0)
        and isinstance(clipped.operation, Activate)
        and clipped.operation.function is Activation.RELU6
        and _is_scale_shift(scaled, scale=1 / 6, offset=0.0)
    )


def _is_scale_shift(node: Node, *, scale: float, offset: float) -> bool:
    operation = node.operation
    return (
        isinstance(operation, ScaleShift)
        and bool(np.all(operation.scale == np.float32(scale)))
        and bool(np.all(operation.offset == np.float32(offset)))
    )


def _in_parts(graph: Graph, node: Node) -> bool:
    clipped = own_feeder(graph, node)
    shifted = own_feeder(graph, clipped) if clipped else None
    return clipped is not None and shifted is not None and _is_pattern(shifted, clipped, node)


WHOLE = Property(name="no hard sigmoid is written as three nodes", broken=_in_parts)
PASS = Pass(name="hard sigmoid", run=run, ensures=(WHOLE,))
