"""One INT8 node of a plan in TFLite's built-in operators.

The operators are those of the float writer; then what they make is declared int8, and kernels, biases and other
constants are exchanged for the plan's numbers. Where XNNPACK has no int8 operator, one that it has computes the
same: an average over whole windows is a depthwise convolution with ones, a rectifier that cannot be fused is a
maximum over windows of one cell. Operator versions: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.operators.network import UNARY, assemble
from kexport.formats.tflite.operators.padding import VALID, Window, scheme_of
from kexport.formats.tflite.program import Assembler, Instruction, Program, Quantization, Sizes
from kexport.formats.tflite.quantized.site import Site, dequantized, quantized, stored_as
from kexport.operations import (
    NO_PADDING,
    Activate,
    Activation,
    Clip,
    Conv,
    Dense,
    Operation,
    Pool,
    PoolKind,
    ScaleShift,
)
from kexport.quantization.plan import HIGHEST, LOWEST, Affine, Kernel, bounds_of
from kexport.quantization.scales.limits import constant_of

VERSIONS = {
    "ADD": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "LOGISTIC": 2,
    "MAX_POOL_2D": 2, "MEAN": 2, "MUL": 2, "PAD": 2, "RELU": 2, "RELU6": 2, "SLICE": 2,
}  # fmt: skip
LINEAR = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # the kernel's axis of output channels
POOLED = {"RELU": 1, "RELU6": 3}  # schema enum ActivationFunctionType
DYNAMIC_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 12}  # float inputs, int8 kernels with a scale per channel


@singledispatch
def assemble_int8(operation: Operation, site: Site) -> int:
    """Adds the operators of one INT8 node and returns the tensor that holds its result (maybe an input).

    Raises UnsupportedError for what TFLite cannot express.
    """
    return _as_in_float(operation, site)


@assemble_int8.register
def _conv(operation: Conv, site: Site) -> int:
    return _linear(operation, site)


@assemble_int8.register
def _dense(operation: Dense, site: Site) -> int:
    return _linear(operation, site)


@assemble_int8.register
def _shift(operation: ScaleShift, site: Site) -> int:
    """``x + constant``, the constant stored at a scale of its own; without one a conversion between two scales."""
    offset = float(operation.offset[0])
    if offset == 0.0:
        same = site.code.tensors[site.inputs[0]].quantization == stored_as(site.made)
        return site.inputs[0] if same else quantized(site.code, site.node.name, site.inputs[0], site.made)
    number, scale = constant_of(offset, site.made)
    constant = site.code.constant(
        f"{site.node.name}/offset",
        np.array([number], np.int8),
        dtype="int8",
        quantization=Quantization(scales=(scale,)),
    )
    return _emit(site, "ADD", (site.inputs[0], constant), "AddOptions")


@assemble_int8.register
def _activate(operation: Activate, site: Site) -> int:
    if operation.function is Activation.SIGMOID:
        return _as_in_float(operation, site)
    return _clipped(operation, site)


@assemble_int8.register
def _clip(operation: Clip, site: Site) -> int:
    return _clipped(operation, site)


def _clipped(operation: Activate | Clip, site: Site) -> int:
    """Nothing where the stored range ends as the bounds do, a rectifier where it is one, else saturation."""
    if site.saturating and site.plan.saturates(site.node):
        return site.inputs[0]
    rectifiers = {(0.0, np.inf): Activation.RELU, (0.0, 6.0): Activation.RELU6}
    rectifier = rectifiers.get(bounds_of(operation))
    if rectifier is not None:
        builtin, kind = UNARY[rectifier]
        return _emit(site, builtin, site.inputs, kind)
    if not site.saturating:
        raise UnsupportedError(
            f"node {site.node.name!r}: int16 values cannot be clipped at {bounds_of(operation)}, only at 0 and 6",
            hint="--schemes int8",
        )
    return _saturated(site, *bounds_of(operation))


def _emit(site: Site, builtin: str, inputs: Sizes, kind: str) -> int:
    """The operator that makes the node's result."""
    version = VERSIONS[builtin]
    made = site.code.emit(builtin, inputs, name=site.node.name, shape=site.shape, version=version, kind=kind)
    return site.code.declare(made, "int8", stored_as(site.made))


def _saturated(site: Site, low: float, high: float) -> int:
    """The numbers moved until what lies below ``low`` falls off the range of int8, then above ``high``, then back.

    XNNPACK has MINIMUM and MAXIMUM for float only; a QUANTIZE from int8 to int8 it has.
    """
    made, value = site.made, site.inputs[0]
    ends = [("raised", LOWEST, low), ("lowered", HIGHEST, high)]
    for label, end, bound in ends:
        if not (made.low < bound < made.high):
            continue
        zero_point = end - round(bound / made.scale)
        if not LOWEST <= zero_point <= HIGHEST:
            raise UnsupportedError(
                f"node {site.node.name!r}: TFLite cannot clip int8 numbers at {bound:g}, only where zero stays inside",
                hint="--schemes int8 --formats onnx, or --schemes float16",
            )
        moved = Affine(scale=made.scale, zero_point=zero_point)
        value = quantized(site.code, f"{site.node.name}/{label}", value, moved)
    return quantized(site.code, site.node.name, value, made)


@assemble_int8.register
def _pool(operation: Pool, site: Site) -> int:
    if operation.size == (1, 1) and operation.padding == NO_PADDING:
        return site.inputs[0] if operation.strides == (1, 1) else _sum(operation, site, share=1.0)
    if operation.kind is PoolKind.MAX:
        return _as_in_float(operation, site)
    window = Window(size=operation.size, strides=operation.strides, padding=operation.padding)
    if scheme_of(site.code.shape(site.inputs[0]), site.shape, window) == VALID:
        return _sum(operation, site, share=1.0 / (operation.size[0] * operation.size[1]))
    return _through_float(operation, site)


