"""A reshape around a global pooling becomes its ``keepdims``: squeeze-and-excite, classifier heads."""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import GlobalPool, Operation, Reshape
from kexport.passes import fold_into_producer

ORDER = 60


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
