"""TFLite operators for what makes images larger, and for group normalisation."""

from __future__ import annotations

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.operators.padding import SAME, VALID, dilated, joined_on
from kexport.formats.tflite.operators.seam import affine, assemble, bias_of, reshaped
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import GroupNorm, Pair, Resize, ResizeKind, TransposedConv, Weights

LARGEST_COPY = 5
"""XNNPACK joins up to five tensors: up to here, pixels are repeated by joining."""


@assemble.register
def _transposed_conv(operation: TransposedConv, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    kernel = _spread(operation.kernel, operation.dilation)
    rows, columns, _, out = kernel.shape
    scheme = _scheme(operation, code.shape(inputs[0]), shape, (rows, columns), name)
    weights = code.weights(f"{name}/kernel", np.ascontiguousarray(kernel.transpose(3, 0, 1, 2)))
    return code.emit(
        "TRANSPOSE_CONV",
        (code.indices(f"{name}/shape", shape), weights, inputs[0], bias_of(code, name, operation.bias, out)),
        name=name,
        shape=shape,
        version=3,
        kind="TransposeConvOptions",
        padding=scheme,
        strideH=operation.strides[0],
        strideW=operation.strides[1],
    )


def _spread(kernel: Weights, dilation: Pair) -> Weights:
    """The kernel with zeros between its cells: TRANSPOSE_CONV knows no dilation."""
    if dilation == (1, 1):
        return kernel
    whole = np.zeros((*dilated((kernel.shape[0], kernel.shape[1]), dilation), *kernel.shape[2:]), np.float32)
    whole[:: dilation[0], :: dilation[1]] = kernel
    return whole


def _scheme(operation: TransposedConv, source: Sizes, shape: Sizes, kernel: Pair, name: str) -> int:
    """SAME or VALID, whichever crops so; TensorFlow derives the cropping from the sizes of both images."""
    starts = operation.cropping[0][0], operation.cropping[1][0]
    if starts == (0, 0) and not any(cropping[1] for cropping in operation.cropping):
        return VALID
    same = [
        max((source[1 + axis] - 1) * operation.strides[axis] + kernel[axis] - shape[1 + axis], 0) // 2
        for axis in (0, 1)
    ]
    if tuple(same) == starts:
        return SAME
    raise UnsupportedError(
        f"node {name!r}: TFLite crops a transposed convolution as SAME or VALID does, not by {operation.cropping}",
        hint="--engine tflite-converter",
    )


@assemble.register
def _resize(operation: Resize, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    _, height, width, _ = code.shape(inputs[0])
    factors = operation.size[0] / height, operation.size[1] / width
    nearest = operation.kind is ResizeKind.NEAREST
    if nearest and all(factor in range(1, LARGEST_COPY + 1) for factor in factors):
        return _repeated(code, name, inputs[0], (int(factors[0]), int(factors[1])))
    builtin = "RESIZE_NEAREST_NEIGHBOR" if nearest else "RESIZE_BILINEAR"
    kind = "ResizeNearestNeighborOptions" if nearest else "ResizeBilinearOptions"
    size = code.indices(f"{name}/size", operation.size)
    return code.emit(builtin, (inputs[0], size), name=name, shape=shape, version=3, kind=kind, halfPixelCenters=True)


def _repeated(code: Assembler, name: str, source: int, factors: Pair) -> int:
    """Each pixel ``factors`` times: XNNPACK has no RESIZE_NEAREST_NEIGHBOR, but joins and reshapes.

    Joined on the channels, a pixel stands beside itself; joined on whole rows, a row does.
    """
    batch, height, width, channels = code.shape(source)
    across = joined_on(code, f"{name}/columns", [source] * factors[1], 3) if factors[1] > 1 else source
    width *= factors[1]
    rows = reshaped(code, f"{name}/rows", across, (batch, height, width * channels))
    tall = joined_on(code, f"{name}/repeated", [rows] * factors[0], 2) if factors[0] > 1 else rows
    return reshaped(code, name, tall, (batch, height * factors[0], width, channels))


@assemble.register
def _group_norm(operation: GroupNorm, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    """Statistics of ``(N, pixels, groups, channels of a group)`` over pixels and channels."""
    batch, height, width, channels = shape
    grouped = (batch, height * width, operation.groups, channels // operation.groups)
    row = (batch, 1, operation.groups, 1)
    axes = code.indices("axes/of_a_group", (1, 3))
    value = reshaped(code, f"{name}/groups", inputs[0], grouped)
    mean = code.emit("MEAN", (value, axes), name=f"{name}/mean", shape=row, kind="ReducerOptions", keepDims=True)
    centred = code.emit("SUB", (value, mean), name=f"{name}/centred", shape=grouped, kind="SubOptions")
    square = code.emit("MUL", (centred, centred), name=f"{name}/square", shape=grouped, kind="MulOptions")
    variance = code.emit(
        "MEAN", (square, axes), name=f"{name}/variance", shape=row, kind="ReducerOptions", keepDims=True
    )
    epsilon = code.constant(f"{name}/epsilon", np.full(1, operation.epsilon, np.float32))
    safe = code.emit("ADD", (variance, epsilon), name=f"{name}/safe", shape=row, kind="AddOptions")
    inverse = code.emit("RSQRT", (safe,), name=f"{name}/rsqrt", shape=row)
    normal = code.emit("MUL", (centred, inverse), name=f"{name}/normal", shape=grouped, kind="MulOptions")
    whole = reshaped(code, f"{name}/image", normal, shape)
    return affine(code, name, whole, operation.gamma, operation.beta)
