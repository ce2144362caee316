"""Numbers that are compared: a step of int8 there turns an answer over, from 0 to 1.

What makes them keeps its full resolution, from the nearest kernels on. A comparison whose answer chooses between
functions of the very number that is compared, as a rectifier written by hand does, is no such step where both sides
meet: it is left as it is. Equality always is one.
"""

from __future__ import annotations

from kexport.graph import Graph, Node
from kexport.operations import Compare, Comparison, Conv, Dense, Select

_SAME = (Comparison.EQUAL, Comparison.NOT_EQUAL)


def asked(graph: Graph) -> frozenset[str]:
    """The nodes that make what is compared, those with the nearest kernels included."""
    questions = [node for node in graph if isinstance(node.operation, Compare) and _is_step(graph, node)]
    return frozenset(name for node in questions for value in node.inputs for name in _makers(graph, value))


def _is_step(graph: Graph, node: Node) -> bool:
    assert isinstance(node.operation, Compare)
    if node.operation.kind in _SAME:
        return True
    readers = graph.consumers[node.name]
    return not readers or any(not _joins(graph, reader, node) for reader in readers)


def _joins(graph: Graph, reader: Node, question: Node) -> bool:
    """Whether a choice is one between functions of what the question compares."""
    if not isinstance(reader.operation, Select):
        return False
    given = set(question.inputs)
    sides = [value for value in reader.inputs if value != question.name]
    return bool(sides) and all(given & {side, *_before(graph, side)} for side in sides)


def _before(graph: Graph, value: str) -> set[str]:
    """What a value is computed from, as far as the nearest kernels and what these read."""
    return {name for maker in _makers(graph, value) for name in graph.producers[maker].inputs}


def _makers(graph: Graph, value: str) -> set[str]:
    """The node that makes a value and those before it, up to the nearest kernels."""
    found: set[str] = set()
    open_ = [value]
    while open_:
        node = graph.producers.get(name := open_.pop())
        if node is not None and name not in found:
            found.add(name)
            open_ += () if isinstance(node.operation, (Conv, Dense)) else node.inputs
    return found


__all__ = ["asked"]
