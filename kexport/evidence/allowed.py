"""Operators that a target allows: a file with another one is refused, by the layer that it came from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from kexport.errors import UnsupportedError
from kexport.graph import Graph
from kexport.registry import Format


def check(path: Path, form: Format, operators: Collection[str], graph: Graph | None) -> None:
    """Raise UnsupportedError, with every operator that is not among ``operators`` and the first layer of each.

    Nothing is checked where none are named. ``graph`` tells Keras layers from the steps that they became.
    """
    if not operators or form.contents is None:
        return
    places = form.contents(path).places
    wrong = [f"{name} of layer {_layer(place, graph)!r}" for name, place in places.items() if name not in operators]
    if wrong:
        raise UnsupportedError(
            f"operators that are not allowed: {', '.join(sorted(wrong))}; allowed are {', '.join(operators)}",
            hint="another network or scheme, or a target that allows them: kexport list targets",
        )


def _layer(place: str, graph: Graph | None) -> str:
    """The Keras layer of a value: its name, less what the steps of writing have added to it."""
    place = graph.outputs.get(place, place) if graph is not None else place
    known = {layer for node in graph for layer in (node.name, *node.layers)} if graph is not None else set()
    parts = place.replace(":", "/").split("/")
    prefixes = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in known), parts[0])
