"""Where an INT8 node is written, and the conversions between real numbers and stored ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kexport.formats.tflite.program import Assembler, Quantization, Sizes
from kexport.graph import Node
from kexport.quantization.plan import LOWEST, Affine, QuantPlan

DEQUANTIZE_CHANNELS, DEQUANTIZE_TENSOR = 5, 2  # operator versions


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a node is written: its plan, the assembler, its input tensors (int8) and its static shape.

    ``saturating``: the numbers end where int8 does, so that a clip at the end of the range needs no operator.
    """

    node: Node
    plan: QuantPlan
    code: Assembler
    inputs: Sizes
    shape: Sizes
    saturating: bool = True

    @property
    def made(self) -> Affine:
        """How the node's result is stored."""
        return self.plan.values[self.node.name]


def stored_as(affine: Affine) -> Quantization:
    """An `Affine` in TFLite's terms."""
    return Quantization(scales=(affine.scale,), zero_point=affine.zero_point)


def quantized(code: Assembler, name: str, source: int, affine: Affine, dtype: str = "int8") -> int:
    """The tensor stored as ``affine`` says; ``uint8`` has a zero point 128 higher."""
    stored = stored_as(affine)
    if dtype == "uint8":
        stored = replace(stored, zero_point=stored.zero_point - LOWEST)
    made = code.emit("QUANTIZE", (source,), name=name, shape=code.shape(source), kind="QuantizeOptions")
    return code.declare(made, dtype, stored)


def dequantized(code: Assembler, name: str, source: int) -> int:
    """The real numbers of an int8 tensor or constant."""
    stored = code.tensors[source].quantization
    assert stored is not None  # only quantized tensors come here
    return code.emit(
        "DEQUANTIZE",
        (source,),
        name=name,
        shape=code.shape(source),
        version=DEQUANTIZE_TENSOR if len(stored.scales) == 1 else DEQUANTIZE_CHANNELS,
        kind="DequantizeOptions",
    )
