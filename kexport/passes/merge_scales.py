"""Two scale-and-shift in a row become one: Rescaling, Normalization and BatchNormalization."""

from __future__ import annotations

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Operation, ScaleShift
from kexport.passes.contract import Pass, Property, own_feeder
from kexport.passes.rewriting import fold_into_producer


def run(graph: Graph) -> Graph:
    """Merge every chain; products are computed in float64."""
    return fold_into_producer(graph, _merge)


def _merge(producer: Node, node: Node) -> Operation | None:
    first, second = producer.operation, node.operation
    if not isinstance(first, ScaleShift) or not isinstance(second, ScaleShift):
        return None
    scale = first.scale.astype(np.float64) * second.scale
    offset = first.offset.astype(np.float64) * second.scale + second.offset
    return ScaleShift(scale=scale.astype(np.float32), offset=offset.astype(np.float32))


def _in_a_row(graph: Graph, node: Node) -> bool:
    first = own_feeder(graph, node)
    return isinstance(node.operation, ScaleShift) and first is not None and isinstance(first.operation, ScaleShift)


SINGLE = Property(name="no scale-and-shift is read by another one alone", broken=_in_a_row)
PASS = Pass(name="merge scales", run=run, ensures=(SINGLE,))
