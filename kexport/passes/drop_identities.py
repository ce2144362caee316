"""Drops what changes nothing: scale 1 with shift 0, reshapes to the same shape, empty padding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import NO_PADDING, Crop, Operation, Pad, Reshape, ScaleShift, Shape
from kexport.passes.contract import Pass, Property
from kexport.passes.rewriting import without


def run(graph: Graph) -> Graph:
    """Readers of a dropped node read its input."""
    shapes = graph.shapes
    aliases = {node.name: node.inputs[0] for node in graph if _is_identity(node, node.operation, shapes)}
    return without(graph, aliases)


def _is_identity(node: Node, operation: Operation, shapes: Mapping[str, Shape]) -> bool:
    if isinstance(operation, ScaleShift):
        return bool(np.all(operation.scale == 1) and not np.any(operation.offset))
    if isinstance(operation, Pad):
        return operation.padding == NO_PADDING
    if isinstance(operation, Crop):
        return operation.cropping == NO_PADDING
    return isinstance(operation, Reshape) and shapes[node.inputs[0]] == node.shape


EVERY_NODE_CHANGES = Property(
    name="every node changes something",
    broken=lambda graph, node: _is_identity(node, node.operation, graph.shapes),
)
PASS = Pass(name="drop identities", run=run, ensures=(EVERY_NODE_CHANGES,))
