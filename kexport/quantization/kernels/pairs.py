"""Kernels whose sums no CPU saturates, and which weights are neighbours in a sum.

Without VNNI, ONNX Runtime multiplies uint8 activations with int8 weights by VPMADDUBSW, which adds two products in
saturating int16: 255 * (w1 + w2) of two weights of equal signs has to stay below 32768, so that they add up to at most
`LARGEST_SUM`. Then no activation can make a file decide otherwise than on a newer CPU.

Which two are added (mlas: QgemmU8S8KernelAvx2 and its like for SSE4.1 and AVX-512, GemvU8S8KernelAvx2,
ConvSymKernelAvx2; found again by running ONNX Runtime with CPUID faulted): weights 2 i and 2 i + 1 of an output, where
those of a convolution count row by row, column by column, channel by channel of its group, whatever its padding,
stride, batch or the layout of its input, and those of a Gemm or MatMul along K. An odd last weight stands alone. What
is depthwise, one channel to one, is multiplied in 16 or 32 bits and needs nothing; nor does LiteRT, int8 by int8.

A file may lay weights out otherwise than the plan: rows of a dense layer behind a flattened image channel by channel,
pixels of a photograph in cells, channels filled up with zeros. Where it may, both neighbours count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense, Reshape
from kexport.quantization import Array
from kexport.quantization.plan import KERNEL_LARGEST, QuantPlan

LARGEST_SUM = 128
TRIALS = np.linspace(0.0, 1.0, 13)  # from the full range to a scale at which every pair fits as it is
Pairs = npt.NDArray[np.int64]
"""``(n, 2)``: two taps of an output that are added in int16; each tap stands in one pair at most."""


def pairs_of(graph: Graph, node: Node) -> tuple[Pairs, ...]:
    """All pairs of taps of a linear node that some file may have added up; none for what is depthwise."""
    operation = node.operation
    if isinstance(operation, Dense):
        return _of_dense(graph, node, operation)
    assert isinstance(operation, Conv), f"{node.name} has no kernel"
    rows, columns, inside, out = operation.kernel.shape
    if inside == 1 and operation.groups == out > 1:
        return ()
    taps = np.arange(rows * columns * inside)
    shifts = inside % 2 == 1 and rows * columns > 1
    return (_neighbours(taps), _neighbours(taps[1:])) if shifts else (_neighbours(taps),)


def _of_dense(graph: Graph, node: Node, operation: Dense) -> tuple[Pairs, ...]:
    taps = np.arange(operation.kernel.shape[0])
    image = _flattened(graph, node.inputs[0])
    if image is None or min(np.prod(image[:2]), image[2]) == 1:
        return (_neighbours(taps),)
    return _neighbours(taps), _neighbours(taps.reshape(image).transpose(2, 0, 1).reshape(-1))


def _flattened(graph: Graph, value: str) -> tuple[int, int, int] | None:
    """Height, width and channels of the image whose numbers the rows of ``value`` are."""
    while (maker := graph.producers.get(value)) is not None and len(graph.shapes[value]) == 2:
        shape = graph.shapes[maker.inputs[0]]
        if isinstance(maker.operation, Reshape) and len(shape) == 4:
            return shape[1] or 1, shape[2] or 1, shape[3] or 1
        if len(maker.inputs) != 1 or shape[-1] != graph.shapes[value][-1]:
            return None
        value = maker.inputs[0]
    return None


def _neighbours(order: npt.NDArray[np.int64]) -> Pairs:
    return order[: len(order) // 2 * 2].reshape(-1, 2)


def largest_sum(numbers: npt.NDArray[np.integer], pairs: Sequence[Pairs]) -> int:
    """The largest sum of two neighbours of equal signs in ``(..., taps, outputs)``; a weight alone counts as well."""
    found = int(np.abs(numbers.astype(np.int16)).max(initial=0))
    for each in pairs:
        first, second = (numbers[..., each[:, end], :].astype(np.int16) for end in (0, 1))
        same = np.sign(first) == np.sign(second)
        found = max(found, int(np.abs(first + second)[same].max(initial=0)))
    return found


def sums_of(plan: QuantPlan) -> dict[str, int]:
    """`largest_sum` of every kernel that integers are multiplied with and whose products are added, by node."""
    found = {}
    for name, kernel in plan.kernels.items():
        node = plan.graph.producers[name]
        pairs = pairs_of(plan.graph, node)
        if pairs and (plan.stored_int8(name) or plan.stored_int8(node.inputs[0])):
            groups = node.operation.groups if isinstance(node.operation, Conv) else 1
            out = kernel.numbers.shape[-1] // groups
            found[name] = largest_sum(kernel.numbers.reshape(-1, groups, out).transpose(1, 0, 2), pairs)
    return found


def widened(
    wanted: npt.NDArray[np.floating], pairs: Sequence[Pairs], variances: npt.NDArray[np.floating] | None = None
) -> Array:
    """By how much the scale of every output grows, ``(groups, outputs)``: as far as that makes least noise.

    ``wanted`` are the real weights in units of their scales, ``(groups, taps, outputs)``; ``variances`` ``(groups,
    taps)`` of what they multiply. A larger scale rounds every weight more coarsely; without it, a pair that does not
    fit loses what is too much. Measured against either alone: see `tests/quantization/kernels/test_pairs.py`.
    """
    weight = np.ones(wanted.shape[:2]) if variances is None else np.maximum(variances, 1e-12)
    sums, costs = _sums(wanted, pairs), _costs(weight, pairs)
    need = np.maximum(sums.max(axis=1, initial=0.0) / LARGEST_SUM, 1.0)
    ratios = 1.0 + TRIALS[:, np.newaxis, np.newaxis] * (need - 1.0)
    rounding = np.square(ratios) / 12 * weight.sum(axis=1)[:, np.newaxis]
    lost = np.stack([_lost(sums, costs, ratio) for ratio in ratios])
    best = np.argmin(rounding + lost, axis=0)
    result: Array = np.take_along_axis(ratios, best[np.newaxis], axis=0)[0].astype(np.float32)
    return result


def _sums(wanted: npt.NDArray[np.floating], pairs: Sequence[Pairs]) -> npt.NDArray[np.floating]:
    """``(groups, pairs, outputs)``: what neighbours of equal signs add up to."""
    first, second = (np.concatenate([wanted[:, each[:, end]] for each in pairs], axis=1) for end in (0, 1))
    found: npt.NDArray[np.floating] = np.where(np.sign(first) == np.sign(second), np.abs(first + second), 0.0)
    return found


def _costs(weight: npt.NDArray[np.floating], pairs: Sequence[Pairs]) -> npt.NDArray[np.floating]:
    """``(groups, pairs, 1)``: the noise of one step that a pair has too much, shared as costs least."""
    first, second = (np.concatenate([weight[:, each[:, end]] for each in pairs], axis=1) for end in (0, 1))
    result: npt.NDArray[np.floating] = (first * second / (first + second))[:, :, np.newaxis]
    return result


def _lost(
    sums: npt.NDArray[np.floating], costs: npt.NDArray[np.floating], ratio: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    excess = np.maximum(sums - LARGEST_SUM * ratio[:, np.newaxis], 0.0)
    result: npt.NDArray[np.floating] = (np.square(excess) * costs).sum(axis=1)
    return result


def fitted(numbers: npt.NDArray[np.int8], pairs: Sequence[Pairs]) -> npt.NDArray[np.int8]:
    """Rounded numbers ``(groups, taps, outputs)`` of which both weights of a pair give half of what is too much."""
    result = numbers.astype(np.int16)
    for each in pairs:
        first, second = result[:, each[:, 0]], result[:, each[:, 1]]
        same = np.sign(first) == np.sign(second)
        excess = np.where(same, np.maximum(np.abs(first) + np.abs(second) - LARGEST_SUM, 0), 0)
        result[:, each[:, 0]] = first - np.sign(first) * (excess // 2)
        result[:, each[:, 1]] = second - np.sign(second) * (excess - excess // 2)
    return result.astype(np.int8)


def neighbours_of(taps: int, pairs: Sequence[Pairs]) -> Pairs:
    """``(taps, n)``: the neighbours of each tap; the number ``taps``, which no tap has, where they are fewer than n."""
    result = np.full((taps, len(pairs)), taps)
    for slot, each in enumerate(pairs):
        result[each[:, 0], slot], result[each[:, 1], slot] = each[:, 1], each[:, 0]
    return result


def room(
    own: npt.NDArray[np.floating], beside: npt.NDArray[np.floating], share: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """How large weights may become beside others, of whose excess each takes its ``share``: 1 if those are decided."""
    other = np.minimum(np.abs(beside), KERNEL_LARGEST)
    excess = np.abs(own) + other - LARGEST_SUM
    bound = (np.sign(own) == np.sign(beside)) & (excess > 0)
    most: npt.NDArray[np.floating] = np.where(bound, np.floor(np.abs(own) - share * excess), KERNEL_LARGEST)
    return most
