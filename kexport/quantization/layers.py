"""Layers by the names that Keras gives them: those that a user names, and the nodes that compute them in int8."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from kexport.errors import UnknownNameError
from kexport.graph import Graph
from kexport.quantization.prepare.assign import assign
from kexport.quantization.prepare.layer_groups import layer_groups


def names(graph: Graph) -> tuple[str, ...]:
    """The Keras layers that compute something, in the order of the network; a nested one is ``outer/inner``."""
    return tuple(dict.fromkeys(name for node in graph for name in node.layers))


def matching(graph: Graph, pattern: str, *, option: str, source: str) -> frozenset[str]:
    """The layers that a name or a glob means; of a nested one its own name is enough, a nested model means all in it.

    Raises UnknownNameError for what ``option`` names and no layer that computes something is called.
    """
    found = meant(graph, pattern)
    if not found:
        known = names(graph)
        legal = dict.fromkeys((*known, *(name.rpartition("/")[2] for name in known)))
        raise UnknownNameError(
            kind=f"layer of {option}", value=pattern, legal=legal, hint=f"kexport list layers {source}"
        )
    return found


def meant(graph: Graph, pattern: str) -> frozenset[str]:
    """As `matching`, and nothing where no layer is called so."""
    known = names(graph)
    own = {name: name.rpartition("/")[2] for name in known}
    exact = frozenset(name for name in known if pattern in (name, own[name]) or name.startswith(f"{pattern}/"))
    return exact or frozenset(name for name in known if fnmatchcase(name, pattern) or fnmatchcase(own[name], pattern))


def nodes(graph: Graph, layers: Collection[str], *, integer_head: bool = False) -> frozenset[str]:
    """The nodes of a rewritten graph that compute the layers: each with what follows it up to the next layer.

    That is what `kexport.quantization.sensitivity` quantizes with a layer.
    """
    groups = {group[0]: group for group in layer_groups(graph, assign(graph, integer_head=integer_head))}
    named: Iterable[str] = (node.name for node in graph if not set(layers).isdisjoint(node.layers))
    return frozenset(each for name in named for each in groups.get(name, (name,)))
