"""A network in two parts: its images, and the head behind them, which reads one value of each image.

A head is changed more often than what it stands on. What is asked of both is asked of each alone, in a session of its
own: so what the front makes follows from the front alone, bit for bit, whatever the head is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Conv, Dense


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Two graphs: ``back`` reads ``crossing`` alone, which ``front`` makes."""

    front: Graph
    back: Graph
    crossing: str


def parts(graph: Graph) -> Parts | None:
    """The parts of a graph; None where there is no image, nothing behind the last of them, or more than one crossing.

    The crossing is the first value behind the last image that all outputs are made of, and nothing before it is.
    """
    images = [place for place, node in enumerate(graph.nodes) if _is_image(node)]
    later = range(images[-1] + 1, len(graph.nodes) - 1) if images else ()
    place = next((place for place in later if _crosses_alone(graph, place)), None)
    if place is None:
        return None
    node, behind = graph.nodes[place], graph.nodes[place + 1 :]
    return Parts(
        front=replace(graph, nodes=graph.nodes[: place + 1], outputs={node.name: node.name}, output_dtypes={}),
        back=replace(graph, inputs=(TensorSpec(name=node.name, shape=node.shape),), nodes=behind),
        crossing=node.name,
    )


def _is_image(node: Node) -> bool:
    return len(node.shape) == 4 and prod(axis or 1 for axis in node.shape[1:3]) > 1


def _crosses_alone(graph: Graph, place: int) -> bool:
    """Whether all behind a node reads it and nothing before it, and has a kernel."""
    node, behind = graph.nodes[place], graph.nodes[place + 1 :]
    made = {node.name, *(each.name for each in behind)}
    read = {value for each in behind for value in each.inputs}
    shown = set(graph.outputs.values()) - {node.name}
    linear = any(isinstance(each.operation, (Conv, Dense)) for each in behind)
    return linear and node.copies == 1 and read <= made and shown == set(graph.outputs.values()) and shown <= made
