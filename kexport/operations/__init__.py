"""The canonical operations of a graph: frozen values that carry their weights and infer shapes.

Layouts: feature maps are NHWC; convolution kernels are ``(height, width, in / groups, out)``, with the
output channels of one group next to each other; dense kernels are ``(in, out)``. A depthwise
convolution is a `Conv` with as many groups as input channels. All weights are float32.
Padding is always explicit: ``((top, bottom), (left, right))``.
"""

from __future__ import annotations

from kexport.operations.base import NO_PADDING, Activation, Operation, Padding, Pair, Shape, Weights
from kexport.operations.network import (
    Activate,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    GlobalPool,
    GroupNorm,
    LayerNorm,
    Multiply,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    Resize,
    ResizeKind,
    ScaleShift,
    TransposedConv,
)
from kexport.operations.tensor import (
    Binary,
    BinaryKind,
    Elementwise,
    Function,
    Join,
    LeakyRelu,
    MatMul,
    Reduce,
    ReduceKind,
    Slice,
    Threshold,
    Transpose,
)

__all__ = [
    "NO_PADDING",
    "Activate",
    "Activation",
    "Add",
    "Binary",
    "BinaryKind",
    "Clip",
    "Concat",
    "Conv",
    "Crop",
    "Dense",
    "Elementwise",
    "Function",
    "GlobalPool",
    "GroupNorm",
    "Join",
    "LayerNorm",
    "LeakyRelu",
    "MatMul",
    "Multiply",
    "Operation",
    "Pad",
    "Padding",
    "Pair",
    "Pool",
    "PoolKind",
    "Reduce",
    "ReduceKind",
    "Reshape",
    "Resize",
    "ResizeKind",
    "ScaleShift",
    "Shape",
    "Slice",
    "Threshold",
    "Transpose",
    "TransposedConv",
    "Weights",
]
