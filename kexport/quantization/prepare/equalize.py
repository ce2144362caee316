"""Channels of one value brought to like ranges, so that all of them use the int8 numbers they share.

Between a linear node and the linear nodes that read it, a channel may be multiplied by any s > 0 if the readers'
weights are divided by it: relu is positively homogeneous, and so is everything that only averages, moves or gates
(cross-layer equalisation, Nagel et al. 2019; migration of ranges into weights, Xiao et al. 2023). Towards a
depthwise convolution this is free, as each channel's kernel has its own scale; other kernels pay with weight
noise, and ``s = (largest range / range)^alpha`` takes the alpha with the least noise at the readers.

relu6 stays: the channel with the largest range keeps s = 1, so one that was seen at six still ends there; the
others end above all that was ever seen of them, which is enough in large images and not in small ones (`reach`). A
split hard swish (`rewrites`) takes part: its gate becomes a depthwise convolution that undoes s. So does a silu, with
such a convolution before its sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kexport.errors import GraphError
from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense, ScaleShift
from kexport.quantization import Array
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import Precision
from kexport.quantization.prepare.factors import MOST_STRETCH, Factors, least_noise
from kexport.quantization.prepare.reach import Reach, every_reach, reach_of


def equalize(
    graph: Graph, precisions: Mapping[str, Precision], observed: Mapping[str, Observed]
) -> tuple[Graph, dict[str, Observed]]:
    """The graph with equalised channels, and what observing it would give (histograms empty where changed)."""
    seen = dict(observed)
    for name in [node.name for node in graph]:
        node = graph.producers[name]
        reach = reach_of(graph, node, precisions)
        if reach is None:
            continue
        chosen = least_noise(graph, node, reach, seen)
        if chosen is not None:
            graph = _applied(graph, node, reach, chosen.factors)
            _rescale(seen, node, reach, chosen.factors)
            _judge(seen, node, reach, chosen.stretch)
    return graph, seen


def scalable(graph: Graph, name: str) -> bool:
    """Whether all that reads the linear node ``name`` can undo a factor on what it makes."""
    return every_reach(graph, name) is not None


def rescale(
    graph: Graph, name: str, observed: Mapping[str, Observed], factor: float
) -> tuple[Graph, dict[str, Observed]]:
    """The graph in which the `scalable` node ``name`` makes all numbers times ``factor``, and its readers undo it."""
    reach = every_reach(graph, name)
    if reach is None:
        raise GraphError(f"node {name!r} cannot be scaled: not all that reads it can undo that")
    node, seen = graph.producers[name], dict(observed)
    factors = np.full(node.shape[-1] or 0, factor)
    graph = _applied(graph, node, reach, factors)
    _rescale(seen, node, reach, factors)
    return graph, seen


def _applied(graph: Graph, node: Node, reach: Reach, factors: Factors) -> Graph:
    single: Array = factors.astype(np.float32)
    inverse: Array = np.float32(1) / single
    changed = {node.name: _scaled_maker(node, single)}
    changed |= {reader.node.name: _scaled_reader(reader.node, inverse) for reader in reach.readers}
    if reach.gate:
        changed[reach.gate.name] = _gate_conv(reach.gate, inverse)
    nodes = [changed.get(each.name, each) for each in graph]
    if reach.silu:
        undo = _undo(node, reach.silu.sigmoid, inverse)
        place = next(index for index, each in enumerate(nodes) if each.name == reach.silu.sigmoid.name)
        nodes[place : place + 1] = [undo, replace(reach.silu.sigmoid, inputs=(undo.name,))]
    return replace(graph, nodes=tuple(nodes))


def _scaled_maker(node: Node, factors: Array) -> Node:
    operation = node.operation
    assert isinstance(operation, (Conv, Dense))
    bias = None if operation.bias is None else operation.bias * factors
    return replace(node, operation=replace(operation, kernel=operation.kernel * factors, bias=bias))


def _scaled_reader(node: Node, factors: Array) -> Node:
    operation = node.operation
    if isinstance(operation, Dense):
        return replace(node, operation=replace(operation, kernel=operation.kernel * factors[:, np.newaxis]))
    assert isinstance(operation, Conv)
    inside, out = operation.kernel.shape[2:]
    groups = np.arange(out) // (out // operation.groups)
    each = factors[groups[np.newaxis, :] * inside + np.arange(inside)[:, np.newaxis]]
    return replace(node, operation=replace(operation, kernel=operation.kernel * each))


def _gate_conv(gate: Node, factors: Array) -> Node:
    """``u + 1/2`` from ``s u``: a depthwise convolution of one tap, instead of an addition."""
    operation = gate.operation
    assert isinstance(operation, ScaleShift)
    channels = len(factors)
    kernel = factors.reshape(1, 1, 1, channels)
    return replace(gate, operation=Conv(kernel=kernel, bias=operation.offset, groups=channels))


def _undo(node: Node, sigmoid: Node, factors: Array) -> Node:
    """``u`` from ``s u``, for a sigmoid."""
    channels = len(factors)
    operation = Conv(kernel=factors.reshape(1, 1, 1, channels), groups=channels)
    return replace(sigmoid, name=f"{sigmoid.name}/argument", operation=operation, inputs=(node.name,))


def _rescale(seen: dict[str, Observed], node: Node, reach: Reach, factors: Factors) -> None:
    if reach.gate:  # below -1/2, before scaling, the gate is closed
        seen[node.name] = replace(seen[node.name], lows=np.maximum(seen[node.name].lows, np.float32(-0.5)))
    if reach.silu:
        seen[f"{reach.silu.sigmoid.name}/argument"] = seen[node.name]
    for value in reach.values:
        if value in seen:
            seen[value] = seen[value].scaled(factors)


def _judge(seen: dict[str, Observed], node: Node, reach: Reach, stretch: Factors | None) -> None:
    """What silu makes of a number is not so many times larger: there, ranges are judged by what was seen.

    So they are where an image has several rows: leaving out some of them does not leave out the image.
    """
    if stretch is None or reach.silu or node.copies != 1:
        return
    for value in reach.values:
        if value in seen:
            before = seen[value].stretch
            both = stretch if before is None else np.minimum(before * stretch, MOST_STRETCH)
            seen[value] = replace(seen[value], stretch=both)
