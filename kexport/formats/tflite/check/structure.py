"""Whether a TFLite file is sound, found out before any interpreter maps it.

Everything is read with bounds checks: identifier, tables, vectors, buffers against tensor shapes,
operators against their arity and against the shapes that they imply. A damaged file gives an
ArtifactError that says what is wrong and where; nothing else is raised, and nothing is executed.
Layout: https://flatbuffers.dev/internals/ and tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from kexport.errors import ArtifactError
from kexport.formats.tflite.check import schema
from kexport.formats.tflite.check.quantized import Stored, Typed, check_quantized, read_stored
from kexport.formats.tflite.check.reader import Reader, Table
from kexport.formats.tflite.check.schema import BuiltinOperator, TensorType
from kexport.formats.tflite.check.shapes import BUILTINS, Facts, check_operator

IDENTIFIER = b"TFL3"
VERSION = 3
BUFFER_ALIGNMENT = 4  # kexport writes 16; the converter's own small buffers have 4
MAX_RANK = 8
ITEM_BYTES = {
    TensorType.FLOAT32: 4,
    TensorType.FLOAT16: 2,
    TensorType.INT32: 4,
    TensorType.UINT8: 1,
    TensorType.INT64: 8,
    TensorType.BOOL: 1,
    TensorType.INT16: 2,
    TensorType.INT8: 1,
    TensorType.FLOAT64: 8,
}
OPTIONAL = -1


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int
    constant: bool
    values: tuple[int, ...] | None  # of small int32 constants: axes, paddings, shapes
    stored: Stored | None


def verify_structure(path: Path) -> None:
    """Raise ArtifactError unless ``path`` is a whole, consistent TFLite file, as kexport's own writer makes it."""
    _read(path, _verify)


def verify_whole(path: Path) -> None:
    """Raise ArtifactError unless ``path`` is a TFLite file whose tables and buffers lie inside it.

    This is for files of other engines, whose tensors and operators may be whatever TFLite allows.
    """
    _read(path, _verify_whole)


def _read(path: Path, check: Callable[[Reader], object]) -> None:
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 16:
                raise ArtifactError(f"{path.stat().st_size} bytes, a TFLite file has at least 16")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check(Reader(data))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error}", hint="kexport export --force ...") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: not a sound TFLite file: {error.message}", hint=_HINT) from error


_HINT = "kexport export --force ... writes it again"


def _verify(reader: Reader) -> None:
    model = _model(reader)
    codes = [_code(table) for table in model.tables(schema.Model.OPERATOR_CODES, "operator_codes")]
    buffers = [_buffer(reader, table) for table in model.tables(schema.Model.BUFFERS, "buffers")]
    _require(bool(buffers) and buffers[0][1] == 0, "buffer 0 must exist and be empty")
    _disjoint(buffers)
    subgraphs = model.tables(schema.Model.SUBGRAPHS, "subgraphs")
    _require(len(subgraphs) >= 1, "no subgraph")
    tensors = [_subgraph(reader, subgraph, codes, buffers) for subgraph in subgraphs]
    for entry in model.tables(schema.Model.METADATA, "metadata"):
        name, index = entry.text(schema.Metadata.NAME, "name"), entry.number(schema.Metadata.BUFFER, "I", 0)
        _require(index < len(buffers), f"metadata {name!r}: buffer {index}, there are {len(buffers)}")
    for signature in model.tables(schema.Model.SIGNATURE_DEFS, "signature_defs"):
        index = signature.number(schema.SignatureDef.SUBGRAPH_INDEX, "I", 0)
        _require(index < len(tensors), f"signature of subgraph {index}, there are {len(tensors)}")
        _signature(signature, subgraphs[index])


