"""Relu and relu6 become part of the convolution, dense layer or sum before them.

TFLite has them as a field of those operators; ORT fuses them into the convolution kernel.
"""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Add, Conv, Dense, Operation
from kexport.passes import fold_into_producer

ORDER = 35
_FUSED = (Activation.RELU, Activation.RELU6)


def run(graph: Graph) -> Graph:
    """Fuse wherever nobody reads the value before the activation."""
    return fold_into_producer(graph, _fuse)


def _fuse(producer: Node, node: Node) -> Operation | None:
    linear, activate = producer.operation, node.operation
    if not isinstance(linear, (Conv, Dense, Add)) or not isinstance(activate, Activate):
        return None
    if linear.activation is not None or activate.function not in _FUSED:
        return None
    return replace(linear, activation=activate.function)
