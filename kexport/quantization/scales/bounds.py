"""Which reals of a value make a difference: what its own activation and its readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import (
    Activate,
    Activation,
    Clip,
    Concat,
    Conv,
    Crop,
    Multiply,
    Operation,
    Pad,
    Pool,
    Reshape,
    ScaleShift,
)
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import bounds_of, shares_scale

MOVES = (Concat, Crop, Pad, Pool, Reshape)


def useful_range(graph: Graph, name: str, observed: Observed) -> tuple[float, float]:
    """The observed range, cut to what the activation of the value's node, and its readers, can tell apart."""
    low, high = observed.extremes
    least, most = told_apart(graph, name)
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


def told_apart(graph: Graph, name: str) -> tuple[float, float]:
    """Between which reals the value's own activation, and all its readers together, make a difference."""
    node = graph.producers.get(name)
    least, most = bounds_of(node.operation) if node else (-np.inf, np.inf)
    if node is not None and is_sigmoid(node.operation):
        most = 1.0
    gate = split_gate(graph, name)
    if gate is not None and isinstance(gate.operation, ScaleShift):
        least = max(least, -0.5)
    read = [bounds_of(reader.operation) for reader in graph.consumers[name] if shares_scale(reader.operation)]
    if name in graph.outputs.values() or not read or len(read) < len(graph.consumers[name]):
        return least, most
    return max(least, min(low for low, _ in read)), min(most, max(high for _, high in read))


def within_unit(graph: Graph, group: Sequence[str]) -> bool:
    """Whether all that the values have to tell apart lies in [0, 1]; what only moves numbers adds nothing."""
    for name in group:
        node = graph.producers.get(name)
        if node is not None and isinstance(node.operation, MOVES):
            continue
        least, most = told_apart(graph, name)
        if not (least >= 0.0 and most <= 1.0):
            return False
    return True


def is_sigmoid(operation: Operation) -> bool:
    """Whether it is a sigmoid, whose int8 scale runtimes fix."""
    return isinstance(operation, Activate) and operation.function is Activation.SIGMOID


def clips_to_unit(operation: Operation) -> bool:
    """Whether it clips to [0, 1]."""
    return isinstance(operation, Clip) and (operation.minimum, operation.maximum) == (0, 1)


def split_gate(graph: Graph, name: str) -> Node | None:
    """If the value is the u of a split hard swish, ``6 u * clip(u + 1/2, 0, 1)``: the node that makes the sum.

    Below -1/2 the gate is closed, so that nothing below has to be stored. After equalisation a depthwise convolution
    of one tap makes the sum.
    """
    product = split_product(graph, name)
    if product is None:
        return None
    clip = graph.producers[product.inputs[1]]
    return graph.producers[clip.inputs[0]]


def split_product(graph: Graph, name: str) -> Node | None:
    """The product of a split hard swish. It shares the scale of u: where the gate is one, nothing is rounded."""
    readers = graph.consumers.get(name, ())
    products = [node for node in readers if isinstance(node.operation, Multiply) and node.inputs[0] == name]
    if len(readers) != 2 or len(products) != 1 or name in graph.outputs.values():
        return None
    clip = graph.producers.get(products[0].inputs[1])
    if clip is None or not clips_to_unit(clip.operation) or graph.only_reader(clip.name) is None:
        return None
    line = graph.producers.get(clip.inputs[0])
    if line is None or line.inputs != (name,) or graph.only_reader(line.name) is None:
        return None
    return products[0] if _adds_half(line.operation) else None


def _adds_half(operation: Operation) -> bool:
    """Whether it is ``x + 1/2``, or ``s x + 1/2`` channel by channel."""
    half = np.float32(0.5)
    if isinstance(operation, ScaleShift):
        return bool(np.all(operation.scale == 1.0) and np.all(operation.offset == half))
    if not isinstance(operation, Conv) or operation.bias is None or operation.activation is not None:
        return False
    one_tap = operation.kernel.shape[:3] == (1, 1, 1) and operation.groups == operation.kernel.shape[3]
    return one_tap and operation.strides == (1, 1) and bool(np.all(operation.bias == half))
