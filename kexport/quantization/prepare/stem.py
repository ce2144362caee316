"""A first layer with hard swish in float32, but so that every runtime computes the very same bits.

What the first layers round, everything behind them amplifies: in MobileNetV3Small, int8 numbers for the first
convolution and its hard swish make half of all the noise at the logits. In float32 two runtimes would add in different
orders, and a last bit that differs there sooner or later rounds to another int8 number: the two files of a plan would
drift apart. So the float numbers lie on grids on which sums are exact, whatever their order:

* pixels become whole levels, ``floor(x / step + ...)``;
* the kernels of the first convolution and of the depthwise one behind it are multiples of a power of two, as fine as
  sums below 2^24 allow (`levels`);
* what the hard swish makes is rounded to 12 bits of each channel's range, again as a floor, before the depthwise
  convolution adds it up;
* what that makes becomes int8 at a scale that is a power of two, by which dividing and multiplying with the inverse
  are the same.

In between, every operation rounds once, element by element, as IEEE 754 says.

A first layer with silu is in float32 as well (a trained EfficientNetB0: 17.5 dB at the logits with it in int8, 18.6
so, as fast in ONNX Runtime), but not on grids: every runtime computes the exponential in its own way. Where a runtime
of integers alone is asked for, it stays in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Activation, Conv, Elementwise, Function, ScaleShift
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.prepare import levels
from kexport.quantization.prepare.equalize import scalable
from kexport.quantization.prepare.levels import SMALLEST, Levels, Numbers, grids_of, swish_bounds
from kexport.quantization.scales import silu
from kexport.quantization.scales.bounds import split_gate, split_product

LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The nodes of a first layer: ``image`` is what ``conv`` reads, ``product`` what ``depthwise`` reads."""

    image: str
    conv: str
    product: str
    depthwise: str

    @property
    def in_float(self) -> tuple[str, str]:
        """The nodes that would compute in int8 otherwise; what lies between them follows."""
        return self.conv, self.depthwise


def find(graph: Graph) -> Stem | None:
    """The convolution of the image, split hard swish and depthwise convolution that a graph begins with, if it does."""
    for node in graph:
        if not isinstance(node.operation, Conv) or not _reads_image(graph, node):
            continue
        product, gate = split_product(graph, node.name), split_gate(graph, node.name)
        if node.operation.groups != 1 or product is None or gate is None or not isinstance(gate.operation, ScaleShift):
            continue
        reader = graph.only_reader(product.name)
        if reader is not None and _is_depthwise(reader) and scalable(graph, reader.name):
            return Stem(image=node.inputs[0], conv=node.name, product=product.name, depthwise=reader.name)
    return None


def smooth(graph: Graph, *, but: Collection[str] = ()) -> frozenset[str]:
    """The convolution of the image that a silu follows, and what undoes its factors; the silu follows it into float.

    Nothing of the convolutions ``but``.
    """
    found: set[str] = set()
    for node in graph:
        if node.name in but or not _reads_image(graph, node):
            continue
        if isinstance(node.operation, Conv) and node.operation.groups == 1:
            gate = silu.find(graph, node.name)
            if gate is not None:
                found |= {node.name} | ({gate.undo.name} if gate.undo else set())
    return frozenset(found)


def _reads_image(graph: Graph, node: Node) -> bool:
    """Whether it alone reads a graph input, as it is or scaled and shifted."""
    value = node.inputs[0]
    if value in graph.outputs.values():
        return False
    made = graph.producers.get(value)
    if made is not None and (not isinstance(made.operation, ScaleShift) or made.inputs[0] in graph.producers):
        return False
    return graph.only_reader(value) is node and (made is None or graph.only_reader(made.inputs[0]) is made)


def _is_depthwise(node: Node) -> bool:
    operation = node.operation
    return (
        isinstance(operation, Conv)
        and operation.kernel.shape[2] == 1
        and operation.groups == operation.kernel.shape[3]
        and operation.activation in (None, Activation.RELU)
    )


