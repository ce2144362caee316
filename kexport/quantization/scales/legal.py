"""Scales whose ratios every runtime can compute with; `formats.tflite_limits` has the bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Add, Conv, Dense, Multiply, ScaleShift
from kexport.quantization.plan import KERNEL_LARGEST, Affine, Precision

MOST_STEPS = 2.0**6  # of an output that one step of what makes it may be
LEAST_OF_SUM, LEAST_OF_PRODUCT = 2.0**-9, 2.0**-15  # of an output's step that an input's, or their product, must be
ROUNDS = 8


def legal(
    graph: Graph, precisions: Mapping[str, Precision], chosen: Mapping[str, Affine], free: Sequence[tuple[str, ...]]
) -> dict[str, Affine]:
    """The scales, those of the ``free`` groups widened where a runtime could not compute with their ratios.

    Nothing is lost: a step was finer than what makes the value can tell apart, or than what its reader can.
    """
    result = dict(chosen)
    group_of = {name: group for group in free for name in group}
    nodes = [node for node in graph if precisions.get(node.name) is Precision.INT8]
    for _ in range(ROUNDS):
        fine = [too_fine for node in nodes for too_fine in _widened(node, result, group_of)]
        if not fine:
            break
    return result


def _widened(node: Node, scales: dict[str, Affine], group_of: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The values at the node whose scales were too fine, after changing ``scales``."""
    found = []
    for value, least in _least_steps(node, scales):
        if value in group_of and scales[value].scale < np.float32(least):
            wide = replace(scales[value], scale=float(np.float32(least)))
            scales.update(dict.fromkeys(group_of[value], wide))
            found.append(value)
    return found


def _least_steps(node: Node, chosen: Mapping[str, Affine]) -> Iterator[tuple[str, float]]:
    """The finest scale of values that the node reads or makes: a factor of two inside `formats.tflite_limits`."""
    operation, made = node.operation, chosen[node.name].scale
    scales = [chosen[value].scale for value in node.inputs]
    if isinstance(operation, (Conv, Dense)):
        yield node.name, scales[0] * float(np.abs(operation.kernel).max()) / KERNEL_LARGEST / MOST_STEPS
    elif isinstance(operation, (Add, ScaleShift)):
        yield node.name, max(scales) / MOST_STEPS
        yield from ((value, made * LEAST_OF_SUM) for value in node.inputs)
    elif isinstance(operation, Multiply):
        yield node.name, scales[0] * scales[1] / MOST_STEPS
        yield from ((node.inputs[each], made * LEAST_OF_PRODUCT / scales[1 - each]) for each in (0, 1))
