"""The same plan with activations of sixteen bits: int16 values, int8 kernels, int64 biases (scheme int16x8).

LiteRT has these operators as reference kernels only, so nothing is delegated: this scheme is for accuracy. Values
are symmetric, as the kernels ask; a value reaches as far as its int8 range did, in steps about 128 times finer or more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kexport.formats.tflite.program import Array, Constant, Instruction, Program, Quantization, Tensor
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Clip
from kexport.quantization.plan import bounds_of
from kexport.quantization.prepare import stem
from kexport.quantization.prepare.assign import assign

HIGHEST = 32767
PROBABILITY = Quantization(scales=(1 / 256,), zero_point=-128)
WIDE_PROBABILITY = Quantization(scales=(1 / 32768,))  # what the kernel of LOGISTIC fixes
VERSIONS = {
    "ADD": 3, "CONCATENATION": 3, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "DEQUANTIZE": 3, "FULLY_CONNECTED": 7,
    "LOGISTIC": 3, "MAX_POOL_2D": 3, "MEAN": 3, "MUL": 4, "PAD": 3, "QUANTIZE": 2, "RELU": 3, "RELU6": 3, "SLICE": 4,
}  # fmt: skip
GROUPED_CONV = 6
LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


RECTIFIERS = ((0.0, np.inf), (0.0, 6.0))
"""Between which ends LiteRT has an operator that keeps int16 values; int8 values end there by saturation."""


def unclipped(graph: Graph) -> str:
    """What of a rewritten graph int16 values cannot be clipped to; empty where there is nothing."""
    first = stem.find(graph)
    in_float, stored = (first.in_float, (first.depthwise,)) if first is not None else ((), ())
    precisions = assign(graph, keep_float=in_float, stored=stored)
    for node in graph:
        clips = isinstance(node.operation, Clip) or (
            isinstance(node.operation, Activate) and node.operation.function is not Activation.SIGMOID
        )
        if node.name in precisions and clips and bounds_of(node.operation) not in RECTIFIERS:
            layer = node.layers[-1] if node.layers else node.name
            low, high = bounds_of(node.operation)
            return f"layer {layer!r}: int16 values cannot be clipped at {low:g} and {high:g}, only at 0 and 6"
    return ""


def widened(program: Program) -> Program:
    """Every int8 value of ``program`` in int16; kernels stay, biases and constants keep the reals they stand for."""
    wide = _Wide(program=program, constants=list(program.constants))
    tensors = list(program.tensors)
    kernels = {each.inputs[1] for each in program.instructions if each.builtin in LINEAR}
    kernels |= {each.inputs[0] for each in program.instructions if _unpacks(program, each)}
    for index, tensor in enumerate(program.tensors):
        if tensor.dtype == "int8" and index not in kernels:
            tensors[index] = wide.value(tensor)
    for each in program.instructions:
        if each.builtin in LINEAR and program.tensors[each.inputs[0]].dtype == "int8":
            tensors[each.inputs[2]] = wide.bias(program.tensors[each.inputs[0]], program.tensors[each.inputs[2]])
    instructions = tuple(_versioned(each, tensors) for each in program.instructions)
    return replace(program, tensors=tuple(tensors), constants=tuple(wide.constants), instructions=instructions)


def wide_quantization(stored: Quantization) -> Quantization:
    """Symmetric, one step of int8 further than its numbers reached: what int8 rounded to its last number fits too."""
    if stored == PROBABILITY:
        return WIDE_PROBABILITY
    (scale,) = stored.scales
    reach = scale * (1 + max(128 + stored.zero_point, 127 - stored.zero_point))
    return Quantization(scales=(float(np.float32(reach / HIGHEST)),))


@dataclass(frozen=True, kw_only=True)
class _Wide:
    """The constants of the program, those in more bits behind them; equal ones are kept once."""

    program: Program
    constants: list[Constant]
    made: dict[tuple[int, float], int] = field(default_factory=dict)

    def value(self, tensor: Tensor) -> Tensor:
        """A value, or a constant that an operator reads as one."""
        assert tensor.quantization is not None  # 8-bit tensors have a scale
        if tensor.buffer == 0:
            return replace(tensor, dtype="int16", quantization=wide_quantization(tensor.quantization))
        numbers = self._numbers(tensor)
        if numbers.size > 1:  # a border that never wins a maximum, at the scale of what it surrounds
            lowest = np.full(tensor.shape, -HIGHEST - 1, np.int16)
            quantization = wide_quantization(tensor.quantization)
            return self._constant(tensor, lowest, "int16", quantization, 0.0)
        offset = float(numbers.item()) * tensor.quantization.scales[0]
        quantization = Quantization(scales=(float(np.float32(abs(offset) / HIGHEST)),))
        return self._constant(tensor, np.sign(numbers) * np.int16(HIGHEST), "int16", quantization, 0.0)

    def bias(self, source: Tensor, bias: Tensor) -> Tensor:
        """The bias at the finer scale of the input: ``source`` is the input as it was in int8."""
        assert source.quantization is not None
        assert bias.quantization is not None
        finer = source.quantization.scales[0] / wide_quantization(source.quantization).scales[0]
        scales = (np.array(bias.quantization.scales) / finer).astype(np.float32)
        numbers = np.rint(self._numbers(bias) * finer).astype(np.int64)
        return self._constant(bias, numbers, "int64", Quantization(scales=tuple(scales.tolist())), finer)

    def _numbers(self, tensor: Tensor) -> Array:
        return self.program.constants[tensor.buffer - 1].materialise()

    def _constant(self, tensor: Tensor, numbers: Array, dtype: str, quantization: Quantization, how: float) -> Tensor:
        key = (tensor.buffer, how)
        if key not in self.made:
            self.constants.append(Constant(name=tensor.name, array=numbers, dtype=dtype))
            self.made[key] = len(self.constants)
        return replace(tensor, dtype=dtype, buffer=self.made[key], quantization=quantization)


def _unpacks(program: Program, instruction: Instruction) -> bool:
    """Whether it is the DEQUANTIZE of a kernel."""
    return instruction.builtin == "DEQUANTIZE" and program.tensors[instruction.inputs[0]].buffer > 0


def _versioned(instruction: Instruction, tensors: list[Tensor]) -> Instruction:
    involved = (instruction.output, instruction.inputs[0])
    if all(tensors[index].dtype != "int16" for index in involved):
        return instruction
    options: dict[str, Any] = dict(instruction.options)
    if instruction.builtin == "ADD":
        options["potScaleInt16"] = False
    version = VERSIONS.get(instruction.builtin, instruction.version)
    if instruction.builtin == "CONV_2D" and instruction.version == GROUPED_CONV:
        version = GROUPED_CONV
    return replace(instruction, version=version, options=options)
