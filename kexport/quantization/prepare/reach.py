"""What a factor on the channels of a linear node reaches: the values that scale along, the nodes that undo it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activation, Conv, Dense, GlobalPool, Multiply, Pad, Pool, Reshape, ScaleShift
from kexport.quantization.plan import Precision, shares_scale
from kexport.quantization.scales.bounds import split_gate
from kexport.quantization.scales.silu import Silu
from kexport.quantization.scales.silu import find as find_silu

MAPS = 4  # axes of what a convolution makes
MANY_PLACES = 3000  # of an image, as of 56 x 56: a hundred images of so many tell how large a channel becomes


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A linear node that undoes the factors: it reads ``value``, into which ``share`` of the maker's noise comes.

    ``stored`` where the value is rounded again, at a scale of its own.
    """

    node: Node
    value: str
    share: float
    stored: bool


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Everything between a linear node and its linear readers: ``values`` scale along, ``readers`` undo it.

    ``gate`` is the addition of a split hard swish in between, ``silu`` a silu: both pass the factors on at the cost of
    a convolution of one tap.
    """

    values: tuple[str, ...]
    readers: tuple[Reader, ...]
    gate: Node | None = None
    silu: Silu | None = None

    @property
    def costs(self) -> bool:
        """Whether passing the factors on takes time."""
        return self.gate is not None or self.silu is not None


def every_reach(graph: Graph, name: str) -> Reach | None:
    """The reach of a node that no hard swish or silu reads, whatever computes in which precision."""
    reach = reach_of(graph, graph.producers[name], dict.fromkeys(graph.producers, Precision.INT8))
    return None if reach is None or reach.costs else reach


def reach_of(graph: Graph, node: Node, precisions: Mapping[str, Precision]) -> Reach | None:
    """The reach of an int8 node; None where it is not linear, or not all that reads it can undo a factor.

    Through relu6 a factor passes in large images alone: it moves the six to what was seen, and cuts what other images
    make. Late channels stand for what few images show. A trained EfficientNet-Lite0 has 18.9 dB at the logits of other
    images with factors everywhere, 25.7 with them in large images or nowhere; MobileNet 0.25 has 25.1, 24.4 with none.
    """
    operation = node.operation
    if not isinstance(operation, (Conv, Dense)) or precisions.get(node.name) is not Precision.INT8:
        return None
    if operation.activation not in (None, Activation.RELU) and not _six_is_known(graph, node):
        return None
    gate, silu = _added(split_gate(graph, node.name)), find_silu(graph, node.name)
    silu = None if silu is None or silu.undo is not None or len(node.shape) != MAPS else silu
    start = _product(graph, node, gate) if gate else silu.product.name if silu else node.name
    found = _readers(graph, start, precisions, stored=silu is not None)
    if found is None or node.name in graph.outputs.values():
        return None
    values, readers = found
    return Reach(values=tuple(dict.fromkeys((node.name, *values))), readers=tuple(readers), gate=gate, silu=silu)


def _six_is_known(graph: Graph, node: Node) -> bool:
    """Whether a relu6 is that of a large image: how far below six its channels stay is known."""
    activation = getattr(node.operation, "activation", None)
    return activation is Activation.RELU6 and _positions(graph, node.name) >= MANY_PLACES


def _added(gate: Node | None) -> Node | None:
    """The gate, if an addition makes it; one that is a convolution already is a reader like any other."""
    return gate if gate is not None and isinstance(gate.operation, ScaleShift) else None


def _product(graph: Graph, node: Node, gate: Node) -> str:
    (product,) = [reader for reader in graph.consumers[node.name] if reader is not gate]
    return product.name


Found = tuple[list[str], list[Reader]]


def _readers(
    graph: Graph, value: str, precisions: Mapping[str, Precision], *, share: float = 1.0, stored: bool = False
) -> Found | None:
    if value in graph.outputs.values():
        return None
    values, readers = [value], []
    for reader in graph.consumers[value]:
        operation = reader.operation
        if reader.name not in precisions:
            return None
        if isinstance(operation, (Conv, Dense)):
            readers.append(Reader(node=reader, value=value, share=share, stored=stored))
            continue
        if not _passes_on(graph, reader, value):
            return None
        averaged = share / _positions(graph, value) if isinstance(operation, GlobalPool) else share
        again = stored or not shares_scale(operation)
        further = _readers(graph, reader.name, precisions, share=averaged, stored=again)
        if further is None:
            return None
        values += further[0]
        readers += further[1]
    return (values, readers) if len({reader.node.name for reader in readers}) == len(readers) else None


def _passes_on(graph: Graph, reader: Node, value: str) -> bool:
    """Whether the reader's channels are the value's times something that does not depend on its scale."""
    operation = reader.operation
    if isinstance(operation, Reshape):
        return graph.shapes[value][1:3] == (1, 1) and reader.shape[-1] == graph.shapes[value][-1]
    if isinstance(operation, Multiply):
        other = [each for each in reader.inputs if each != value]
        return len(other) == 1 and reader.shape == graph.shapes[value] and _behind_linear(graph, other[0])
    return isinstance(operation, (GlobalPool, Pool, Pad))


def _behind_linear(graph: Graph, value: str) -> bool:
    """Whether a linear node stands before the factor: then it undoes the scale of all that it reads."""
    node = graph.producers.get(value)
    while node is not None and not isinstance(node.operation, (Conv, Dense)):
        if len(node.inputs) != 1:
            return False
        node = graph.producers.get(node.inputs[0])
    return node is not None


def _positions(graph: Graph, value: str) -> int:
    return int(np.prod([axis or 1 for axis in graph.shapes[value][1:-1]]))
