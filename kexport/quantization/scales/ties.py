"""Scales at which no product lies halfway between two int8 numbers: there runtimes round to different sides.

Both compute ``a b (scale_a scale_b / scale_made)`` in float32 and round half to even. But ONNX Runtime adds the zero
point first (MlasQLinearMul), XNNPACK after it: with an odd zero point, even is another number. So the two files of one
plan would drift apart. A scale a few float32 steps larger has no such product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kexport.graph import Graph, Node
from kexport.operations import Multiply
from kexport.quantization.plan import HIGHEST, LOWEST, Affine, Precision

TRIES = 256
LARGEST = 2.0 * (HIGHEST - LOWEST)  # of a result in steps, whatever the zero point: beyond, it saturates


def without_ties(
    graph: Graph, precisions: Mapping[str, Precision], scales: Mapping[str, Affine], free: Sequence[tuple[str, ...]]
) -> dict[str, Affine]:
    """The scales, those of ``free`` groups a few float32 steps larger where a product would be halfway.

    In the order of the graph: what a product reads is settled before it.
    """
    result = dict(scales)
    groups = {name: group for group in free for name in group}
    for node in graph:
        group = groups.get(node.name, ())
        if precisions.get(node.name) is not Precision.INT8 or not isinstance(node.operation, Multiply):
            continue
        if group and not set(group) & set(node.inputs):  # with a shared scale, it is the other factor's that counts
            result |= dict.fromkeys(group, _settled(node, result))
    return result


def _settled(node: Node, scales: Mapping[str, Affine]) -> Affine:
    """The node's scale, or the next larger one without a product halfway; as it was if there is none near."""
    made, (first, second) = scales[node.name], (scales[value] for value in node.inputs)
    if made.zero_point % 2 == 0:
        return made
    scale = np.float32(made.scale)
    for _ in range(TRIES):
        if not ties(first, second, replace(made, scale=float(scale))):
            return replace(made, scale=float(scale))
        scale = np.nextafter(scale, np.float32(np.inf))
    return made


def ties(first: Affine, second: Affine, made: Affine) -> int:
    """How many products of two stored numbers lie exactly halfway between two numbers of the result, in float32."""
    left, right = ([end - affine.zero_point for end in (LOWEST, HIGHEST)] for affine in (first, second))
    products = [one * other for one in left for other in right]
    ratio = np.float32(first.scale) * np.float32(second.scale) / np.float32(made.scale)
    steps = np.arange(min(products), max(products) + 1).astype(np.float32) * ratio
    return int(((np.abs(steps - np.floor(steps)) == np.float32(0.5)) & (np.abs(steps) < LARGEST)).sum())
