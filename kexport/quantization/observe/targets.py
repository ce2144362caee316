"""What linear nodes of the float network make, before activation, at the positions that `positions` looks at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization import Array, Batches, Compile
from kexport.quantization.observe.positions import grid, image_size, sampler
from kexport.quantization.observe.statistics import LINEAR, apart


@dataclass(frozen=True, kw_only=True)
class Target:
    """One node's, batch by batch, in half the bytes: 11 bits of every channel's largest are far more than int8 leaves.

    Each part is the channels' largest magnitudes, ``(outputs,)``, and ``(images, rows, columns, outputs)`` in them.
    """

    parts: list[tuple[Array, npt.NDArray[np.float16]]] = field(default_factory=list)

    def add(self, made: Array) -> None:
        """One more batch."""
        largest = np.abs(made).max(axis=(0, 1, 2))
        largest[largest == 0.0] = 1.0
        self.parts.append((largest, (made / largest).astype(np.float16)))

    @property
    def whole(self) -> Array:
        """``(images, rows, columns, outputs)``, float32."""
        return np.concatenate([part * largest for largest, part in self.parts])


def targets(
    graph: Graph, batches: Batches, compile_: Compile, *, names: Collection[str], images: int
) -> dict[str, Target]:
    """The targets of the linear nodes ``names``, if the batches hold so many images together.

    Images are cut to the grid by the run itself, so that it holds no more than one batch's values at a time.
    """
    if not names:
        return {}
    whole = apart(graph)
    linear = {name: whole.producers.get(f"{name}{LINEAR}", whole.producers[name]) for name in names}
    extra = {name: _sampler(whole, node, images) for name, node in linear.items()}
    shown = {name: (extra[name] or (node,))[-1].name for name, node in linear.items()}
    nodes = (*whole.nodes, *(node for added in extra.values() for node in added))
    run = compile_(replace(whole, nodes=nodes, outputs={value: value for value in shown.values()}))
    found = {name: Target() for name in names}
    for feeds in batches():
        made = run(feeds)
        for name, value in shown.items():
            found[name].add(made[value] if extra[name] else _cut(linear[name], made[value], images))
    return found


def _linear(node: Node) -> Conv | Dense:
    assert isinstance(node.operation, (Conv, Dense)), f"{node.name} has no kernel"
    return node.operation


def _sampler(graph: Graph, node: Node, images: int) -> tuple[Node, ...]:
    """Nodes that cut an image to the grid, the last of them makes it; none for what is no image."""
    return sampler(graph, node.name, _linear(node), images) if len(node.shape) == 4 else ()


def _cut(node: Node, made: Array, images: int) -> Array:
    size = image_size(node)
    return grid(_linear(node), size, images).cut(made, size)
