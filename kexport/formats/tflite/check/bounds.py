"""Whether everything in a TFLite file lies inside it, whoever has written it: what an interpreter does not look at.

Every table, vector and text is read with bounds checks, every index is compared with what it counts, and buffers that
lie behind the flatbuffer (``offset`` and ``size`` of 64 bits, whose sum an interpreter lets wrap around) must end in
the file. Rules that only kexport's own files keep are `structure`'s.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from kexport import files
from kexport.errors import ArtifactError
from kexport.formats.tflite.check.reader import DATA, Reader, Shared, Table

IDENTIFIER = b"TFL3"
VERSION = 3
MAX_TABLES = 2_000_000
_HINT = "kexport verify DIR"


def require_bounds(path: Path) -> None:
    """Raise ArtifactError unless everything that the file points at is in it."""
    try:
        with files.regular(path) as file:
            if path.stat().st_size < 16:
                raise ArtifactError(f"{path.stat().st_size} bytes, a TFLite file has at least 16")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _model(Reader(data, Shared(len(data))))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=_HINT) from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: not a sound TFLite file: {error.message}", hint=_HINT) from error


def _model(reader: Reader) -> None:
    found = reader.raw(4, 4)
    _require(found == IDENTIFIER, f"identifier {found!r}, expected {IDENTIFIER!r}")
    model = reader.table(reader.number("I", 0), "model")
    version = model.number(0, "I", 0)
    _require(version == VERSION, f"schema version {version}, expected {VERSION}")
    model.text(3, "description")
    codes, buffers = _tables(model, 1, "operator_codes"), _tables(model, 4, "buffers")
    for code in codes:
        code.text(1, "custom_code")
    for buffer in buffers:
        _buffer(reader, buffer)
    subgraphs = _tables(model, 2, "subgraphs")
    _require(bool(subgraphs), "no subgraph")
    tensors = [_subgraph(reader, subgraph, len(codes), len(buffers)) for subgraph in subgraphs]
    for entry in _tables(model, 6, "metadata"):
        entry.text(0, "name")
        _index(entry.number(1, "I", 0), len(buffers), "metadata: buffer")
    for signature in _tables(model, 7, "signature_defs"):
        graph = signature.number(4, "I", 0)
        _index(graph, len(subgraphs), "signature: subgraph")
        for slot, label in ((0, "inputs"), (1, "outputs")):
            for entry in _tables(signature, slot, label):
                entry.text(0, "name")
                _index(entry.number(1, "I", 0), tensors[graph], f"signature {label}: tensor")


def _tables(table: Table, slot: int, label: str) -> list[Table]:
    _, count = table.vector(slot, 4, label)
    _require(count <= MAX_TABLES, f"{count} {label}, expected at most {MAX_TABLES}")
    return table.tables(slot, label)


def _buffer(reader: Reader, buffer: Table) -> None:
    buffer.vector(0, 1, DATA)
    offset, size = buffer.number(1, "Q", 0), buffer.number(2, "Q", 0)
    _require(
        offset + size <= reader.size,
        f"{buffer.where}: {size} bytes at {offset} lie outside of the file's {reader.size}",
    )


def _subgraph(reader: Reader, subgraph: Table, codes: int, buffers: int) -> int:
    """Look at one subgraph; the number of its tensors."""
    subgraph.text(4, "name")
    tensors = _tables(subgraph, 0, "tensors")
    for tensor in tensors:
        _tensor(tensor, buffers)
    for slot, label in ((1, "inputs"), (2, "outputs")):
        for index in subgraph.numbers(slot, "i", label):
            _index(index, len(tensors), f"{subgraph.where}.{label}: tensor")
    for operator in _tables(subgraph, 3, "operators"):
        _operator(reader, operator, codes, len(tensors))
    return len(tensors)


def _tensor(tensor: Table, buffers: int) -> None:
    shape = tensor.numbers(0, "i", "shape")
    _require(all(axis >= 0 for axis in shape), f"{tensor.where}: shape {shape}")
    signature = tensor.numbers(7, "i", "shape_signature")
    _require(all(axis >= -1 for axis in signature), f"{tensor.where}: shape {signature}")
    _index(tensor.number(2, "I", 0), buffers, f"{tensor.where}: buffer")
    tensor.text(3, "name")
    scales = tensor.child(4, "quantization")
    if scales is not None:
        for slot, size in ((0, 4), (1, 4), (2, 4), (3, 8)):
            scales.vector(slot, size, "values")


def _operator(reader: Reader, operator: Table, codes: int, tensors: int) -> None:
    _index(operator.number(0, "I", 0), codes, f"{operator.where}: operator code")
    for slot, label in ((1, "inputs"), (2, "outputs"), (8, "intermediates")):
        for index in operator.numbers(slot, "i", label):
            if index != -1:  # an input that is left out
                _index(index, tensors, f"{operator.where}.{label}: tensor")
    operator.child(4, "builtin_options")
    operator.vector(5, 1, "custom_options")
    offset, size = operator.number(9, "Q", 0), operator.number(10, "Q", 0)
    _require(offset + size <= reader.size, f"{operator.where}: {size} bytes of options at {offset} lie outside")


def _index(index: int, count: int, what: str) -> None:
    _require(0 <= index < count, f"{what} {index}, there are {count}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ArtifactError(message)
