"""How a pass changes a graph: pairs of nodes joined, nodes left out. Every function gives a new graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.operations import Operation

Fold = Callable[[Node, Node], Operation | None]


def fold_into_producer(graph: Graph, fold: Fold) -> Graph:
    """Join nodes with the node that feeds them wherever ``fold`` gives the joint operation.

    Only pairs whose link nobody else reads are offered. The joint node keeps the name of the second
    one, so readers need no change, and the layers of both.
    """
    done: dict[str, Node] = {}
    for node in graph:
        producer = done.get(node.inputs[0]) if len(node.inputs) == 1 else None
        joint = fold(producer, node) if producer and graph.only_reader(producer.name) else None
        if producer and joint:
            del done[producer.name]
            node = join(producer, node, joint)  # noqa: PLW2901 - the joint node takes the node's place
        done[node.name] = node
    return replace(graph, nodes=tuple(done.values()))


def join(producer: Node, node: Node, operation: Operation) -> Node:
    """``node`` computing ``operation`` on the inputs of ``producer``."""
    return replace(node, operation=operation, inputs=producer.inputs, layers=producer.layers + node.layers)


def without(graph: Graph, aliases: dict[str, str]) -> Graph:
    """The graph without the nodes named in ``aliases``; who read them reads the alias instead."""

    def resolve(name: str) -> str:
        while name in aliases:
            name = aliases[name]
        return name

    nodes = tuple(
        replace(node, inputs=tuple(resolve(name) for name in node.inputs)) for node in graph if node.name not in aliases
    )
    return replace(graph, nodes=nodes, outputs={public: resolve(name) for public, name in graph.outputs.items()})
