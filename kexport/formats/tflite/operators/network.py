# ruff: noqa: ARG001 - every function has the signature of the seam, whether it needs all of it or not
"""From the graph's operations to TFLite's built-in operators: one small function per operation.

The form chosen is the one that XNNPACK, LiteRT's default CPU delegate, takes as a whole. Operator
versions are the lowest that the runtime's own version table asks for (tensorflow/lite/tools/versioning).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.delegation import CONCAT_MOST
from kexport.formats.tflite.operators import image, pooling, recurrent, selection, tensor
from kexport.formats.tflite.operators.padding import Window, dilated, joined_on, padded, zeros_around
from kexport.formats.tflite.operators.seam import affine, assemble, bias_of, reshaped
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import (
    NO_PADDING,
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    LayerNorm,
    Multiply,
    Pad,
    Reshape,
    ScaleShift,
    Weights,
)

__all__ = ["assemble", "reshaped"]
REGISTERED_ELSEWHERE = (image, pooling, recurrent, selection, tensor)
FUSED = {None: 0, Activation.RELU: 1, Activation.RELU6: 3}  # schema enum ActivationFunctionType
UNARY = {
    Activation.RELU: ("RELU", ""),
    Activation.RELU6: ("RELU6", ""),
    Activation.SIGMOID: ("LOGISTIC", ""),
    Activation.HARD_SWISH: ("HARD_SWISH", "HardSwishOptions"),
    Activation.GELU: ("GELU", "GeluOptions"),
    Activation.TANH: ("TANH", ""),
}


@assemble.register
def _conv(operation: Conv, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    rows, columns, _, out = operation.kernel.shape
    size = dilated((rows, columns), operation.dilation)
    window = Window(size=size, strides=operation.strides, padding=operation.padding)
    source, scheme = padded(code, inputs[0], window, name=name, shape=shape)
    whole = not operation.depthwise and scales_channels(operation.kernel)
    bias = bias_of(code, name, operation.bias, out, whole=whole)
    options: dict[str, Any] = {
        "padding": scheme,
        "strideH": operation.strides[0],
        "strideW": operation.strides[1],
        "dilationHFactor": operation.dilation[0],
        "dilationWFactor": operation.dilation[1],
        "fusedActivationFunction": _fused(operation.activation, name),
    }
    if operation.depthwise:
        kernel = code.weights(f"{name}/kernel", operation.kernel, shape=(1, rows, columns, out))
        options["depthMultiplier"] = out // operation.groups
        version = 1 if operation.dilation == (1, 1) else 2
        return code.emit(
            "DEPTHWISE_CONV_2D",
            (source, kernel, bias),
            name=name,
            shape=shape,
            version=version,
            kind="DepthwiseConv2DOptions",
            **options,
        )
    stored = code.constant if whole else code.weights
    kernel = stored(f"{name}/kernel", operation.kernel, last_first=True)
    version = 1 if operation.groups == 1 else 6
    return code.emit(
        "CONV_2D", (source, kernel, bias), name=name, shape=shape, version=version, kind="Conv2DOptions", **options
    )


def scales_channels(kernel: Weights) -> bool:
    """Whether a kernel multiplies each channel by its own number, as `prepare` has it: float16 is coarse for pixels."""
    rows, columns, inside, out = kernel.shape
    if (rows, columns) != (1, 1) or inside != out:
        return False
    return bool(np.count_nonzero(kernel) == np.count_nonzero(np.diagonal(kernel[0, 0])))


@assemble.register
def _dense(operation: Dense, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    kernel = code.weights(f"{name}/kernel", operation.kernel, last_first=True)
    bias = bias_of(code, name, operation.bias, operation.kernel.shape[1])
    keep = len(shape) > 2
    return code.emit(
        "FULLY_CONNECTED",
        (inputs[0], kernel, bias),
        name=name,
        shape=shape,
        version=5 if keep else 1,
        kind="FullyConnectedOptions",
        keepNumDims=keep,
        fusedActivationFunction=_fused(operation.activation, name),
    )


@assemble.register
def _pad(operation: Pad, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.padding == NO_PADDING:
        return inputs[0]
    return zeros_around(code, name, inputs[0], operation.padding)


@assemble.register
def _crop(operation: Crop, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.cropping == NO_PADDING:
        return inputs[0]
    (top, _), (left, _) = operation.cropping
    begin = code.indices(f"{name}/begin", (0, top, left, 0))
    size = code.indices(f"{name}/size", shape)
    return code.emit("SLICE", (inputs[0], begin, size), name=name, shape=shape, kind="SliceOptions")


@assemble.register
def _add(operation: Add, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    total = inputs[0]
    for step, value in enumerate(inputs[1:], start=1):
        last = step == len(inputs) - 1
        partial = np.broadcast_shapes(code.shape(total), code.shape(value))
        total = code.emit(
            "ADD",
            (total, value),
            name=name if last else f"{name}/sum{step}",
            shape=shape if last else partial,
            kind="AddOptions",
            fusedActivationFunction=_fused(operation.activation, name) if last else 0,
        )
    return total


@assemble.register
def _multiply(_: Multiply, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return code.emit("MUL", inputs, name=name, shape=shape, kind="MulOptions")


@assemble.register
def _concat(_: Concat, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    """XNNPACK joins up to five: more go in steps, the least data twice."""
    joined, step = list(inputs), 0
    while len(joined) > CONCAT_MOST:
        few, step = min(len(joined) - CONCAT_MOST + 1, CONCAT_MOST), step + 1
        joined[:few] = [_join(code, f"{name}/joined{step}", joined[:few])]
    return joined[0] if len(joined) == 1 else _join(code, name, joined)


def _join(code: Assembler, name: str, values: list[int]) -> int:
    return joined_on(code, name, values, len(code.shape(values[0])) - 1)


@assemble.register
def _scale_shift(operation: ScaleShift, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return affine(code, name, inputs[0], operation.scale, operation.offset)


@assemble.register
def _layer_norm(operation: LayerNorm, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    row = (*shape[:-1], 1)
    axis = code.indices(f"axes/last_of_{len(shape)}", (len(shape) - 1,))
    mean = code.emit("MEAN", (inputs[0], axis), name=f"{name}/mean", shape=row, kind="ReducerOptions", keepDims=True)
    centred = code.emit("SUB", (inputs[0], mean), name=f"{name}/centred", shape=shape, kind="SubOptions")
    square = code.emit("MUL", (centred, centred), name=f"{name}/square", shape=shape, kind="MulOptions")
    variance = code.emit(
        "MEAN", (square, axis), name=f"{name}/variance", shape=row, kind="ReducerOptions", keepDims=True
    )
    epsilon = code.constant(f"{name}/epsilon", np.full(1, operation.epsilon, np.float32))
    safe = code.emit("ADD", (variance, epsilon), name=f"{name}/safe", shape=row, kind="AddOptions")
    inverse = code.emit("RSQRT", (safe,), name=f"{name}/rsqrt", shape=row)
    plain = bool(np.all(operation.gamma == 1.0) and np.all(operation.beta == 0.0))
    normal = code.emit(
        "MUL", (centred, inverse), name=name if plain else f"{name}/normal", shape=shape, kind="MulOptions"
    )
    return normal if plain else affine(code, name, normal, operation.gamma, operation.beta)


@assemble.register
def _activate(operation: Activate, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    function = operation.function
    if function in UNARY:
        builtin, kind = UNARY[function]
        return code.emit(builtin, inputs, name=name, shape=shape, kind=kind)
    if function == Activation.SILU:
        gate = code.emit("LOGISTIC", inputs, name=f"{name}/sigmoid", shape=shape)
        return code.emit("MUL", (inputs[0], gate), name=name, shape=shape, kind="MulOptions")
    if function == Activation.HARD_SIGMOID:
        return _hard_sigmoid(code, name, inputs[0], shape)
    if function == Activation.SOFTMAX:
        return code.emit("SOFTMAX", inputs, name=name, shape=shape, kind="SoftmaxOptions", beta=1.0)
    raise UnsupportedError(
        f"node {name!r}: TFLite writer knows no activation {function}", hint="--engine tflite-converter"
    )


@assemble.register
def _clip(operation: Clip, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    known = {(-1.0, 1.0): "RELU_N1_TO_1", (0.0, 6.0): "RELU6", (0.0, np.inf): "RELU"}
    builtin = known.get((operation.minimum, operation.maximum))
    if builtin is not None:
        return code.emit(builtin, inputs, name=name, shape=shape)
    low = code.constant(f"{name}/minimum", np.full(1, operation.minimum, np.float32))
    high = code.constant(f"{name}/maximum", np.full(1, operation.maximum, np.float32))
    raised = code.emit("MAXIMUM", (inputs[0], low), name=f"{name}/raised", shape=shape, kind="MaximumMinimumOptions")
    return code.emit("MINIMUM", (raised, high), name=name, shape=shape, kind="MaximumMinimumOptions")


@assemble.register
def _reshape(_: Reshape, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return reshaped(code, name, inputs[0], shape)


def _hard_sigmoid(code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """``relu6(x + 3) * (1 / 6)``: an ADD with a fused RELU6 and a MUL."""
    three = code.constant("constants/three", np.full(1, 3.0, np.float32))
    sixth = code.constant("constants/sixth", np.full(1, 1.0 / 6.0, np.float32))
    moved = code.emit(
        "ADD",
        (source, three),
        name=f"{name}/relu6",
        shape=shape,
        kind="AddOptions",
        fusedActivationFunction=FUSED[Activation.RELU6],
    )
    return code.emit("MUL", (moved, sixth), name=name, shape=shape, kind="MulOptions")


def _fused(activation: Activation | None, name: str) -> int:
    if activation not in FUSED:
        raise UnsupportedError(
            f"node {name!r}: TFLite cannot fuse {activation}, only relu and relu6",
            hint="keep the activation as a node of its own",
        )
    return FUSED[activation]
