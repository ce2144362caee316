"""Relu and relu6 become part of the convolution, dense layer or sum before them.

TFLite has them as a field of those operators; ORT fuses them into the convolution kernel.
"""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import Activate, Activation, Add, Conv, Dense, Operation
from kexport.passes.contract import Pass, Property, own_feeder
from kexport.passes.rewriting import fold_into_producer
from kexport.passes.scale_after_linear import NO_SCALE_AFTER

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


def _loose(graph: Graph, node: Node) -> bool:
    before, activate = own_feeder(graph, node), node.operation
    if before is None or not isinstance(activate, Activate) or activate.function not in _FUSED:
        return False
    return isinstance(before.operation, (Conv, Dense, Add)) and before.operation.activation is None


FUSED = Property(name="relu and relu6 are part of the linear node or sum that they alone read", broken=_loose)
PASS = Pass(name="fuse activation", run=run, requires=(NO_SCALE_AFTER,), ensures=(FUSED,))
