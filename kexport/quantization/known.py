"""What was decided before for the same nodes: found again by the content of everything that it follows from.

The key of a node is a digest of its operation, of the scales and precisions around it, of what the float network and
the quantized one make of the calibration images up to there, and of what was asked. So a network with another head
shares the keys of all nodes before the head, and of no other; nothing is found by a name. What is found is what would
be computed, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.quantization import Batches, Feeds
from kexport.quantization.plan import Kernel

if TYPE_CHECKING:
    from kexport.quantization.network import Network

Arrays = Mapping[str, npt.NDArray[Any]]
MOST_KEPT_BYTES = 1 << 20
"""Of what a node makes of all images: larger values are made again where they are needed."""
MOST_HELD_BYTES = 1 << 26
"""Of the images that are read once: more of them are read again where they are needed."""
MADE, NUMBERS, SCALES, BIAS, REAL_BIAS = "made", "numbers", "scales", "bias", "real_bias"


class Memory(Protocol):
    """Where arrays are kept between runs by their keys; it may forget any of them at any time."""

    def get(self, key: str) -> Arrays | None:
        """What was put there, or None."""
        ...

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep it, if that can be."""
        ...


class Nothing:
    """Remembers nothing."""

    def get(self, key: str) -> Arrays | None:
        """Never there."""
        del key
        return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Forgotten at once."""
        del key, arrays


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known before a walk: the ``keys`` of nodes, what was ``found`` by them, and which values are ``needed``.

    A value is needed where a node that reads it has to be run.
    """

    keys: Mapping[str, str]
    found: Mapping[str, Arrays]
    needed: frozenset[str]

    def kernel(self, name: str) -> bool:
        """Whether the kernel of a node is known."""
        return NUMBERS in self.found.get(name, {})


class Seen:
    """Batches that are told apart by their content: a digest of all of them.

    They are read once and held where that takes little; larger sets are read each time.
    """

    def __init__(self, batches: Batches, names: Sequence[str]) -> None:
        self._batches, self._names = batches, names
        self._held: list[Feeds] = []
        self._whole = False

    def __call__(self) -> Iterator[Feeds]:
        """The batches."""
        if self._whole:
            yield from self._held
            return
        held: list[Feeds] = []
        room = MOST_HELD_BYTES
        for feeds in self._batches():
            room -= sum(array.nbytes for array in feeds.values())
            held = [*held, feeds] if room >= 0 else []
            yield feeds
        self._held, self._whole = held, room >= 0

    @cached_property
    def digest(self) -> str:
        """Of all batches."""
        found = blake2b(digest_size=32)
        for feeds in self():
            _feed(found, [feeds[name] for name in self._names])
        return found.hexdigest()


class OfImages:
    """A memory of what follows from some images: their digest is a part of every key."""

    def __init__(self, memory: Memory, images: Seen) -> None:
        self._memory, self._images = memory, images

    def get(self, key: str) -> Arrays | None:
        """What was put there for these images."""
        return self._memory.get(digest(self._images.digest, key))

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep it for these images."""
        self._memory.put(digest(self._images.digest, key), arrays)


def recall(
    network: Network, memory: Memory, *, asked: Callable[[Node], object], kernels: Callable[[Node], bool]
) -> Known:
    """What the memory has of a network on its images; ``asked`` is what else a node follows from.

    ``kernels`` says which nodes get one. What is neither a kernel nor needed is not looked for.
    """
    keys = {} if isinstance(memory, Nothing) else _keys(network, asked)
    found: dict[str, Arrays] = {}
    needed: set[str] = set()
    for node in reversed(network.graph.nodes):
        wanted = node.name in keys and (kernels(node) or node.name in needed)
        has = (memory.get(keys[node.name]) if wanted else None) or {}
        found |= {node.name: has} if has else {}
        if (kernels(node) and NUMBERS not in has) or (node.name in needed and MADE not in has):
            needed.update(node.inputs)
    return Known(keys=keys, found=found, needed=frozenset(needed))


def entry(kernel: Kernel | None, bias: npt.NDArray[Any] | None, made: Any) -> Arrays:
    """What is to be remembered of a node; nothing of large values, which wait on disk or take too much of it."""
    kept: dict[str, npt.NDArray[Any]] = {}
    if kernel is not None and bias is not None:
        kept = {NUMBERS: kernel.numbers, SCALES: kernel.scales, REAL_BIAS: bias}
        kept |= {} if kernel.bias is None else {BIAS: kernel.bias}
    if isinstance(made, np.ndarray) and made.nbytes <= MOST_KEPT_BYTES:
        kept[MADE] = made
    return kept


def kernel_of(arrays: Arrays) -> Kernel:
    """The kernel of an entry. Raises GraphError for what is none."""
    return Kernel(numbers=arrays[NUMBERS], scales=arrays[SCALES], bias=arrays.get(BIAS))


def made_by(graph: Graph) -> dict[str, str]:
    """A digest of all that every value of a float network follows from, but for what the network is fed."""
    found = {spec.name: digest(place, spec.shape) for place, spec in enumerate(graph.inputs)}
    for node in graph:
        found[node.name] = digest(node.operation, node.shape, node.copies, [found[value] for value in node.inputs])
    return found


def _keys(network: Network, asked: Callable[[Node], object]) -> dict[str, str]:
    graph, values, real = network.graph, network.values, made_by(network.graph)
    walked = {spec.name: real[spec.name] for spec in graph.inputs}
    for node in graph:
        name = node.name
        seen = network.observed.get(name)
        walked[name] = digest(
            real[name],
            [(walked[v], graph.shapes[v], values.get(v), network.waits_as_int8(v)) for v in node.inputs],
            values.get(name),
            network.waits_as_int8(name),
            network.precisions.get(name),
            None if seen is None else seen.linear,
            asked(node),
        )
    return {node.name: walked[node.name] for node in graph}


def digest(*parts: object) -> str:
    """Of values by their content, as a key."""
    found = blake2b(digest_size=32)
    _feed(found, parts)
    return found.hexdigest()


def _feed(found: blake2b, value: Any) -> None:
    """Every value in one way that no other has: its type, its size, its content. TypeError for what has no such way."""
    if isinstance(value, np.ndarray):
        found.update(f"array {value.dtype.str} {value.shape};".encode())
        found.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    elif is_dataclass(value):
        found.update(f"{type(value).__qualname__} {len(fields(value))};".encode())
        for each in fields(value):
            _feed(found, getattr(value, each.name))
    elif isinstance(value, (tuple, list)):
        found.update(f"list {len(value)};".encode())
        for each in value:
            _feed(found, each)
    elif isinstance(value, Mapping):
        _feed(found, [list(each) for each in value.items()])
    else:
        if not isinstance(value, (str, int, float, Enum, np.generic, type(None))):
            raise TypeError(f"{type(value).__qualname__} cannot be part of a key")
        text = repr(value).encode()
        found.update(f"{type(value).__qualname__} {len(text)};".encode() + text)