def _verify_whole(reader: Reader) -> None:
    model = _model(reader)
    codes = model.tables(schema.Model.OPERATOR_CODES, "operator_codes")
    buffers = model.tables(schema.Model.BUFFERS, "buffers")
    for table in buffers:
        start, length = table.vector(schema.Buffer.DATA, 1, "data")
        _require(start + length <= reader.size, f"{table.where}: data ends behind the file")
    for subgraph in model.tables(schema.Model.SUBGRAPHS, "subgraphs"):
        tensors = subgraph.tables(schema.SubGraph.TENSORS, "tensors")
        for tensor in tensors:
            tensor.text(schema.Tensor.NAME, "name")
            tensor.numbers(schema.Tensor.SHAPE, "i", "shape")
            index = tensor.number(schema.Tensor.BUFFER, "I", 0)
            _require(index < len(buffers), f"{tensor.where}: buffer {index}, there are {len(buffers)}")
        for slot, label in ((schema.SubGraph.INPUTS, "inputs"), (schema.SubGraph.OUTPUTS, "outputs")):
            _indices(subgraph, slot, label, len(tensors))
        for operator in subgraph.tables(schema.SubGraph.OPERATORS, "operators"):
            index = operator.number(schema.Operator.OPCODE_INDEX, "I", 0)
            _require(index < len(codes), f"{operator.where}: operator code {index}, there are {len(codes)}")
            _indices(operator, schema.Operator.INPUTS, "inputs", len(tensors), optional=True)
            _indices(operator, schema.Operator.OUTPUTS, "outputs", len(tensors))


def _model(reader: Reader) -> Table:
    found = reader.raw(4, 4)
    _require(found == IDENTIFIER, f"identifier {found!r}, expected {IDENTIFIER!r}")
    model = reader.table(reader.number("I", 0), "model")
    version = model.number(schema.Model.VERSION, "I", 0)
    _require(version == VERSION, f"schema version {version}, expected {VERSION}")
    return model


def _code(table: Table) -> tuple[int, int]:
    slots = schema.OperatorCode
    code = max(table.number(slots.DEPRECATED_BUILTIN_CODE, "b", 0), table.number(slots.BUILTIN_CODE, "i", 0))
    version = table.number(slots.VERSION, "i", 1)
    _require(0 <= code <= 255, f"{table.where}: built-in operator {code} does not exist")
    _require(1 <= version <= 32, f"{table.where}: operator version {version} does not exist")
    return code, version


def _buffer(reader: Reader, table: Table) -> tuple[int, int]:
    """Start and length of the bytes."""
    outside = table.number(schema.Buffer.OFFSET, "Q", 0), table.number(schema.Buffer.SIZE, "Q", 0)
    _require(outside == (0, 0), f"{table.where}: points outside the flatbuffer: {outside}")
    start, length = table.vector(schema.Buffer.DATA, 1, "data")
    _require(
        length == 0 or start % BUFFER_ALIGNMENT == 0,
        f"{table.where}: data at {start}, not aligned to {BUFFER_ALIGNMENT}",
    )
    _require(start + length <= reader.size, f"{table.where}: data ends behind the file")
    return start, length


def _disjoint(buffers: list[tuple[int, int]]) -> None:
    end = 0
    for start, length in sorted(buffer for buffer in buffers if buffer[1]):
        _require(start >= end, f"two buffers share the bytes at {start}")
        end = start + length


def _subgraph(
    reader: Reader, table: Table, codes: list[tuple[int, int]], buffers: list[tuple[int, int]]
) -> list[_Tensor]:
    tensors = [_tensor(reader, each, buffers) for each in table.tables(schema.SubGraph.TENSORS, "tensors")]
    inputs = _indices(table, schema.SubGraph.INPUTS, "inputs", len(tensors))
    outputs = _indices(table, schema.SubGraph.OUTPUTS, "outputs", len(tensors))
    _require(bool(outputs), f"{table.where}: no output")
    known = set(inputs) | {index for index, tensor in enumerate(tensors) if tensor.constant}
    for operator in table.tables(schema.SubGraph.OPERATORS, "operators"):
        known |= _operator(operator, codes, tensors, known)
    for index in outputs:
        _require(index in known, f"output tensor {tensors[index].name!r} is never computed")
    return tensors


