# ruff: noqa: ARG001 - the fallback has the signature of the seam
"""The seam between operations and TFLite's built-in operators, and the few forms that several of them share."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import Operation, Weights


@singledispatch
def assemble(operation: Operation, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    """Adds the operators of one node and returns the tensor that holds its result (maybe an input).

    ``name`` is the node's name, ``inputs`` are tensor indices, ``shape`` is the static output shape.
    Raises UnsupportedError for an operation or a combination of options that TFLite cannot express.
    """
    raise UnsupportedError(
        f"node {name!r}: TFLite writer knows no operation {type(operation).__name__}",
        hint="--engine tflite-converter",
    )


def reshaped(code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """The same numbers under another shape (or the same one: a copy under another name)."""
    wanted = code.indices(f"{name}/shape", shape)
    return code.emit("RESHAPE", (source, wanted), name=name, shape=shape, kind="ReshapeOptions", newShape=list(shape))


def affine(code: Assembler, name: str, source: int, scale: Weights, offset: Weights) -> int:
    """``source * scale + offset`` along the last axis, without the half that changes nothing."""
    shape = code.shape(source)
    moves = bool(np.any(offset != 0.0))
    value = source
    if np.any(scale != 1.0):
        label = f"{name}/scaled" if moves else name
        constant = code.constant(f"{name}/scale", scale)
        value = code.emit("MUL", (value, constant), name=label, shape=shape, kind="MulOptions")
    if moves:
        constant = code.constant(f"{name}/offset", offset)
        value = code.emit("ADD", (value, constant), name=name, shape=shape, kind="AddOptions")
    return value


def bias_of(code: Assembler, name: str, bias: Weights | None, length: int, *, whole: bool = False) -> int:
    """XNNPACK asks for a bias: zeros where the layer has none (shared by all of one length).

    In float16 where biases are to be in the type of the kernel, unless that is ``whole``, which is float32 always.
    """
    stored = code.weights if code.half_biases and not whole else code.constant
    if bias is None:
        return stored(f"constants/zeros{length}", np.zeros(length, np.float32))
    return stored(f"{name}/bias", bias)