def on_levels(graph: Graph, stem: Stem, seen: Mapping[str, Observed]) -> tuple[Graph, dict[str, Levels]]:
    """The graph with pixels, and what the hard swish makes, on whole levels; kernels take the steps.

    With it, the levels that the two convolutions read. Those of pixels reach to zero, seen or not: so none is beyond
    `LEVELS` + 1, and a single colour has a step. Where they do not hold it, padding moves by less than half of one.
    Each channel of the hard swish has a grid of its own: one for all would leave those that are small a few steps.
    """
    darkest, brightest = seen[stem.image].extremes
    low, high = min(darkest, 0.0), max(brightest, 0.0)
    step = max((high - low) / LEVELS, SMALLEST)
    zero = -low / step - (LEVELS + 1) / 2
    offset = zero - np.rint(zero)
    pixels = Levels.pixels(
        seen[stem.image].mean / step + offset, low=low / step + offset - 0.5, high=high / step + offset + 0.5
    )
    conv, depthwise = graph.producers[stem.conv], graph.producers[stem.depthwise]
    maker = _times(conv, step, offset)
    assert isinstance(maker.operation, Conv)
    ends = swish_bounds(maker.operation, pixels)
    grids = grids_of(*ends)
    swished = Levels(low=ends[0] / grids - 0.5, high=ends[1] / grids + 0.5, mean=seen[stem.product].mean / grids)
    nodes: list[Node] = []
    for node in graph:
        if node.name == stem.image:
            continue
        if node is conv:
            nodes += _whole_pixels(graph, stem, step, offset)
            nodes.append(replace(maker, inputs=(nodes[-1].name,)))
        elif node is depthwise:
            nodes += _whole(graph.producers[stem.product], 1 / grids, 0.5)
            nodes.append(replace(_times(node, grids, 0.0), inputs=(nodes[-1].name,)))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes)), {stem.conv: pixels, stem.depthwise: swished}


def _whole_pixels(graph: Graph, stem: Stem, step: float, offset: float) -> tuple[Node, Node]:
    made = graph.producers.get(stem.image)
    shape = graph.shapes[stem.image]
    if made is None or not isinstance(made.operation, ScaleShift):
        node = Node(name=stem.image, operation=_line(np.ones(shape[-1] or 0), 0), inputs=(), shape=shape)
        return _whole(node, np.full(shape[-1] or 0, 1 / step), offset + 0.5)
    scale, shift = made.operation.scale / step, made.operation.offset / step + offset + 0.5
    line = replace(made.operation, scale=scale.astype(np.float32), offset=shift.astype(np.float32))
    return replace(made, operation=line), _floor(made, made.name)


def _whole(node: Node, scales: Numbers, offset: float) -> tuple[Node, Node]:
    """``floor(scale x + offset)`` of what a node makes, channel by channel."""
    line = Node(
        name=f"{node.name}/scaled",
        operation=_line(scales, offset),
        inputs=(node.name,),
        shape=node.shape,
    )
    return line, _floor(node, line.name)


def _floor(node: Node, value: str) -> Node:
    floor = Elementwise(function=Function.FLOOR)
    return Node(name=f"{node.name}/levels", operation=floor, inputs=(value,), shape=node.shape)


def _line(scales: Numbers, offset: float) -> ScaleShift:
    return ScaleShift(scale=scales.astype(np.float32), offset=np.full(len(scales), offset, np.float32))


def _times(node: Node, step: float | Numbers, offset: float) -> Node:
    """The convolution of ``step * (x - offset)``, for x; the channels of a depthwise one may have a step each."""
    operation = node.operation
    assert isinstance(operation, Conv)
    kernel = operation.kernel.astype(np.float64) * step
    bias = -offset * kernel.sum(axis=(0, 1, 2)) + (0.0 if operation.bias is None else operation.bias)
    return replace(node, operation=replace(operation, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32)))


def exact(graph: Graph, read: Mapping[str, Levels]) -> Graph:
    """The graph with kernels and biases of the convolutions that ``read`` levels on grids: their sums are exact."""
    nodes = tuple(
        replace(node, operation=levels.exact(node.operation, read[node.name]))
        if node.name in read and isinstance(node.operation, Conv)
        else node
        for node in graph
    )
    return replace(graph, nodes=nodes)


def power_of_two(scale: float) -> float:
    """The power of two nearest to a scale, in octaves."""
    return float(2.0 ** np.rint(np.log2(scale)))
