"""Versions of operators, raised to what their values ask for: a runtime that is too old refuses the file, as it should.

What a quantized operator needs, its writer says; here is what types and numbers of axes need.
Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
"""

from __future__ import annotations

from dataclasses import replace

from kexport.formats.tflite.program import Instruction, Program

AXES = {"TRANSPOSE": ((6, 8), (5, 6), (4, 4)), "STRIDED_SLICE": ((4, 4),), "SLICE": ((4, 5),), "PAD": ((4, 4),)}
"""By operator: above how many axes of the input which version."""
AXES |= {"PADV2": AXES["PAD"]}
BROADCAST = {"SUB": 3, "MAXIMUM": 3, "MINIMUM": 3, "DIV": 2}
"""Between inputs of two shapes, one of them of more than four axes."""
TYPES = {
    "ABS": {"int32": 5},
    "ADD": {"int64": 4},
    "ARG_MAX": {"bool": 3},
    "ARG_MIN": {"bool": 3},
    "CAST": {"int8": 3, "float64": 5, "float16": 5},
    "GATHER": {"bool": 3},
    "MUL": {"int64": 5},
    "PAD": {"bool": 5},
    "PADV2": {"bool": 5},
    "RANGE": {"int64": 2},
    "SIGN": {"int32": 2},
    "SPLIT": {"int32": 3},
    "STRIDED_SLICE": {"bool": 3},
    "SUB": {"int64": 4},
    "TRANSPOSE": {"bool": 3},
    "UNPACK": {"bool": 3},
}
"""By operator and type of its value: the second input of SPLIT, the first of others; of CAST also what it makes."""


def raised(program: Program) -> Program:
    """The same with versions that are as high as needed."""
    return replace(program, instructions=tuple(_raised(each, program) for each in program.instructions))


def _raised(instruction: Instruction, program: Program) -> Instruction:
    needed = max(instruction.version, _by_axes(instruction, program), _by_type(instruction, program))
    return instruction if needed == instruction.version else replace(instruction, version=needed)


def _by_axes(instruction: Instruction, program: Program) -> int:
    shapes = [program.tensors[each].shape for each in instruction.inputs if each >= 0]
    if not shapes:
        return 1
    if instruction.builtin in BROADCAST and shapes[0] != shapes[1] and max(map(len, shapes[:2])) > 4:
        return BROADCAST[instruction.builtin]
    ranks = AXES.get(instruction.builtin, ())
    return next((version for axes, version in ranks if len(shapes[0]) > axes), 1)


def _by_type(instruction: Instruction, program: Program) -> int:
    known = TYPES.get(instruction.builtin)
    if known is None:
        return 1
    places = [instruction.inputs[1 if instruction.builtin == "SPLIT" else 0]]
    places += [instruction.output] if instruction.builtin == "CAST" else []
    return max(known.get(program.tensors[place].dtype, 1) for place in places)
