"""Why an operator stays outside of XNNPACK, LiteRT's default delegate for the CPU.

The delegate tells its reasons only in its verbose log. What can be known without it: which operators it
has at all (tensorflow/lite/delegates/xnnpack/README.md), how much one of them takes, and which ones serve to
compute shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# fmt: off
XNNPACK_OPERATORS = frozenset((
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "CONCATENATION", "CONV_2D", "COS", "DEPTH_TO_SPACE",
    "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "ELU", "EXP", "EXPAND_DIMS", "FLOOR", "FULLY_CONNECTED", "GELU",
    "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAX_POOL_2D", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "NEG", "PAD",
    "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN",
    "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "ROUND", "RSQRT", "SIN",
    "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB",
    "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
))
# fmt: on
CONCAT_MOST = 5  # inputs of one CONCATENATION
SHAPE_OPERATORS = frozenset(("BROADCAST_ARGS", "CAST", "FILL", "GATHER", "PACK", "RANGE", "SHAPE", "UNPACK"))


def outside(operators: Iterable[tuple[str, bool]]) -> tuple[str, ...]:
    """One line per kind of operator that no delegate runs, in alphabetical order: how many, and why.

    ``operators`` are the file's in order: name, and whether a delegate runs it.
    """
    left = Counter(name for name, delegated in operators if not delegated)
    return tuple(f"built-in kernels run {count} {name}: {reason(name)}" for name, count in sorted(left.items()))


def reason(name: str) -> str:
    """Why XNNPACK does not take an operator of this name."""
    if name in XNNPACK_OPERATORS:
        return "XNNPACK has this operator, but not with this type, rank or option"
    if name in SHAPE_OPERATORS:
        return "it computes shapes or indices, XNNPACK computes float and quantized values"
    return "XNNPACK has no such operator"
