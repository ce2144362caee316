"""Step: run every pass over a graph, in order."""

from __future__ import annotations

from kexport.graph import Graph
from kexport.passes import all_passes


def optimize(graph: Graph) -> Graph:
    """An equal graph with fewer and cheaper nodes; the outputs' names and shapes stay."""
    for module in all_passes():
        graph = module.run(graph)
    return graph
