"""Which int8 nodes belong to which layer: a convolution or dense layer, and what follows it up to the next one."""

from __future__ import annotations

from collections.abc import Mapping

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization.plan import Precision
from kexport.quantization.scales import silu
from kexport.quantization.scales.bounds import split_gate


def layer_groups(graph: Graph, precisions: Mapping[str, Precision]) -> tuple[tuple[str, ...], ...]:
    """Every quantized node once, in groups, each in the order of the graph and led by its layer.

    A node that is not linear belongs to the last quantized layer that it depends on, so that a sum of two branches
    goes with the later one; one that depends on none leads a group of its own.
    """
    place = {node.name: index for index, node in enumerate(graph)}
    leaders: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for node in graph:
        before = [leaders[value] for value in node.inputs if value in leaders]
        leads = node.name in precisions and (_is_layer(graph, node) or not before)
        if leads:
            leaders[node.name] = node.name
        elif before:
            leaders[node.name] = max(before, key=place.__getitem__)
        if node.name in precisions:
            groups.setdefault(leaders[node.name], []).append(node.name)
    return tuple(tuple(names) for names in groups.values())


def _is_layer(graph: Graph, node: Node) -> bool:
    """Whether the node holds weights of the network; the gate of a hard swish or silu is part of an activation."""
    if not isinstance(node.operation, (Conv, Dense)) or silu.undoes(graph, node):
        return False
    gate = split_gate(graph, node.inputs[0])
    return gate is None or gate.name != node.name