def _tensor(reader: Reader, table: Table, buffers: list[tuple[int, int]]) -> _Tensor:
    slots = schema.Tensor
    name = table.text(slots.NAME, "name")
    shape = tuple(table.numbers(slots.SHAPE, "i", "shape"))
    kind, buffer = table.number(slots.TYPE, "b", 0), table.number(slots.BUFFER, "I", 0)
    _require(kind in ITEM_BYTES, f"tensor {name!r}: type {kind} is not one that kexport or the converter writes")
    _require(buffer < len(buffers), f"tensor {name!r}: buffer {buffer}, there are {len(buffers)}")
    _require(
        len(shape) <= MAX_RANK and min(shape, default=1) >= 1, f"tensor {name!r}: shape {shape} is not a static shape"
    )
    _require(table.number(slots.EXTERNAL_BUFFER, "I", 0) == 0, f"tensor {name!r}: external buffer")
    start, length = buffers[buffer]
    wanted = prod(shape) * ITEM_BYTES[TensorType(kind)]
    _require(length in (0, wanted), f"tensor {name!r}: shape {shape} wants {wanted} bytes, its buffer has {length}")
    small = kind == TensorType.INT32 and 0 < length <= 64
    values = tuple(reader.number("i", start + 4 * item) for item in range(length // 4)) if small else None
    stored = read_stored(table, name=name, kind=kind, shape=shape)
    return _Tensor(name=name, shape=shape, kind=kind, constant=length > 0, values=values, stored=stored)


def _operator(table: Table, codes: list[tuple[int, int]], tensors: list[_Tensor], known: set[int]) -> set[int]:
    """Check one operator; the tensors that it computes."""
    opcode = table.number(schema.Operator.OPCODE_INDEX, "I", 0)
    _require(opcode < len(codes), f"{table.where}: operator code {opcode}, there are {len(codes)}")
    inputs = _indices(table, schema.Operator.INPUTS, "inputs", len(tensors), optional=True)
    outputs = _indices(table, schema.Operator.OUTPUTS, "outputs", len(tensors))
    for index in inputs:
        _require(
            index == OPTIONAL or index in known,
            f"{table.where} reads tensor {tensors[index].name!r}, which nothing before it computes",
        )
    _require(bool(outputs), f"{table.where}: no output")
    for index in outputs:
        _require(index not in known, f"{table.where} computes tensor {tensors[index].name!r} again")
    if codes[opcode][0] in BUILTINS:
        code = BuiltinOperator(codes[opcode][0])
        if inputs and inputs[-1] == OPTIONAL and code is BuiltinOperator.FULLY_CONNECTED:
            inputs = inputs[:-1]  # a dense layer without bias, as TFLiteConverter writes it
        _require(OPTIONAL not in inputs, f"{table.where}: an input is missing")
        facts = [Facts(tensors[index].shape, tensors[index].kind, tensors[index].values) for index in inputs]
        results = [Facts(tensors[index].shape, tensors[index].kind, None) for index in outputs]
        check_operator(code, table, facts, results)
        typed = [_typed(tensors[index]) for index in (*inputs, *outputs)]
        check_quantized(code, f"{code.name} ({table.where})", typed[:-1], typed[-1])
    return set(outputs)


def _typed(tensor: _Tensor) -> Typed:
    return Typed(kind=tensor.kind, stored=tensor.stored)


def _signature(table: Table, subgraph: Table) -> None:
    slots, sides = schema.SignatureDef, schema.SubGraph
    for slot, side, label in ((slots.INPUTS, sides.INPUTS, "inputs"), (slots.OUTPUTS, sides.OUTPUTS, "outputs")):
        tensors = set(subgraph.numbers(side, "i", label))
        names = []
        for entry in table.tables(slot, label):
            names.append(entry.text(schema.TensorMap.NAME, "name"))
            index = entry.number(schema.TensorMap.TENSOR_INDEX, "I", 0)
            _require(index in tensors, f"{entry.where}: {names[-1]!r} shows tensor {index}, not one of the {label}")
        _require(len(set(names)) == len(names), f"{table.where}: two {label} have one name")
    _require(bool(table.text(slots.SIGNATURE_KEY, "key")), f"{table.where}: no key")


def _indices(table: Table, slot: int, label: str, count: int, *, optional: bool = False) -> list[int]:
    values = table.numbers(slot, "i", label)
    lowest = OPTIONAL if optional else 0
    for value in values:
        _require(lowest <= value < count, f"{table.where}: {label} name tensor {value}, there are {count}")
    return values


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ArtifactError(message)
