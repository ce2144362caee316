"""A reshape around a global pooling becomes its ``keepdims``: squeeze-and-excite, classifier heads."""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import GlobalPool, Operation, Reshape
from kexport.passes.contract import Pass, Property, own_feeder
from kexport.passes.rewriting import fold_into_producer


def run(graph: Graph) -> Graph:
    """Fold reshapes between ``(N, C)`` and ``(N, 1, 1, C)`` into the pooling."""
    return fold_into_producer(graph, _fold)


def _fold(producer: Node, node: Node) -> Operation | None:
    pool, reshape = producer.operation, node.operation
    if not isinstance(pool, GlobalPool) or not isinstance(reshape, Reshape):
        return None
    channels = producer.shape[-1]
    if reshape.shape == (1, 1, channels):
        return replace(pool, keepdims=True)
    return replace(pool, keepdims=False) if reshape.shape == (channels,) else None


def _reshapes_a_pool(graph: Graph, node: Node) -> bool:
    before, reshape = own_feeder(graph, node), node.operation
    if before is None or not isinstance(before.operation, GlobalPool) or not isinstance(reshape, Reshape):
        return False
    return reshape.shape in ((before.shape[-1],), (1, 1, before.shape[-1]))


POOLED_SHAPE = Property(name="a global pooling has the shape that is read of it", broken=_reshapes_a_pool)
PASS = Pass(name="global pool shape", run=run, ensures=(POOLED_SHAPE,))
