# ruff: noqa: ARG001 - every function has the signature of the seam, whether it needs all of it or not
"""TFLite operators that compare, choose, look up, repeat and regroup: indices are int32, truth values bool.

XNNPACK has none of them, but for what only moves numbers forwards.
"""

from __future__ import annotations

import numpy as np

from kexport.formats.tflite.operators.seam import assemble, reshaped
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import (
    ArgExtreme,
    Compare,
    Comparison,
    Extreme,
    Filled,
    Lookup,
    Regroup,
    Select,
    StridedSlice,
    Take,
    Tile,
    TopK,
    Weights,
)

KINDS = {
    "float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "float64": 10,
}  # schema enum TensorType  # fmt: skip
COMPARISONS = {
    Comparison.EQUAL: ("EQUAL", "EqualOptions"),
    Comparison.GREATER: ("GREATER", "GreaterOptions"),
    Comparison.GREATER_EQUAL: ("GREATER_EQUAL", "GreaterEqualOptions"),
    Comparison.LESS: ("LESS", "LessOptions"),
    Comparison.LESS_EQUAL: ("LESS_EQUAL", "LessEqualOptions"),
    Comparison.NOT_EQUAL: ("NOT_EQUAL", "NotEqualOptions"),
}


def cast(code: Assembler, name: str, source: int, dtype: str) -> int:
    """The numbers in another type; where they were cast before from that type, what they were cast from."""
    have = code.tensors[source].dtype
    if have == dtype:
        return source
    for each in reversed(code.instructions):
        if each.output == source and each.builtin == "CAST" and code.tensors[each.inputs[0]].dtype == dtype:
            return each.inputs[0]
    options = {"inDataType": KINDS[have], "outDataType": KINDS[dtype]}
    shape = code.shape(source)
    return code.emit("CAST", (source,), name=name, shape=shape, kind="CastOptions", dtype=dtype, **options)


@assemble.register
def _compare(operation: Compare, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.constant is not None:
        inputs = (*inputs, _constant(code, f"{name}/constant", operation.constant))
    builtin, kind = COMPARISONS[operation.kind]
    truth = code.emit(builtin, inputs, name=f"{name}/truth", shape=shape, kind=kind, dtype="bool")
    return cast(code, name, truth, "float32")


def _constant(code: Assembler, name: str, array: Weights) -> int:
    return code.constant(name, array.reshape(array.shape or (1,)))


@assemble.register
def _select(operation: Select, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    condition, *rest = inputs
    sides = [
        rest.pop(0) if constant is None else _constant(code, f"{name}/{side}", constant)
        for side, constant in (("chosen", operation.chosen), ("otherwise", operation.otherwise))
    ]
    truth = cast(code, f"{name}/truth", condition, "bool")
    return code.emit("SELECT_V2", (truth, *sides), name=name, shape=shape, kind="SelectV2Options")


@assemble.register
def _arg_extreme(operation: ArgExtreme, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    largest = operation.kind is Extreme.LARGEST
    source = code.shape(inputs[0])
    found = (*source[: operation.axis], *source[operation.axis + 1 :])
    place = code.emit(
        "ARG_MAX" if largest else "ARG_MIN",
        (inputs[0], code.indices(f"{name}/axis", (operation.axis,))),
        name=f"{name}/place",
        shape=found,
        kind="ArgMaxOptions" if largest else "ArgMinOptions",
        dtype="int32",
        outputType=KINDS["int32"],
    )
    if not operation.keepdims:
        return cast(code, name, place, "float32")
    return reshaped(code, name, cast(code, f"{name}/number", place, "float32"), shape)


@assemble.register
def _top_k(operation: TopK, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    k = code.constant(f"{name}/k", np.asarray(operation.k, np.int32), dtype="int32")
    numbers, places = code.several(
        "TOPK_V2",
        (inputs[0], k),
        ((name, shape, "float32"), (f"{name}/places", shape, "int32")),
        kind="TopKV2Options",
    )
    return cast(code, f"{name}/number", places, "float32") if operation.places else numbers


@assemble.register
def _take(operation: Take, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    places = code.indices(f"{name}/places", operation.places)
    return code.emit("GATHER", (inputs[0], places), name=name, shape=shape, kind="GatherOptions", axis=operation.axis)


@assemble.register
def _lookup(operation: Lookup, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    rows = cast(code, f"{name}/rows", inputs[0], "int32")
    table = code.constant(f"{name}/table", operation.table)
    return code.emit("GATHER", (table, rows), name=name, shape=shape, kind="GatherOptions", axis=0)


@assemble.register
def _tile(operation: Tile, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    times = code.indices(f"{name}/times", (1, *operation.times))
    return code.emit("TILE", (inputs[0], times), name=name, shape=shape, kind="TileOptions")


@assemble.register
def _strided_slice(operation: StridedSlice, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    """An end before the front of an axis cannot be named: the mask of ends says that there is none."""
    steps, starts = (1, *operation.steps), (0, *operation.starts)
    ends = [start + size * step for start, size, step in zip(starts, shape, steps, strict=True)]
    open_ends = sum(1 << axis for axis, end in enumerate(ends) if end < 0)
    constants = (
        code.indices(f"{name}/begin", starts),
        code.indices(f"{name}/end", [max(end, 0) for end in ends]),
        code.indices(f"{name}/strides", steps),
    )
    return code.emit(
        "STRIDED_SLICE",
        (inputs[0], *constants),
        name=name,
        shape=shape,
        kind="StridedSliceOptions",
        endMask=open_ends,
    )


@assemble.register
def _filled(operation: Filled, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return code.constant(f"{name}/constant", np.ascontiguousarray(np.broadcast_to(operation.constant, shape)))


@assemble.register
def _regroup(_: Regroup, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    return reshaped(code, name, inputs[0], shape)
