"""Which node computes in which precision."""

from __future__ import annotations

from collections.abc import Collection

from kexport.graph import Graph, Node
from kexport.operations import Add, Conv, Dense
from kexport.quantization.plan import Precision, has_int8_form, shares_scale
from kexport.quantization.prepare import questions
from kexport.quantization.scales import bounds, ranges


def assign(
    graph: Graph,
    *,
    keep_float: Collection[str] = (),
    stored: Collection[str] = (),
    integer_head: bool = False,
) -> dict[str, Precision]:
    """The precision of every node that is not FLOAT32; ``keep_float`` names nodes that must stay so.

    What the float nodes ``stored`` make is read as int8, as if they were int8 themselves.
    What makes an output keeps its full resolution: a last dense layer has int8 weights and float logits, unless
    ``integer_head`` makes it int8 as all others are. What only moves numbers between float nodes stays float, as
    conversions would cost more than they save. What is compared stays float with its kernels (`questions`), but for a
    dense layer, which is as the last one is: float numbers of int8 weights.
    """
    chosen: dict[str, Precision] = {}
    asked = questions.asked(graph)
    for node in graph:
        long_sum = isinstance(node.operation, Add) and len(node.inputs) != 2
        if node.name not in asked and node.name not in keep_float and has_int8_form(node.operation) and not long_sum:
            chosen[node.name] = Precision.INT8
    first = _float_inputs(graph)
    chosen = {name: how for name, how in chosen.items() if name not in first}
    for name in _sharing_sigmoids(graph, chosen):
        del chosen[name]
    while True:
        idle = [node for node in graph if _idle(graph, node, chosen, stored)]
        if not idle:
            break
        for node in idle:
            del chosen[node.name]
    if not integer_head:
        compared = [name for name in asked - {*keep_float} if isinstance(graph.producers[name].operation, Dense)]
        chosen |= dict.fromkeys(heads(graph, chosen | dict.fromkeys(compared, Precision.WEIGHTS)), Precision.WEIGHTS)
    return chosen


def heads(graph: Graph, chosen: dict[str, Precision]) -> frozenset[str]:
    """The dense layers whose results no int8 node reads."""
    return frozenset(
        node.name
        for node in graph
        if isinstance(node.operation, Dense) and node.name in chosen and not _read_as_int8(graph, node, chosen)
    )


def _sharing_sigmoids(graph: Graph, chosen: dict[str, Precision]) -> list[str]:
    """Sigmoids that share their scale, which is fixed to [0, 1), with wider values, as through a Concat."""
    return [
        name
        for group in ranges.groups(graph, chosen)
        if not bounds.within_unit(graph, group)
        for name in group
        if name in chosen and bounds.is_sigmoid(graph.producers[name].operation)
    ]


def _float_inputs(graph: Graph) -> set[str]:
    """Nodes other than convolutions and dense layers that read the graph's inputs: they prepare the image."""
    names = {spec.name for spec in graph.inputs}
    return {
        node.name
        for node in graph
        if not isinstance(node.operation, (Conv, Dense)) and any(value in names for value in node.inputs)
    }


def _read_as_int8(graph: Graph, node: Node, chosen: dict[str, Precision]) -> bool:
    return any(reader.name in chosen for reader in graph.consumers[node.name])


def _idle(graph: Graph, node: Node, chosen: dict[str, Precision], stored: Collection[str]) -> bool:
    """An int8 node that computes nothing worth converting for: all that feeds it, or all that reads it, is float."""
    if chosen.get(node.name) is not Precision.INT8 or isinstance(node.operation, (Conv, Dense)):
        return False
    fed = any(value in chosen or value in stored for value in node.inputs)
    read = _read_as_int8(graph, node, chosen)
    moves = shares_scale(node.operation)
    return not fed if not moves else not (fed and read) and not (fed and node.name in graph.outputs.values())
