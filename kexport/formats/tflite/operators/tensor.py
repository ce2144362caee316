# ruff: noqa: ARG001 - every function has the signature of the seam, whether it needs all of it or not
"""TFLite operators for operations on tensors of any rank, in the form that XNNPACK takes where there is one.

POW, GREATER and SELECT_V2 have no such form: the built-in kernels run them.
"""

from __future__ import annotations

import numpy as np

from kexport.formats.tflite.operators.padding import joined_on
from kexport.formats.tflite.operators.seam import assemble
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import (
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

FUNCTIONS = {
    Function.ABSOLUTE: ("ABS", ""),
    Function.NEGATIVE: ("NEG", ""),
    Function.EXPONENTIAL: ("EXP", "ExpOptions"),
    Function.LOGARITHM: ("LOG", ""),
    Function.SQUARE: ("SQUARE", "SquareOptions"),
    Function.SQUARE_ROOT: ("SQRT", ""),
    Function.INVERSE_SQUARE_ROOT: ("RSQRT", ""),
    Function.SINE: ("SIN", ""),
    Function.COSINE: ("COS", "CosOptions"),
    Function.FLOOR: ("FLOOR", ""),
    Function.CEILING: ("CEIL", ""),
    Function.ROUND: ("ROUND", ""),
    Function.SIGN: ("SIGN", "SignOptions"),
    Function.ELU: ("ELU", ""),
}
BINARIES = {
    BinaryKind.ADD: ("ADD", "AddOptions"),
    BinaryKind.SUBTRACT: ("SUB", "SubOptions"),
    BinaryKind.MULTIPLY: ("MUL", "MulOptions"),
    BinaryKind.DIVIDE: ("DIV", "DivOptions"),
    BinaryKind.MAXIMUM: ("MAXIMUM", "MaximumMinimumOptions"),
    BinaryKind.MINIMUM: ("MINIMUM", "MaximumMinimumOptions"),
    BinaryKind.POWER: ("POW", "PowOptions"),
}
REDUCTIONS = {
    ReduceKind.MEAN: "MEAN",
    ReduceKind.SUM: "SUM",
    ReduceKind.MAXIMUM: "REDUCE_MAX",
    ReduceKind.MINIMUM: "REDUCE_MIN",
    ReduceKind.PRODUCT: "REDUCE_PROD",
}


@assemble.register
def _elementwise(operation: Elementwise, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.function in FUNCTIONS:
        builtin, kind = FUNCTIONS[operation.function]
        return code.emit(builtin, inputs, name=name, shape=shape, kind=kind)
    if operation.function is Function.GELU_TANH:
        return code.emit("GELU", inputs, name=name, shape=shape, kind="GeluOptions", approximate=True)
    return COMPOSED[operation.function](code, name, inputs[0], shape)


def _softplus(code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """``max(x, 0) + log(1 + exp(-|x|))``: no exponential overflows."""
    size = code.emit("ABS", (source,), name=f"{name}/absolute", shape=shape)
    below = code.emit("NEG", (size,), name=f"{name}/negative", shape=shape)
    power = code.emit("EXP", (below,), name=f"{name}/exp", shape=shape, kind="ExpOptions")
    raised = code.emit("ADD", (power, _number(code, 1.0)), name=f"{name}/raised", shape=shape, kind="AddOptions")
    rest = code.emit("LOG", (raised,), name=f"{name}/log", shape=shape)
    positive = code.emit("RELU", (source,), name=f"{name}/relu", shape=shape)
    return code.emit("ADD", (positive, rest), name=name, shape=shape, kind="AddOptions")


def _softsign(code: Assembler, name: str, source: int, shape: Sizes) -> int:
    size = code.emit("ABS", (source,), name=f"{name}/absolute", shape=shape)
    raised = code.emit("ADD", (size, _number(code, 1.0)), name=f"{name}/raised", shape=shape, kind="AddOptions")
    return code.emit("DIV", (source, raised), name=name, shape=shape, kind="DivOptions")


def _error(code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """The error function by Abramowitz and Stegun 7.1.26, off by at most 1.5e-7: TFLite has none.

    ``sign(x) * (1 - p(t) * exp(-x^2))`` with ``t = 1 / (1 + 0.3275911 |x|)``.
    """

    def two(builtin: str, label: str, left: int, right: int) -> int:
        kind = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}[builtin]
        return code.emit(builtin, (left, right), name=f"{name}/{label}" if label else name, shape=shape, kind=kind)

    size = code.emit("ABS", (source,), name=f"{name}/absolute", shape=shape)
    raised = two("ADD", "raised", two("MUL", "share", size, _number(code, 0.3275911)), _number(code, 1.0))
    t = two("DIV", "t", _number(code, 1.0), raised)
    total = two("MUL", "term0", t, _number(code, 1.061405429))
    for step, number in enumerate((-1.453152027, 1.421413741, -0.284496736, 0.254829592), start=1):
        total = two("MUL", f"term{step}", t, two("ADD", f"sum{step}", total, _number(code, number)))
    square = two("MUL", "square", source, source)
    below = code.emit("NEG", (square,), name=f"{name}/below", shape=shape)
    power = code.emit("EXP", (below,), name=f"{name}/power", shape=shape, kind="ExpOptions")
    rest = two("SUB", "rest", _number(code, 1.0), two("MUL", "product", total, power))
    sign = code.emit("SIGN", (source,), name=f"{name}/sign", shape=shape, kind="SignOptions")
    return two("MUL", "", sign, rest)


COMPOSED = {Function.SOFTPLUS: _softplus, Function.SOFTSIGN: _softsign, Function.ERROR: _error}


def _number(code: Assembler, number: float) -> int:
    return code.constant(f"constants/{number:g}", np.full(1, number, np.float32))


@assemble.register
def _binary(operation: Binary, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.constant is not None:
        array = operation.constant.reshape(operation.constant.shape or (1,))
        constant = code.constant(f"{name}/constant", array)
        inputs = (constant, *inputs) if operation.constant_first else (*inputs, constant)
    builtin, kind = BINARIES[operation.kind]
    return code.emit(builtin, inputs, name=name, shape=shape, kind=kind)


@assemble.register
def _leaky_relu(operation: LeakyRelu, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    slope = operation.slope
    if slope.size == 1:
        alpha = float(slope.reshape(()))
        return code.emit("LEAKY_RELU", inputs, name=name, shape=shape, kind="LeakyReluOptions", alpha=alpha)
    if slope.size == shape[-1] == slope.shape[-1]:
        alphas = code.constant(f"{name}/slope", slope.reshape((1,) * (len(shape) - 2) + slope.shape[-1:]))
        return code.emit("PRELU", (inputs[0], alphas), name=name, shape=shape)
    return _leaky_by_parts(operation, code, name, inputs[0], shape)


def _leaky_by_parts(operation: LeakyRelu, code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """``max(x, 0) + slope * min(x, 0)``: XNNPACK's PRELU only knows one slope per channel."""
    slope = code.constant(f"{name}/slope", operation.slope)
    kind = "MaximumMinimumOptions"
    below = code.emit("MINIMUM", (source, _number(code, 0.0)), name=f"{name}/below", shape=shape, kind=kind)
    sloped = code.emit("MUL", (below, slope), name=f"{name}/sloped", shape=shape, kind="MulOptions")
    positive = code.emit("RELU", (source,), name=f"{name}/relu", shape=shape)
    return code.emit("ADD", (positive, sloped), name=name, shape=shape, kind="AddOptions")


@assemble.register
def _threshold(operation: Threshold, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    bound, otherwise = _number(code, operation.threshold), _number(code, operation.otherwise)
    above = code.emit(
        "GREATER", (inputs[0], bound), name=f"{name}/above", shape=shape, kind="GreaterOptions", dtype="bool"
    )
    return code.emit("SELECT_V2", (above, inputs[0], otherwise), name=name, shape=shape, kind="SelectV2Options")


@assemble.register
def _reduce(operation: Reduce, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    axes = code.indices(f"{name}/axes", operation.axes)
    return code.emit(
        REDUCTIONS[operation.kind],
        (inputs[0], axes),
        name=name,
        shape=shape,
        kind="ReducerOptions",
        keepDims=operation.keepdims,
    )


@assemble.register
def _transpose(operation: Transpose, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    order = code.indices(f"{name}/order", operation.order)
    return code.emit("TRANSPOSE", (inputs[0], order), name=name, shape=shape, kind="TransposeOptions")


@assemble.register
def _slice(operation: Slice, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    begin = code.indices(f"{name}/begin", (0, *operation.starts))
    size = code.indices(f"{name}/size", shape)
    return code.emit("SLICE", (inputs[0], begin, size), name=name, shape=shape, kind="SliceOptions")


@assemble.register
def _join(operation: Join, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return joined_on(code, name, list(inputs), operation.axis)


@assemble.register
def _matmul(_: MatMul, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return code.emit("BATCH_MATMUL", inputs, name=name, shape=shape, kind="BatchMatMulOptions")
