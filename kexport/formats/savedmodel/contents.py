"""What a SavedModel folder says of itself: its serving signature, read from the protocol buffer without TensorFlow.

Field numbers are those of ``saved_model.proto``, ``meta_graph.proto`` and ``tensor_shape.proto``; loading a SavedModel
runs operators of its graph, reading it here runs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kexport import files
from kexport.errors import ArtifactError
from kexport.records import Signature
from kexport.records.contents import Contents, Weight

MAX_BYTES = 2**31 - 1
_META_GRAPHS, _GRAPH, _SIGNATURES = 2, 2, 5
_NODE, _OPERATION, _LIBRARY, _FUNCTION, _FUNCTION_NODES = 1, 2, 2, 1, 3
_INPUTS, _OUTPUTS = 1, 2
_SERVING = "serving_default"
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip


def read(path: Path) -> Contents:
    """The signature, the operations and the sizes of the files of a folder. Raises ArtifactError for what is none."""
    try:
        content = files.read(path / "saved_model.pb", limit_bytes=MAX_BYTES)
        graphs = [value for number, value in fields(content) if number == _META_GRAPHS]
        signature = _serving(graphs)
        operations = Counter(name for graph in graphs for name in _operations(graph))
    except OSError as error:
        raise ArtifactError(
            f"{path}: saved_model.pb cannot be read: {error.strerror}", hint="kexport verify DIR"
        ) from error
    except (IndexError, ValueError) as error:
        raise ArtifactError(
            f"{path}: saved_model.pb is not a SavedModel: {error}", hint="kexport verify DIR"
        ) from error
    return Contents(
        producer="",
        inputs=tuple(_signatures(signature, _INPUTS)),
        outputs=tuple(_signatures(signature, _OUTPUTS)),
        operations=dict(sorted(operations.items())),
        weights=tuple(
            Weight(name=name, layer=name, dtype="", shape=(), size_bytes=each.stat().st_size)
            for each in files.files_of(path)
            if (name := files.relative(each, path))
        ),
        notes=("weights are told by file: the layers of a SavedModel are known to TensorFlow alone",),
    )


def fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of every field that has a length; other fields are passed over. ValueError where damaged."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == 2:
            length, place = _varint(content, place)
            if place + length > len(content):
                raise ValueError("it ends before its fields do")
            yield number, content[place : place + length]
            place += length
        elif wire == 0:
            value, place = _varint(content, place)
            yield number, str(value).encode()
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
    raise ValueError("a number without end")


def first(content: bytes, number: int) -> bytes:
    """The first value of that field; nothing where there is none."""
    return next((value for found, value in fields(content) if found == number), b"")


def _serving(graphs: list[bytes]) -> bytes:
    entries = [value for graph in graphs for number, value in fields(graph) if number == _SIGNATURES]
    named = {first(entry, 1).decode(): first(entry, 2) for entry in entries}
    return named.get(_SERVING, next((value for name, value in named.items() if not name.startswith("__")), b""))


def _signatures(signature: bytes, side: int) -> Iterator[Signature]:
    for entry in (value for number, value in fields(signature) if number == side):
        info = first(entry, 2)
        dtype = int(first(info, 2) or b"0")
        axes = [int(first(axis, 1) or b"0") for number, axis in fields(first(info, 3)) if number == 2]
        shape = tuple(None if size >= 2**63 else size for size in axes)  # -1 as an unsigned number
        yield Signature(name=first(entry, 1).decode(), shape=shape, dtype=_DTYPES.get(dtype, f"type {dtype}"))


def _operations(graph: bytes) -> Iterator[str]:
    definition = first(graph, _GRAPH)
    nodes = [value for number, value in fields(definition) if number == _NODE]
    functions = [value for number, value in fields(first(definition, _LIBRARY)) if number == _FUNCTION]
    nodes += [value for function in functions for number, value in fields(function) if number == _FUNCTION_NODES]
    return (first(node, _OPERATION).decode() for node in nodes)
