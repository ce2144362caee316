"""A graph on disk: ``graph.json`` beside ``weights.bin``, read back through a memory map.

The process that holds Keras writes it once per model; the processes that make artifacts share its pages.
Weights are raw little-endian float32, each aligned to 64 bytes. Only the same version reads it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from kexport import operations
from kexport.documents import decode_as
from kexport.errors import GraphError
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Operation

VERSION = 1
ALIGNMENT = 64


def save(graph: Graph, folder: Path) -> None:
    """Write ``graph`` into an existing folder."""
    with (folder / "weights.bin").open("wb") as file:
        nodes = [_encode_node(node, file) for node in graph]
    document = {
        "version": VERSION,
        "name": graph.name,
        "inputs": [{"name": spec.name, "shape": spec.shape, "dtype": spec.dtype} for spec in graph.inputs],
        "nodes": nodes,
        "outputs": dict(graph.outputs),
        "output_dtypes": dict(graph.output_dtypes),
    }
    (folder / "graph.json").write_text(json.dumps(document))


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A node as the file has it: the name of its operation's class, and the values of its fields."""

    name: str
    operation: str
    fields: dict[str, Any]
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    layers: tuple[str, ...]
    copies: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """What ``graph.json`` holds."""

    version: int
    name: str
    inputs: tuple[TensorSpec, ...]
    nodes: tuple[_Entry, ...]
    outputs: dict[str, str]
    output_dtypes: dict[str, str]


def load(folder: Path) -> Graph:
    """Read a graph back; its weights are read-only views of the mapped file.

    StoreError where the file is damaged, GraphError where another version has written it.
    """
    text = folder / "graph.json"
    document: Document = decode_as(Document, text.read_bytes(), told=f"graph {text}")
    if document.version != VERSION:
        raise GraphError(f"{folder}: graph file version {document.version}, expected {VERSION}")
    path = folder / "weights.bin"
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    return Graph(
        name=document.name,
        inputs=document.inputs,
        nodes=tuple(_decode_node(entry, data) for entry in document.nodes),
        outputs=document.outputs,
        output_dtypes=document.output_dtypes,
    )


def _encode_node(node: Node, file: Any) -> dict[str, Any]:
    values = {field.name: getattr(node.operation, field.name) for field in fields(node.operation)}
    return {
        "name": node.name,
        "operation": type(node.operation).__name__,
        "fields": {name: _encode(value, file) for name, value in values.items()},
        "inputs": node.inputs,
        "shape": node.shape,
        "layers": node.layers,
        "copies": node.copies,
    }


def _encode(value: Any, file: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
    offset = file.tell()
    file.write(np.ascontiguousarray(value, dtype="<f4").data)
    return {"offset": offset, "shape": value.shape}


def _decode_node(entry: _Entry, data: npt.NDArray[np.uint8]) -> Node:
    kind = getattr(operations, entry.operation, None)
    if not (isinstance(kind, type) and issubclass(kind, Operation) and kind is not Operation):
        raise GraphError(f"node {entry.name!r} is a {entry.operation}, which is no operation of this kexport")
    enums = _enums(kind)
    values = {name: _decode(value, data, enums.get(name)) for name, value in entry.fields.items()}
    return Node(
        name=entry.name,
        operation=kind(**values),
        inputs=entry.inputs,
        shape=entry.shape,
        layers=entry.layers,
        copies=entry.copies,
    )


@cache
def _enums(kind: type[Operation]) -> Mapping[str, type[StrEnum]]:
    """The fields of an operation whose values are members of an enum (or None)."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        for option in (hint, *get_args(hint)):
            if isinstance(option, type) and issubclass(option, StrEnum):
                found[name] = option
    return found


def _decode(value: Any, data: npt.NDArray[np.uint8], enum: type[StrEnum] | None = None) -> Any:
    if isinstance(value, dict):
        shape = tuple(value["shape"])
        end = value["offset"] + 4 * int(np.prod(shape, dtype=np.int64))
        return data[value["offset"] : end].view("<f4").reshape(shape)
    if isinstance(value, list):
        return tuple(_decode(item, data) for item in value)
    return enum(value) if enum is not None and value is not None else value
