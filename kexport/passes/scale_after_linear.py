"""A scale-and-shift after a convolution, a transposed one or a dense layer goes into its weights.

BatchNormalization after a convolution, LayerScale after a dense layer, the residual scale of
InceptionResNetV2: ``(W x + b) s + t = (W s) x + (b s + t)``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense, Operation, ScaleShift, TransposedConv
from kexport.passes.contract import Pass, Property, own_feeder
from kexport.passes.rewriting import fold_into_producer


def run(graph: Graph) -> Graph:
    """Fold wherever the linear operation has no activation in between."""
    return fold_into_producer(graph, _fold)


def _fold(producer: Node, node: Node) -> Operation | None:
    linear, scale = producer.operation, node.operation
    if not isinstance(linear, (Conv, Dense, TransposedConv)) or not isinstance(scale, ScaleShift):
        return None
    if not isinstance(linear, TransposedConv) and linear.activation:
        return None
    bias = scale.offset
    if linear.bias is not None:
        bias = (linear.bias.astype(np.float64) * scale.scale + scale.offset).astype(np.float32)
    return replace(linear, kernel=linear.kernel * scale.scale, bias=bias)


def _scales_a_linear_node(graph: Graph, node: Node) -> bool:
    before = own_feeder(graph, node)
    if before is None or not isinstance(node.operation, ScaleShift):
        return False
    linear = before.operation
    return isinstance(linear, TransposedConv) or (isinstance(linear, (Conv, Dense)) and linear.activation is None)


NO_SCALE_AFTER = Property(
    name="no scale-and-shift alone reads a linear node without activation", broken=_scales_a_linear_node
)
PASS = Pass(name="scale after linear", run=run, ensures=(NO_SCALE_AFTER,))