def _sum(operation: Pool, site: Site, *, share: float) -> int:
    """The sum over whole windows times ``share``: a depthwise convolution with ones, which XNNPACK has in int8."""
    channels = site.shape[3]
    kernel = Kernel(
        numbers=np.ones((*operation.size, 1, channels), np.int8),
        scales=np.full(channels, share, np.float32),
        bias=np.zeros(channels, np.int32),
    )
    ones = np.ones((*operation.size, 1, channels), np.float32)
    convolution = Conv(kernel=ones, strides=operation.strides, groups=channels)
    return _linear(convolution, site, kernel)


def _through_float(operation: Operation, site: Site) -> int:
    """Averages that padding takes part in: DEQUANTIZE, the float operators, QUANTIZE, all of which XNNPACK has."""
    name = site.node.name
    real = dequantized(site.code, f"{name}/input", site.inputs[0])
    result = assemble(operation, site.code, name=f"{name}/float32", inputs=(real,), shape=site.shape)
    return quantized(site.code, name, result, site.made)


def _as_in_float(operation: Operation, site: Site) -> int:
    first = len(site.code.instructions)
    result = assemble(operation, site.code, name=site.node.name, inputs=site.inputs, shape=site.shape)
    _declare_int8(site, first)
    return result


def _linear(operation: Conv | Dense, site: Site, kernel: Kernel | None = None) -> int:
    first, name = len(site.code.instructions), site.node.name
    result = assemble(operation, site.code, name=name, inputs=site.inputs, shape=site.shape)
    _declare_int8(site, first)
    numbers = site.plan.kernels[name] if kernel is None else kernel
    last = site.code.instructions[-1]
    weights = kernel_constant(site.code, name, last, numbers)
    source = site.code.tensors[last.inputs[0]].quantization
    assert source is not None  # an int8 tensor
    assert numbers.bias is not None  # the plan has checked it
    scales = np.float32(source.scales[0]) * numbers.scales
    bias = site.code.constant(
        f"{name}/bias", numbers.bias, dtype="int32", quantization=Quantization(scales=tuple(scales.tolist()))
    )
    site.code.instructions[-1] = replace(last, inputs=(last.inputs[0], weights, bias))
    return result


def kernel_constant(code: Assembler, name: str, reader: Instruction, kernel: Kernel) -> int:
    """The int8 kernel in place of the float kernel that ``reader`` has: a constant with one scale per channel."""
    return code.constant(
        f"{name}/kernel/int8",
        kernel.numbers,
        shape=code.shape(reader.inputs[1]),
        last_first=reader.builtin != "DEPTHWISE_CONV_2D",
        dtype="int8",
        quantization=Quantization(scales=tuple(kernel.scales.tolist()), axis=LINEAR[reader.builtin]),
    )


def dynamic(reader: Instruction) -> Instruction:
    """The same operator quantizing its float input at run time, asymmetrically, as a convolution always does."""
    asymmetric = {"asymmetricQuantizeInputs": True} if reader.builtin == "FULLY_CONNECTED" else {}
    return replace(reader, version=DYNAMIC_VERSIONS[reader.builtin], options={**reader.options, **asymmetric})


def _declare_int8(site: Site, first: int) -> None:
    """What the instructions from ``first`` on make is int8: the last one's as the node's, before it as the input's."""
    code = site.code
    for index in range(first, len(code.instructions)):
        each = code.instructions[index]
        last = index == len(code.instructions) - 1
        stored = stored_as(site.made) if last else code.tensors[site.inputs[0]].quantization
        code.declare(each.output, "int8", stored)
        inputs = each.inputs
        if each.builtin not in LINEAR:
            inputs = tuple(_constant_int8(site, tensor) for tensor in each.inputs)
        code.instructions[index] = replace(each, inputs=inputs, version=_version(site, each))


def _constant_int8(site: Site, tensor: int) -> int:
    """Borders that never win a maximum are float constants: the lowest int8 takes their place."""
    found = site.code.tensors[tensor]
    if found.buffer == 0 or found.dtype != "float32":
        return tensor
    lowest = np.full(found.shape, LOWEST, np.int8)
    return site.code.constant(f"{found.name}/int8", lowest, dtype="int8", quantization=stored_as(site.made))


def _version(site: Site, instruction: Instruction) -> int:
    operation, builtin = site.node.operation, instruction.builtin
    if builtin == "CONV_2D" and isinstance(operation, Conv) and operation.groups > 1:
        return 6
    if builtin == "FULLY_CONNECTED" and instruction.options["keepNumDims"]:
        return 5
    if builtin == "MUL":
        scales = [site.plan.values[value].scale for value in site.node.inputs]
        return 3 if scales[0] * scales[1] / site.made.scale >= 1 else 2
    return VERSIONS.get(builtin, 1)


def rectifiers_as_pools(program: Program) -> Program:
    """RELU and RELU6 of int8 images as MAX_POOL_2D over one cell: XNNPACK has the former for float only."""
    return replace(program, instructions=tuple(_as_pool(program, each) for each in program.instructions))


def _as_pool(program: Program, instruction: Instruction) -> Instruction:
    made = program.tensors[instruction.output]
    if instruction.builtin not in POOLED or made.dtype != "int8" or len(made.shape) != 4:
        return instruction
    one = {"strideH": 1, "strideW": 1, "filterHeight": 1, "filterWidth": 1, "padding": VALID}
    return replace(
        instruction,
        builtin="MAX_POOL_2D",
        version=VERSIONS["MAX_POOL_2D"],
        options_kind="Pool2DOptions",
        options={**one, "fusedActivationFunction": POOLED[instruction.builtin]},
    )
