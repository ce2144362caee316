"""Drops nodes that no output depends on."""

from __future__ import annotations

from dataclasses import replace

from kexport.graph import Graph, Node
from kexport.passes.contract import Pass, Property


def run(graph: Graph) -> Graph:
    """Walk back from the outputs; keep what is met."""
    needed = set(graph.outputs.values())
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return replace(graph, nodes=tuple(reversed(kept)))


ALL_READ = Property(
    name="every node is read or shown",
    broken=lambda graph, node: not graph.consumers[node.name] and node.name not in graph.outputs.values(),
)
PASS = Pass(name="drop unread", run=run, ensures=(ALL_READ,))
