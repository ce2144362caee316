"""What a TFLite file says of itself, read with every offset checked."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from kexport import files
from kexport.errors import ArtifactError
from kexport.formats.tflite import standard_reader
from kexport.formats.tflite.check import schema
from kexport.formats.tflite.check.reader import DATA, Reader, Shared, Table
from kexport.formats.tflite.check.schema import BuiltinOperator
from kexport.formats.tflite.standard import ENTRY
from kexport.records import Signature
from kexport.records.contents import Contents, Weight

_LAST = {BuiltinOperator.SOFTMAX: "softmax", BuiltinOperator.LOGISTIC: "sigmoid"}
_MOVING = {
    BuiltinOperator.RESHAPE, BuiltinOperator.TRANSPOSE, BuiltinOperator.SQUEEZE, BuiltinOperator.EXPAND_DIMS,
    BuiltinOperator.DEQUANTIZE, BuiltinOperator.QUANTIZE, BuiltinOperator.CAST,
}  # fmt: skip
_DESCRIPTION = 3
_CUSTOM = 32
MOST_TEXT = 16 * 2**20
PER_CHANNEL = "DEQUANTIZE_PER_CHANNEL"
"""How a DEQUANTIZE of a constant with a scale for each channel is told: TFLite Micro reads the first scale for all."""


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    size_bytes: int
    stored: tuple[float, int] | None


@dataclass(frozen=True, kw_only=True)
class _Operator:
    code: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: Path) -> Contents:
    """The contents of a sound file: `kexport.formats.tflite.check.bounds` has looked at it before."""
    try:
        with files.regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _File(Reader(data, Shared(len(data)))).contents(path)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: not a sound TFLite file: {error.message}", hint="kexport verify DIR") from error


class _File:
    """The tables of one file; the first subgraph is the network."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.model = reader.table(reader.number("I", 0), "model")
        self.graph = self.model.tables(schema.Model.SUBGRAPHS, "subgraphs")[0]
        self.buffers = self.model.tables(schema.Model.BUFFERS, "buffers")

    def contents(self, path: Path) -> Contents:
        """All of it."""
        inputs, outputs = self._named("inputs"), self._named("outputs")
        text, others, entry = self._metadata()
        shown = tuple(self._signature(*item) for item in inputs.items())
        standard = standard_reader.read(entry, path, shown) if entry else standard_reader.Found()
        border = {name: stored for name, index in (inputs | outputs).items() if (stored := self.tensors[index].stored)}
        return Contents(
            producer=self.model.text(_DESCRIPTION, "description"),
            inputs=shown,
            outputs=tuple(self._signature(*item) for item in outputs.items()),
            operations=dict(sorted(Counter(each.name for each in self.operators).items())),
            weights=tuple(self._weights()),
            places=self._places(),
            ends={name: self._end(index) for name, index in outputs.items()},
            metadata=text,
            others=others,
            values=dict(sorted(Counter(self.tensors[value].dtype for value in self.makers).items())),
            stored=border,
            contract=standard.contract,
            labels=standard.labels,
            notes=standard.notes,
        )

    @cached_property
    def tensors(self) -> tuple[_Tensor, ...]:
        return tuple(self._tensor(table) for table in self._tables)

    @cached_property
    def _tables(self) -> list[Table]:
        return self.graph.tables(schema.SubGraph.TENSORS, "tensors")

    @cached_property
    def operators(self) -> tuple[_Operator, ...]:
        codes = self.model.tables(schema.Model.OPERATOR_CODES, "operator_codes")
        return tuple(_operator(table, codes) for table in self.graph.tables(schema.SubGraph.OPERATORS, "operators"))

    @cached_property
    def makers(self) -> Mapping[int, _Operator]:
        return {value: operator for operator in self.operators for value in operator.outputs}

    @cached_property
    def readers(self) -> Mapping[int, _Operator]:
        found: dict[int, _Operator] = {}
        for operator in self.operators:
            for value in operator.inputs:
                found.setdefault(value, operator)
        return found

    def _tensor(self, table: Table) -> _Tensor:
        shape = table.numbers(schema.Tensor.SHAPE, "i", "shape")
        open_shape = table.numbers(7, "i", "shape_signature") or shape
        scales = table.child(schema.Tensor.QUANTIZATION, "quantization")
        return _Tensor(
            name=table.text(schema.Tensor.NAME, "name"),
            shape=tuple(None if size < 0 else size for size in open_shape),
            dtype=type_name(table.number(schema.Tensor.TYPE, "b", 0)),
            size_bytes=self._buffer(table.number(schema.Tensor.BUFFER, "I", 0))[1],
            stored=None if scales is None else _stored(scales),
        )

    def _buffer(self, index: int) -> tuple[int, int]:
        """Where the bytes of a buffer begin, and how many they are."""
        table = self.buffers[index]
        outside = table.number(schema.Buffer.OFFSET, "Q", 0)
        if outside > 1:
            return outside, table.number(schema.Buffer.SIZE, "Q", 0)
        return table.vector(schema.Buffer.DATA, 1, DATA)

    def _named(self, kind: str) -> dict[str, int]:
        """Public names of inputs or outputs, in the file's order; their tensors' own where there is no signature."""
        slot = schema.SubGraph.INPUTS if kind == "inputs" else schema.SubGraph.OUTPUTS
        order = self.graph.numbers(slot, "i", kind)
        signature = self._serving()
        if signature is None:
            return {self.tensors[index].name: index for index in order}
        where = schema.SignatureDef.INPUTS if kind == "inputs" else schema.SignatureDef.OUTPUTS
        found = {
            entry.text(schema.TensorMap.NAME, "name"): entry.number(schema.TensorMap.TENSOR_INDEX, "I", 0)
            for entry in signature.tables(where, kind)
        }
        return dict(sorted(found.items(), key=lambda item: order.index(item[1]) if item[1] in order else len(order)))

    def _serving(self) -> Table | None:
        """The signature called ``serving_default``, else the first of the first subgraph."""
        tables = self.model.tables(schema.Model.SIGNATURE_DEFS, "signature_defs")
        own = [table for table in tables if table.number(schema.SignatureDef.SUBGRAPH_INDEX, "I", 0) == 0]
        own.sort(key=lambda table: table.text(schema.SignatureDef.SIGNATURE_KEY, "signature_key") != "serving_default")
        return own[0] if own else None

    def _signature(self, name: str, index: int) -> Signature:
        tensor = self.tensors[index]
        return Signature(name=name, shape=tensor.shape, dtype=tensor.dtype)

    def _weights(self) -> Iterator[Weight]:
        counted: set[int] = set()
        layers: dict[int, int] = {}
        for index, (tensor, table) in enumerate(zip(self.tensors, self._tables, strict=True)):
            buffer = table.number(schema.Tensor.BUFFER, "I", 0)
            if tensor.size_bytes and buffer not in counted:  # equal constants share a buffer
                counted.add(buffer)
                shape = tuple(size or 0 for size in tensor.shape)
                yield Weight(
                    name=tensor.name, layer=self._layer(index, layers), dtype=tensor.dtype, shape=shape,
                    size_bytes=tensor.size_bytes,
                )  # fmt: skip

    def _layer(self, index: int, layers: dict[int, int]) -> str:
        """What the first operator makes that does more with the constant than converting or moving it.

        ``layers`` keeps what was found of each value on the way: constants that share one do not each go all of it.
        """
        way: list[int] = []
        while index not in layers:
            layers[index] = index  # ends a circle
            way.append(index)
            operator = self.readers.get(index)
            if operator is None or not operator.outputs:
                break
            index = operator.outputs[0]
            if operator.code not in _MOVING:
                break
        else:
            index = layers[index]
        layers.update(dict.fromkeys(way, index))
        return self.tensors[index].name

    def _end(self, index: int) -> str:
        seen: set[int] = set()
        while (operator := self.makers.get(index)) is not None and operator.code in _MOVING and index not in seen:
            seen.add(index)
            if not operator.inputs:
                break
            index = operator.inputs[0]
        return "" if operator is None else _LAST.get(BuiltinOperator(operator.code), "") if _is_known(operator) else ""

    def _places(self) -> dict[str, str]:
        """What the first of each operator makes; one that unpacks constants of several scales is told apart."""
        found: dict[str, str] = {}
        scales = [table.child(schema.Tensor.QUANTIZATION, "quantization") for table in self._tables]
        for each in self.operators:
            stored = scales[each.inputs[0]] if each.inputs else None
            several = stored is not None and len(stored.reals(schema.QuantizationParameters.SCALE, "scale")) > 1
            unpacks = each.code == BuiltinOperator.DEQUANTIZE and several
            if each.outputs:  # one that stores a variable makes nothing
                found.setdefault(PER_CHANNEL if unpacks else each.name, self.tensors[each.outputs[0]].name)
        return found

    def _metadata(self) -> tuple[dict[str, str], dict[str, int], bytes]:
        """The entries that are text, the sizes of the others, and the bytes of the standard's."""
        standard = b""
        text: dict[str, str] = {}
        others: dict[str, int] = {}
        for entry in self.model.tables(schema.Model.METADATA, "metadata"):
            name = entry.text(schema.Metadata.NAME, "name")
            start, length = self._buffer(entry.number(schema.Metadata.BUFFER, "I", 0))
            content = self.reader.raw(start, length) if length <= MOST_TEXT else b""
            standard = content if name == ENTRY else standard
            found = _as_text(content) if length <= MOST_TEXT and name != ENTRY else None
            if found is None:
                others[name] = length
            else:
                text[name] = found
        return text, others, standard


