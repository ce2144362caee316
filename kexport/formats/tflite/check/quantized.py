"""Whether a TFLite file's quantization makes sense: the parameters of each tensor, and what operators ask of them.

The rules are LiteRT's quantization specification: activations with one scale, kernels with one for each output
channel and no zero point, biases at input scale * kernel scale, operators that only move numbers with one scale
on both sides, probabilities at 1/256 from -128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isclose, isfinite

from kexport.errors import ArtifactError
from kexport.formats.tflite.check.reader import Table
from kexport.formats.tflite.check.schema import BuiltinOperator, QuantizationParameters, Tensor, TensorType

FLOAT32, INT8, INT16 = TensorType.FLOAT32, TensorType.INT8, TensorType.INT16
RANGES: dict[int, tuple[int, int]] = {INT8: (-128, 127), TensorType.UINT8: (0, 255), INT16: (0, 0)}  # of zero points
LINEAR_TYPES: dict[int, tuple[int, int]] = {  # input: output, bias
    INT8: (INT8, TensorType.INT32),
    INT16: (INT16, TensorType.INT64),
    FLOAT32: (FLOAT32, FLOAT32),
}
SMALLEST = 2.0**-126  # XNNPACK divides by scales and crashes on subnormal ones
BIAS_TOLERANCE = 1e-5
KERNEL_AXES = {BuiltinOperator.CONV_2D: 0, BuiltinOperator.DEPTHWISE_CONV_2D: 3, BuiltinOperator.FULLY_CONNECTED: 0}
PROBABILITY_SCALE, PROBABILITY_ZERO_POINT = 1 / 256, -128


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Quantization parameters as read: one scale and zero point, or one for each index of ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What these rules want to know of an operator's tensor."""

    kind: int
    stored: Stored | None


def read_stored(tensor: Table, *, name: str, kind: int, shape: Sequence[int]) -> Stored | None:
    """The parameters of a tensor, checked against its type and shape; None for one that is not quantized."""
    slots, table = QuantizationParameters, tensor.child(Tensor.QUANTIZATION, "quantization")
    scales = () if table is None else tuple(table.reals(slots.SCALE, "scale"))
    if table is None or not scales:
        return None
    zero_points = tuple(table.numbers(slots.ZERO_POINT, "q", "zero_point"))
    stored = Stored(scales=scales, zero_points=zero_points, axis=table.number(slots.QUANTIZED_DIMENSION, "i", 0))
    wrong = next((scale for scale in scales if not (isfinite(scale) and scale >= SMALLEST)), None)
    _require(wrong is None, f"tensor {name!r}: scale {wrong}, expected a positive normal number")
    count = len(stored.zero_points)
    _require(count == len(scales), f"tensor {name!r}: {len(scales)} scales, {count} zero points")
    low, high = RANGES[kind] if kind in RANGES and len(scales) == 1 else (0, 0)
    outside = next((point for point in stored.zero_points if not low <= point <= high), None)
    _require(outside is None, f"tensor {name!r}: zero point {outside}, expected {low} to {high}")
    if len(scales) > 1:
        _require(0 <= stored.axis < len(shape), f"tensor {name!r}: scales along axis {stored.axis} of {tuple(shape)}")
        wanted = shape[stored.axis]
        _require(len(scales) == wanted, f"tensor {name!r}: {len(scales)} scales for {wanted} channels")
    return stored


