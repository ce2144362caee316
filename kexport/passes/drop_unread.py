"""Drops nodes that no output depends on."""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node

ORDER = 90


def run(graph: Graph) -> Graph:
    """Walk back from the outputs; keep what is met."""
    needed = set(graph.outputs.values())
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return replace(graph, nodes=tuple(reversed(kept)))
