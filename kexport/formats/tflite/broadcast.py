"""Constant operands in the shape that XNNPACK broadcasts without a detour.

XNNPACK runs an element-wise operator row by row, and a row is what one operand repeats: a constant with one
number per channel of a photograph makes rows of three numbers, 50176 of them at 224 x 224. One number for all
channels needs no rows; one for each channel and column makes rows as long as the image is wide.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from kexport.formats.tflite.program import Array, Constant, Instruction, Program, Sizes, Tensor

ELEMENTWISE = frozenset({"ADD", "SUB", "MUL"})
FEW_CHANNELS = 15  # from 16 on a row per pixel is long enough


def broadcast_in_long_rows(program: Program) -> Program:
    """The same numbers from constants of one element, or of one row; the old ones may be unused now."""
    pool = _Pool(program=program, tensors=list(program.tensors), constants=list(program.constants))
    instructions = tuple(pool.rewritten(each) for each in program.instructions)
    return replace(program, tensors=tuple(pool.tensors), constants=tuple(pool.constants), instructions=instructions)


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Tensors and constants of the program, the new ones behind; equal new ones are kept once."""

    program: Program
    tensors: list[Tensor]
    constants: list[Constant]
    made: dict[tuple[Sizes, bytes], int] = field(default_factory=dict)

    def rewritten(self, each: Instruction) -> Instruction:
        if each.builtin not in ELEMENTWISE or len(each.inputs) != 2:
            return each
        first, second = each.inputs
        return replace(each, inputs=(self._reshaped(first, second), self._reshaped(second, first)))

    def _reshaped(self, tensor: int, other: int) -> int:
        """The constant in its better shape, or the tensor itself."""
        found = self.program.tensors[tensor]
        if found.buffer == 0 or found.dtype != "float32" or len(found.shape) != 1:
            return tensor
        array = self.program.constants[found.buffer - 1].materialise().reshape(found.shape)
        better = _better(array, self.program.tensors[other].shape)
        return tensor if better is array else self._add(found.name, better)

    def _add(self, name: str, array: Array) -> int:
        key = (array.shape, array.tobytes())
        if key not in self.made:
            self.constants.append(Constant(name=name, array=array, dtype="float32"))
            label = name if array.size == 1 else f"{name}/row"
            self.tensors.append(Tensor(name=label, shape=array.shape, buffer=len(self.constants)))
            self.made[key] = len(self.tensors) - 1
        return self.made[key]


def _better(array: Array, other: Sizes) -> Array:
    """One number where all are equal; a row of the image where there are few channels; else ``array`` itself."""
    if array.size > 1 and bool(np.all(array == array[0])):
        return array[:1].copy()
    if 1 < array.size <= FEW_CHANNELS and len(other) == 4 and other[-1] == array.size:
        return np.tile(array, (other[2], 1))
    return array
