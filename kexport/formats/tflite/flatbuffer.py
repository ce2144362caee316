"""A `Program` as a TFLite flatbuffer: the tables are built in memory, the constants are streamed behind them.

The schema's generated builder would hold every weight at least twice. Here each Buffer table is built
with an empty ``data`` vector; then the table's offset is pointed at the tail of the file, where the
vector ``[uint32 length][bytes]`` is written, one tensor at a time, its bytes aligned to 16. Offsets of
flatbuffers are relative and point forward, so the result is an ordinary file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.check.reader import Reader
from kexport.formats.tflite.check.schema import Buffer, Model
from kexport.formats.tflite.program import Array, Constant, Instruction, Program, Quantization, Tensor
from kexport.formats.tflite.standard import archive
from kexport.version import __version__

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
LIMIT_BYTES = 2**31 - 1  # the runtime maps offsets to signed 32-bit numbers
SIGNATURE_KEY = "serving_default"
DTYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int32": "INT32",
    "uint8": "UINT8",
    "int8": "INT8",
    "bool": "BOOL",
    "int16": "INT16",
    "int64": "INT64",
    "float64": "FLOAT64",
}


def stream(program: Program, file: BinaryIO) -> int:
    """Write the whole file and return its size in bytes. Peak memory: the tables and one constant.

    Raises UnsupportedError, before anything is written, if the file would pass 2 GB.
    """
    tables, buffers = bytearray(_tables(program)), program.buffers()
    starts, total = _layout(len(tables), buffers)
    if total > LIMIT_BYTES:
        raise UnsupportedError(
            f"{program.name}: the TFLite file would have {total} bytes, the format ends at {LIMIT_BYTES}",
            hint="--schemes float16, or --formats savedmodel",
        )
    for field, start in zip(_data_fields(tables), starts, strict=True):
        struct.pack_into("<I", tables, field, start - 4 - field)
    file.write(tables)
    position = len(tables)
    for constant, start in zip(buffers, starts, strict=True):
        file.write(bytes(start - 4 - position))
        file.write(struct.pack("<I", constant.size_bytes))
        file.write(constant.materialise().data)
        position = start + constant.size_bytes
    file.write(bytes(total - position))
    behind = archive(program.files, start=total) if program.files else b""
    file.write(behind)
    return total + len(behind)


def _layout(start: int, constants: Sequence[Constant]) -> tuple[list[int], int]:
    """Where each constant's bytes begin, and the size of the file."""
    starts, position = [], start
    for constant in constants:
        position = _aligned(position + 4)
        starts.append(position)
        position += constant.size_bytes
    return starts, _aligned(position)


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _data_fields(tables: bytearray) -> Iterator[int]:
    """Positions of the ``data`` offsets of the Buffer tables, without buffer 0, which stays empty."""
    reader = Reader(tables)
    model = reader.table(reader.number("I", 0), "model")
    for table in model.tables(Model.BUFFERS, "buffers")[1:]:
        place = table.field(Buffer.DATA, 4)
        assert place is not None  # every constant's table was built with a vector
        yield place


def _tables(program: Program) -> bytes:
    """The flatbuffer of everything but the constants' bytes."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = f"kexport {__version__}"
    codes = sorted({(each.builtin, each.version) for each in program.instructions})
    model.operatorCodes = [_code(schema, *code) for code in codes]
    model.buffers = [schema.BufferT(), *(_empty(schema) for _ in program.buffers())]
    model.metadata = [_metadata(schema, *item) for item in enumerate(program.metadata, 1 + len(program.constants))]
    model.subgraphs = [_subgraph(schema, program, codes, _SharedVectors())]
    model.signatureDefs = [_signature(schema, program)]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _empty(schema: Any) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.empty(0, np.uint8)
    return buffer


def _metadata(schema: Any, buffer: int, name: str) -> Any:
    entry = schema.MetadataT()
    entry.name = name
    entry.buffer = buffer
    return entry


def _code(schema: Any, builtin: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, builtin)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # PLACEHOLDER_FOR_GREATER_OP_CODES
    code.version = version
    return code


def _subgraph(schema: Any, program: Program, codes: list[tuple[str, int]], vectors: _SharedVectors) -> Any:
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(schema, tensor, vectors) for tensor in program.tensors]
    graph.inputs = list(dict.fromkeys(program.inputs.values()))
    graph.outputs = list(dict.fromkeys(program.outputs.values()))
    graph.operators = [_operator(schema, each, codes) for each in program.instructions]
    return graph


def _tensor(schema: Any, tensor: Tensor, vectors: _SharedVectors) -> Any:
    table = schema.TensorT()
    table.name = tensor.name
    table.shape = list(tensor.shape)
    table.type = getattr(schema.TensorType, DTYPES[tensor.dtype])
    table.buffer = tensor.buffer
    table.hasRank = True
    if tensor.quantization is not None:
        table.quantization = _QuantizationTable(schema=schema, quantization=tensor.quantization, vectors=vectors)
    return table


class _SharedVectors:
    """Vectors of one flatbuffer by content: equal ones are stored once, which the format allows."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def place(self, builder: Any, numbers: Array) -> int:
        key = numbers.dtype.str.encode() + numbers.tobytes()
        if key not in self._places:
            self._places[key] = builder.CreateNumpyVector(numbers)
        return self._places[key]


@dataclass(frozen=True, kw_only=True)
class _QuantizationTable:
    """A table QuantizationParameters in place of the schema's own class, which would store each vector again.

    A zero point for each of thousands of channels, eight bytes of zeros, would cost a network of small kernels
    several hundredths of its float file.
    """

    schema: Any
    quantization: Quantization
    vectors: _SharedVectors

    def Pack(self, builder: Any) -> int:  # noqa: N802 - called by the schema's class Tensor
        scales = np.array(self.quantization.scales, "<f4")
        zero_points = np.full(len(scales), self.quantization.zero_point, "<i8")
        places = self.vectors.place(builder, scales), self.vectors.place(builder, zero_points)
        self.schema.QuantizationParametersStart(builder)
        self.schema.QuantizationParametersAddScale(builder, places[0])
        self.schema.QuantizationParametersAddZeroPoint(builder, places[1])
        self.schema.QuantizationParametersAddQuantizedDimension(builder, self.quantization.axis)
        return int(self.schema.QuantizationParametersEnd(builder))


def _operator(schema: Any, instruction: Instruction, codes: list[tuple[str, int]]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.index((instruction.builtin, instruction.version))
    operator.inputs = list(instruction.inputs)
    operator.outputs = [instruction.output, *instruction.more]
    if instruction.options_kind:
        options = getattr(schema, f"{instruction.options_kind}T")()
        for name, value in instruction.options.items():
            if not hasattr(options, name):
                raise AttributeError(f"{instruction.options_kind} of the TFLite schema has no field {name!r}")
            setattr(options, name, value)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, instruction.options_kind)
        operator.builtinOptions = options
    return operator


def _signature(schema: Any, program: Program) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE_KEY
    signature.inputs = [_map(schema, *item) for item in program.inputs.items()]
    signature.outputs = [_map(schema, *item) for item in program.outputs.items()]
    return signature


def _map(schema: Any, name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = tensor
    return entry