def _is_known(operator: _Operator) -> bool:
    return operator.code in set(BuiltinOperator)


def _as_text(content: bytes) -> str | None:
    """Text, padded with zeros as some writers do; None for bytes that are none."""
    try:
        text = content.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in text) else text


def _stored(scales: Table) -> tuple[float, int] | None:
    found = scales.reals(schema.QuantizationParameters.SCALE, "scale")
    zero_points = scales.numbers(schema.QuantizationParameters.ZERO_POINT, "q", "zero_point")
    return (float(np.float32(found[0])), zero_points[0] if zero_points else 0) if found else None


def _operator(table: Table, codes: list[Table]) -> _Operator:
    code = codes[table.number(schema.Operator.OPCODE_INDEX, "I", 0)]
    slots = schema.OperatorCode
    number = max(code.number(slots.DEPRECATED_BUILTIN_CODE, "b", 0), code.number(slots.BUILTIN_CODE, "i", 0))
    name = f"custom:{code.text(1, 'custom_code')}" if number == _CUSTOM else operator_name(number)
    inputs = tuple(index for index in table.numbers(schema.Operator.INPUTS, "i", "inputs") if index >= 0)
    outputs = tuple(index for index in table.numbers(schema.Operator.OUTPUTS, "i", "outputs") if index >= 0)
    return _Operator(code=number, name=name, inputs=inputs, outputs=outputs)


def operator_name(number: int) -> str:
    """The name of a built-in operator."""
    return _known("BuiltinOperator").get(number, f"operator {number}")


def type_name(number: int) -> str:
    """The name of a tensor's type."""
    return _known("TensorType").get(number, f"type {number}").lower()


@cache
def _known(kind: str) -> Mapping[int, str]:
    """Names by number, of the schema of the installed package."""
    from ai_edge_litert import schema_py_generated as generated

    return {value: name for name, value in vars(getattr(generated, kind)).items() if isinstance(value, int)}
