"""What linear nodes of the float network make, before activation, at the positions that `positions` looks at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantizers import Array, Batches, Compile
from kexport.quantizers.observe import LINEAR, apart
from kexport.quantizers.positions import sampler


@dataclass(kw_only=True)
class Target:
    """One node's, batch by batch, in half the bytes: 11 bits are far more than int8 leaves."""

    parts: list[tuple[float, npt.NDArray[np.float16]]] = field(default_factory=list)

    def add(self, made: Array) -> None:
        """One more batch."""
        largest = float(np.abs(made).max(initial=0.0)) or 1.0
        self.parts.append((largest, (made / np.float32(largest)).astype(np.float16)))

    @property
    def whole(self) -> Array:
        """``(images, ..., outputs)``."""
        return np.concatenate([part.astype(np.float32) * np.float32(largest) for largest, part in self.parts])


def targets(
    graph: Graph, batches: Batches, compile_: Compile, *, names: Collection[str], images: int
) -> dict[str, Target]:
    """The targets of the linear nodes ``names``, if the batches hold so many images together."""
    if not names:
        return {}
    whole = apart(graph)
    extra: list[Node] = []
    values: dict[str, str] = {}
    for name in names:
        operation = graph.producers[name].operation
        assert isinstance(operation, (Conv, Dense))
        value = f"{name}{LINEAR}" if f"{name}{LINEAR}" in whole.producers else name
        made = sampler(whole, value, operation, images)
        extra += made
        values[name] = made[-1].name if made else value
    run = compile_(replace(whole, nodes=(*whole.nodes, *extra), outputs={value: value for value in values.values()}))
    found = {name: Target() for name in values}
    for feeds in batches():
        batch = run(feeds)
        for name, value in values.items():
            found[name].add(batch[value])
    return found
