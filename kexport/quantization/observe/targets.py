"""What linear nodes of the float network make, before activation, at the positions that `positions` looks at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization import Array, Batches, Compile
from kexport.quantization.known import Memory, digest, made_by
from kexport.quantization.observe.parts import Parts, parts
from kexport.quantization.observe.positions import grid, image_size, sampler
from kexport.quantization.observe.sections import joined, unjoined
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
    graph: Graph,
    batches: Batches,
    compile_: Compile,
    *,
    names: Collection[str],
    images: int,
    known: Collection[str] = (),
    memory: Memory | None = None,
) -> dict[str, Target]:
    """The targets of the linear nodes ``names`` but those ``known``, if the batches hold so many images together.

    Images are cut to the grid by the run itself, so that it holds no more than one batch's values at a time. The known
    are asked for as well wherever a run is needed: another question could round otherwise. Where all of the front are
    known, what crosses to the head is what the ``memory`` has.
    """
    wanted = [name for name in names if name not in known]
    if not wanted:
        return {}
    two = parts(graph)
    if two is None:
        found, _ = _run(graph, batches, compile_, names, images=images)
        return {name: found[name] for name in wanted}
    front = [name for name in names if name in two.front.producers]
    key = _crossing_key(two, front)
    kept = None if memory is None or set(front) & set(wanted) else memory.get(key)
    found, crossing = {}, [] if kept is None else unjoined(kept)
    if kept is None:
        found, crossing = _run(two.front, batches, compile_, front, images=images, shown=two.crossing)
        if memory is not None:
            memory.put(key, joined(crossing))
    again = [{two.crossing: rows} for rows in crossing]
    behind = [name for name in names if name in two.back.producers]
    more, _ = _run(two.back, lambda: again, compile_, behind, images=images)
    return {name: {**found, **more}[name] for name in wanted}


def _crossing_key(two: Parts, front: Sequence[str]) -> str:
    made = made_by(two.front)
    return digest("crossing", made[two.crossing], [made[name] for name in front])


def _run(
    graph: Graph, batches: Batches, compile_: Compile, names: Collection[str], *, images: int, shown: str | None = None
) -> tuple[dict[str, Target], list[Array]]:
    """The targets of ``names`` by one run over all batches, and what it makes of ``shown``, batch by batch."""
    whole = apart(graph)
    linear = {name: whole.producers.get(f"{name}{LINEAR}", whole.producers[name]) for name in names}
    extra = {name: _sampler(whole, node, images) for name, node in linear.items()}
    ends = {name: (extra[name] or (node,))[-1].name for name, node in linear.items()}
    nodes = (*whole.nodes, *(node for added in extra.values() for node in added))
    outputs = dict.fromkeys((*ends.values(), *(() if shown is None else (shown,))))
    found: dict[str, Target] = {name: Target() for name in names}
    crossing: list[Array] = []
    run = compile_(replace(whole, nodes=nodes, outputs={value: value for value in outputs}))
    for feeds in batches() if outputs else ():
        made = run(feeds)
        crossing += [] if shown is None else [made[shown]]
        for name, value in ends.items():
            found[name].add(made[value] if extra[name] else _cut(linear[name], made[value], images))
    return found, crossing


def _linear(node: Node) -> Conv | Dense:
    assert isinstance(node.operation, (Conv, Dense)), f"{node.name} has no kernel"
    return node.operation


def _sampler(graph: Graph, node: Node, images: int) -> tuple[Node, ...]:
    """Nodes that cut an image to the grid, the last of them makes it; none for what is no image."""
    return sampler(graph, node.name, _linear(node), images) if len(node.shape) == 4 else ()


def _cut(node: Node, made: Array, images: int) -> Array:
    size = image_size(node)
    return grid(_linear(node), size, images).cut(made, size)