def check_quantized(code: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    """Raise ArtifactError if an operator's types and scales do not go together.

    Small integers that stand for themselves, as in photographs, only a CAST takes or makes.
    """
    bare = [each.kind for each in (*inputs, output) if each.kind in RANGES and each.stored is None]
    _require(
        not bare or code is BuiltinOperator.CAST,
        f"{where}: numbers of {16 if INT16 in bare else 8} bits without a scale",
    )
    rule = RULES.get(code)
    if rule is not None:
        rule(code, where, inputs, output)


def _linear(code: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    source, kernel, *biases = inputs
    if kernel.kind != INT8:
        return
    fixed = source.kind in RANGES
    kinds = (output.kind, *(bias.kind for bias in biases))
    _require(
        kinds == LINEAR_TYPES.get(source.kind, ())[: len(kinds)],
        f"{where}: an int8 kernel with input, output and bias of types {(source.kind, *kinds)}",
    )
    assert kernel.stored is not None  # 8-bit tensors have a scale: checked when they were read
    _require(
        len(kernel.stored.scales) == 1 or kernel.stored.axis == KERNEL_AXES[code],
        f"{where}: kernel scales along axis {kernel.stored.axis}, expected {KERNEL_AXES[code]}",
    )
    for bias in biases if fixed else ():
        _require(
            source.stored is not None and _bias_fits(source.stored, kernel.stored, bias.stored), f"{where}: {_BIAS}"
        )


_BIAS = "the bias is not at input scale * kernel scale"


def _bias_fits(source: Stored, kernel: Stored, bias: Stored | None) -> bool:
    if bias is None or len(bias.scales) != len(kernel.scales):
        return False
    pairs = zip(kernel.scales, bias.scales, strict=True)
    return all(isclose(source.scales[0] * scale, found, rel_tol=BIAS_TOLERANCE) for scale, found in pairs)


def _same_scale(_: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    for each in inputs:
        if each.kind in RANGES or (output.kind in RANGES and each.kind == FLOAT32):
            fits = each.kind == output.kind and each.stored == output.stored
            _require(fits, f"{where}: moves numbers from {_told(each)} to {_told(output)}")


def _same_type(_: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    kinds = {each.kind for each in (*inputs, output)}
    _require(len(kinds) == 1, f"{where}: inputs and output of types {sorted(kinds)}")


def _probability(code: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    _same_type(code, where, inputs, output)
    fixed = Stored(scales=(PROBABILITY_SCALE,), zero_points=(PROBABILITY_ZERO_POINT,), axis=0)
    _require(output.kind != INT8 or output.stored == fixed, f"{where}: probabilities at {_told(output)}")


def _quantize(_: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    known = (FLOAT32, *RANGES)
    _require(inputs[0].kind in known and output.kind in RANGES, f"{where}: QUANTIZE makes type {output.kind}")


def _dequantize(_: BuiltinOperator, where: str, inputs: Sequence[Typed], output: Typed) -> None:
    _require(
        inputs[0].kind not in (FLOAT32, TensorType.INT32) and output.kind == FLOAT32,
        f"{where}: DEQUANTIZE from type {inputs[0].kind} to {output.kind}",
    )


def _told(typed: Typed) -> str:
    if typed.stored is None:
        return f"type {typed.kind}"
    return f"scale {typed.stored.scales[0]:.6g} from {typed.stored.zero_points[0]}"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ArtifactError(message)


_LINEAR = (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D, BuiltinOperator.FULLY_CONNECTED)
_MOVES = (
    BuiltinOperator.AVERAGE_POOL_2D,
    BuiltinOperator.CONCATENATION,
    BuiltinOperator.MAX_POOL_2D,
    BuiltinOperator.RESHAPE,
    BuiltinOperator.PAD,
    BuiltinOperator.SLICE,
)
_ARITHMETIC = (
    BuiltinOperator.ADD,
    BuiltinOperator.MUL,
    BuiltinOperator.SUB,
    BuiltinOperator.MAXIMUM,
    BuiltinOperator.MINIMUM,
)
RULES: dict[BuiltinOperator, Callable[[BuiltinOperator, str, Sequence[Typed], Typed], None]] = {
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(_MOVES, _same_scale),
    **dict.fromkeys(_ARITHMETIC, _same_type),
    **dict.fromkeys((BuiltinOperator.LOGISTIC, BuiltinOperator.SOFTMAX), _probability),
    BuiltinOperator.DEQUANTIZE: _dequantize,
    BuiltinOperator.QUANTIZE: _quantize,
}
