"""Zero padding before a convolution or a maximum becomes the padding of the window itself.

Exact for every convolution. Exact for a maximum only where the padded value is known to be at least
zero (it comes from a relu or the like) and every window still sees a real pixel: padding of a window
never wins, a written zero might.
"""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import Activate, Add, Conv, Dense, Operation, Pad, Padding, Pool, PoolKind
from kexport.passes import drop_unread
from kexport.passes.contract import Pass, Property, feeder


def run(graph: Graph) -> Graph:
    """Merge into every reader that allows it; a padding that nobody reads any more is dropped."""
    nodes = tuple(_merge(graph, node) for node in graph)
    return drop_unread.run(replace(graph, nodes=nodes))


def _merge(graph: Graph, node: Node) -> Node:
    padded = feeder(graph, node)
    if padded is None or not isinstance(padded.operation, Pad):
        return node
    operation = _with_padding(node.operation, padded.operation.padding, graph.producers.get(padded.inputs[0]))
    if operation is None:
        return node
    merged = replace(node, operation=operation, inputs=padded.inputs, layers=padded.layers + node.layers)
    return _merge(graph, merged)  # there may be another padding before it


def _with_padding(operation: Operation, padding: Padding, source: Node | None) -> Operation | None:
    if isinstance(operation, Conv):
        return replace(operation, padding=_sum(operation.padding, padding))
    if isinstance(operation, Pool) and operation.kind is PoolKind.MAX and source and _non_negative(source):
        total = _sum(operation.padding, padding)
        sees_pixels = all(max(total[axis]) < operation.size[axis] for axis in (0, 1))
        return replace(operation, padding=total) if sees_pixels else None
    return None


def _sum(first: Padding, second: Padding) -> Padding:
    (a, b), (c, d) = first
    (e, f), (g, h) = second
    return (a + e, b + f), (c + g, d + h)


def _non_negative(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, Activate):
        return operation.function.non_negative
    if isinstance(operation, (Conv, Dense, Add)):
        return operation.activation is not None and operation.activation.non_negative
    return False


def _reads_a_pad(graph: Graph, node: Node) -> bool:
    before = feeder(graph, node)
    return isinstance(node.operation, Conv) and before is not None and isinstance(before.operation, Pad)


NO_PAD_BEFORE_CONVOLUTION = Property(name="no convolution reads a padding", broken=_reads_a_pad)
PASS = Pass(name="pad into window", run=run, ensures=(NO_PAD_BEFORE_CONVOLUTION,))
