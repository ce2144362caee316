"""What a pass is: a rewrite, the properties of a graph that it needs, and those that hold after it.

`applied` runs one and checks it. A pass that breaks its word is a bug, and never reaches a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kexport.errors import GraphError
from kexport.graph import Graph, Node


@dataclass(frozen=True, kw_only=True)
class Property:
    """Something that holds of every node of a graph; ``broken`` is true of a node for which it does not."""

    name: str
    broken: Callable[[Graph, Node], bool]

    def breaks(self, graph: Graph) -> Iterator[str]:
        """The nodes for which it does not hold."""
        return (node.name for node in graph if self.broken(graph, node))


@dataclass(frozen=True, kw_only=True)
class Pass:
    """``run`` gives an equal graph; ``requires`` has to hold before it, ``ensures`` holds after it."""

    name: str
    run: Callable[[Graph], Graph]
    requires: tuple[Property, ...] = ()
    ensures: tuple[Property, ...] = ()


def applied(each: Pass, graph: Graph) -> Graph:
    """The graph after the pass.

    Raises GraphError if what it requires does not hold before, or what it ensures does not after; if inputs or
    outputs are others, or a node names a layer that was not there.
    """
    _check(f"the pass {each.name!r} was given a graph that it cannot take", each.requires, graph)
    after = each.run(graph)
    _check(f"the pass {each.name!r} did not do what it ensures", each.ensures, after)
    for what, before, now in (
        ("inputs", graph.inputs, after.inputs),
        ("outputs", graph.output_specs, after.output_specs),
    ):
        if before != now:
            raise GraphError(f"the pass {each.name!r} changed the {what} of {graph.name} from {before} to {now}")
    invented = set(_layers(after)) - set(_layers(graph))
    if invented:
        raise GraphError(f"the pass {each.name!r} names layer {min(invented)!r}, which {graph.name} does not have")
    return after


def check_order(passes: Sequence[Pass]) -> None:
    """Raise GraphError for a pass that requires what none before it ensures."""
    ensured: set[str] = set()
    for each in passes:
        missing = [prop.name for prop in each.requires if prop.name not in ensured]
        if missing:
            raise GraphError(f"the pass {each.name!r} requires {missing[0]!r}, which no pass before it ensures")
        ensured |= {prop.name for prop in each.ensures}


def _check(told: str, properties: Iterable[Property], graph: Graph) -> None:
    for prop in properties:
        broken = next(prop.breaks(graph), None)
        if broken is not None:
            raise GraphError(f"{told}: {prop.name!r} does not hold of node {broken!r} of {graph.name}")


def _layers(graph: Graph) -> Iterator[str]:
    return (layer for node in graph for layer in node.layers)


def feeder(graph: Graph, node: Node) -> Node | None:
    """The node that makes the only input of ``node``, if something else than the graph's inputs does."""
    return graph.producers.get(node.inputs[0]) if len(node.inputs) == 1 else None


def own_feeder(graph: Graph, node: Node) -> Node | None:
    """The `feeder` that nobody else reads."""
    found = feeder(graph, node)
    return found if found is not None and graph.only_reader(found.name) is not None else None
