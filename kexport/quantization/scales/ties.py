"""Scales at which no product lies so close to halfway between two int8 numbers that runtimes round it apart.

Both compute ``a b (scale_a scale_b / scale_made)`` in float32 and round half to even. But ONNX Runtime adds the zero
point first (MlasQLinearMul; in one rounding with the product where the CPU can), XNNPACK after it: with an odd zero
point, even is another number, and with any, adding it drops the last bits of what is almost halfway. So the two files
of one plan would drift apart. A scale a few float32 steps larger has no such product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Multiply
from kexport.quantization.plan import HIGHEST, LOWEST, Affine, Precision

TRIES, STRIDE = 512, 4  # scales that are tried, and the float32 steps from one to the next


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
    scale = np.float32(made.scale)
    for _ in range(TRIES):
        if not ties(first, second, replace(made, scale=float(scale))):
            return replace(made, scale=float(scale))
        scale += STRIDE * np.spacing(scale)
    return made


def ties(first: Affine, second: Affine, made: Affine) -> int:
    """How many products of two stored numbers become another number where the zero point is added before rounding."""
    left, right = ([end - affine.zero_point for end in (LOWEST, HIGHEST)] for affine in (first, second))
    products = [one * other for one in left for other in right]
    ratio = np.float32(first.scale) * np.float32(second.scale) / np.float32(made.scale)
    whole = np.arange(min(products), max(products) + 1).astype(np.float32)
    zero = np.float32(made.zero_point - LOWEST)
    after = _stored(np.rint(whole * ratio) + zero)
    before = _stored(whole * ratio + zero)
    at_once = _stored((whole.astype(np.float64) * np.float64(ratio) + zero).astype(np.float32))
    return int(((before != after) | (at_once != after)).sum())


def _stored(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rounded half to even, and saturated."""
    return np.clip(np.rint(numbers), 0, HIGHEST - LOWEST)
