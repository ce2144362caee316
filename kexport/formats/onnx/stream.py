"""Writes an ONNX file tensor by tensor, so that no second copy of the weights piles up in memory.

An ONNX file is one protobuf message (onnx/onnx.proto: `ModelProto`, with the graph in field 7, whose
initializers are field 5, whose bytes are field 9). Serialising it in one piece needs two to three
copies of all weights. Here the small parts are serialised by protobuf and the tensors' bytes are
written behind them one at a time; protobuf allows fields in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError

PROTOBUF_LIMIT = 2**31 - 1
_GRAPH_FIELD, _INITIALIZER_FIELD, _RAW_DATA_FIELD = 7, 5, 9
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """A named constant whose contiguous array is made only while it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], npt.NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """Number of bytes of the raw data."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write_model(model: Any, initializers: Sequence[Initializer], path: Path) -> None:
    """Write ``model`` (an `onnx.ModelProto` without initializers) with ``initializers`` to ``path``.

    Raises UnsupportedError above protobuf's limit of 2 GB for one file; nothing is written then.
    """
    parts = _parts(model, initializers)
    first = next(parts)
    with path.open("wb") as file:
        file.write(first)
        file.writelines(parts)


def model_bytes(model: Any, initializers: Sequence[Initializer]) -> bytes:
    """The file that `write_model` would write, in memory."""
    buffer = BytesIO()
    buffer.writelines(_parts(model, initializers))
    return buffer.getvalue()


def _parts(model: Any, initializers: Sequence[Initializer]) -> Iterator[bytes | memoryview]:
    graph = model.graph.SerializeToString(deterministic=True)
    heads = [_tensor_head(item) for item in initializers]
    sizes = [len(head) + item.size_bytes for head, item in zip(heads, initializers, strict=True)]
    length = len(graph) + sum(len(_tag(_INITIALIZER_FIELD)) + len(_varint(size)) + size for size in sizes)
    if length > PROTOBUF_LIMIT:
        raise UnsupportedError(
            f"the ONNX file would have {length / 1e9:.2f} GB; one protobuf file holds at most 2.14 GB",
            hint="--schemes float16 halves it",
        )
    model.ClearField("graph")
    yield model.SerializeToString(deterministic=True)
    yield _tag(_GRAPH_FIELD) + _varint(length) + graph
    for head, size, item in zip(heads, sizes, initializers, strict=True):
        yield _tag(_INITIALIZER_FIELD) + _varint(size) + head
        yield _contiguous(item).data


def _contiguous(item: Initializer) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(item.make(), dtype=item.dtype).reshape(-1)
    assert array.nbytes == item.size_bytes, f"{item.name}: {array.nbytes} bytes, {item.size_bytes} stated"
    return array


def _tensor_head(item: Initializer) -> bytes:
    from onnx import TensorProto, helper

    data_type = helper.np_dtype_to_tensor_dtype(np.dtype(item.dtype))
    head = TensorProto(name=item.name, dims=item.shape, data_type=data_type)
    return bytes(head.SerializeToString(deterministic=True)) + _tag(_RAW_DATA_FIELD) + _varint(item.size_bytes)


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    return bytes(_varint_bytes(number))


def _varint_bytes(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
