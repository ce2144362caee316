"""A scale-and-shift before a convolution or dense layer goes into its weights, as far as that is exact.

``W (x s + t) + b = (W s) x + (W t + b)`` holds without padding. A padded convolution pads ``x s + t``
with zeros, so only the scale commutes; the shift stays, as ``x + t / s``, in front of the padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import NO_PADDING, Conv, Dense, ScaleShift
from kexport.passes.contract import Pass, Property, own_feeder
from kexport.passes.pad_into_window import NO_PAD_BEFORE_CONVOLUTION
from kexport.passes.rewriting import join

_SMALLEST_DIVISOR = 1e-6
"""Below it, ``t / s`` is so large that ``x`` is lost in the sum, or that float16 cannot hold it."""


def run(graph: Graph) -> Graph:
    """Fold wherever the convolution is the only reader."""
    done: dict[str, Node] = {}
    for node in graph:
        done[node.name] = node
        while (scaled := _own_feeder(graph, done, done[node.name])) is not None:
            for result in _fold(scaled, done[node.name]):
                done[result.name] = result
            if done[node.name].inputs != scaled.inputs:
                break
            del done[scaled.name]  # and there may be another one before it
    return replace(graph, nodes=tuple(done.values()))


def _own_feeder(graph: Graph, done: dict[str, Node], node: Node) -> Node | None:
    found = done.get(node.inputs[0]) if len(node.inputs) == 1 else None
    return found if found is not None and graph.only_reader(found.name) is not None else None


def _fold(scaled: Node, node: Node) -> Iterator[Node]:
    shift, linear = scaled.operation, node.operation
    if not isinstance(shift, ScaleShift) or not isinstance(linear, (Conv, Dense)):
        yield node
    elif isinstance(linear, Dense) or linear.padding == NO_PADDING or not np.any(shift.offset):
        yield join(scaled, node, _absorb(linear, shift))
    elif np.all(np.abs(shift.scale) > _SMALLEST_DIVISOR) and np.any(shift.scale != 1):
        remaining = (shift.offset.astype(np.float64) / shift.scale).astype(np.float32)
        ones = np.ones_like(shift.scale)
        yield replace(scaled, operation=replace(shift, scale=ones, offset=remaining))
        yield replace(node, operation=_absorb(linear, replace(shift, offset=np.zeros_like(remaining))))
    else:
        yield node


def _absorb(linear: Conv | Dense, shift: ScaleShift) -> Conv | Dense:
    scale, offset = (_per_input(linear, vector) for vector in (shift.scale, shift.offset))
    bias = (linear.kernel * offset).reshape(-1, linear.kernel.shape[-1]).sum(axis=0, dtype=np.float64)
    if linear.bias is not None:
        bias = bias + linear.bias
    return replace(linear, kernel=linear.kernel * scale, bias=bias.astype(np.float32))


def _per_input(
    linear: Conv | Dense, vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One factor per input channel, shaped to multiply the kernel: ``(in, 1)`` or ``(in / groups, out)``."""
    if isinstance(linear, Dense) or linear.groups == 1:
        return vector[:, np.newaxis]
    by_group = vector.reshape(linear.groups, -1)
    return np.repeat(by_group, linear.kernel.shape[-1] // linear.groups, axis=0).T


def _reads_a_scale(graph: Graph, node: Node) -> bool:
    before, linear = own_feeder(graph, node), node.operation
    if before is None or not isinstance(before.operation, ScaleShift) or not isinstance(linear, (Conv, Dense)):
        return False
    return isinstance(linear, Dense) or linear.padding == NO_PADDING or not np.any(before.operation.offset)


NO_SCALE_BEFORE = Property(
    name="no linear node alone reads a scale-and-shift, except a shift before padding", broken=_reads_a_scale
)
PASS = Pass(name="scale before linear", run=run, requires=(NO_PAD_BEFORE_CONVOLUTION,), ensures=(NO_SCALE_BEFORE,))
