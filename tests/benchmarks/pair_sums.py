"""Which sums of two weights a written ONNX file makes x86 CPUs add up in int16, read back from the file itself.

Knows nothing of plans: initializers, in the order in which ONNX Runtime's kernels without VNNI add products up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LINEAR = ("Conv", "Gemm", "MatMul")
FITS = 128  # 255 * 128 is below 32768, 255 * 129 is not


def written_sums(path: Path) -> dict[str, int]:
    """The largest sum of two neighbours of equal signs in every convolution, Gemm and MatMul of integers, by node."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    constants = {each.name: each for each in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        sources = [made.get(name) for name in node.input[:2]]
        if node.op_type in LINEAR and all(each and each.op_type == "DequantizeLinear" for each in sources):
            numbers = numpy_helper.to_array(constants[made[node.input[1]].input[0]])
            rows = in_order(node, numbers)
            if rows is not None:
                found[node.name] = largest(rows)
    return found


def in_order(node: Any, numbers: npt.NDArray[np.int8]) -> npt.NDArray[np.int8] | None:
    """``(outputs, weights)`` as they are multiplied one after the other; None for what is depthwise."""
    options = {each.name: each.i for each in node.attribute}
    if node.op_type != "Conv":
        return numbers if options.get("transB") else numbers.T
    out, inside = numbers.shape[:2]
    if inside == 1 and options.get("group", 1) == out > 1:
        return None
    return numbers.transpose(0, 2, 3, 1).reshape(out, -1)


def largest(rows: npt.NDArray[np.int8]) -> int:
    """The largest sum of two neighbours of equal signs, or the largest weight."""
    wide = rows.astype(int)
    first, second = wide[:, 0:-1:2], wide[:, 1::2]
    sums = np.where(first * second > 0, np.abs(first + second), 0)
    return max(int(np.abs(wide).max()), int(sums.max(initial=0)))
