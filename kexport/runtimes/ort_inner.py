"""Inner values of an ONNX file in ONNX Runtime: they become outputs of a copy, a few at a time.

The copy is the file's own bytes and a few more: a protobuf message that is appended to another one is merged with it,
so that no weight is read here (Protocol Buffers, encoding, "Last One Wins": repeated fields are joined).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kexport import runtimes
from kexport.runtimes import SessionOptions, Tensor
from kexport.runtimes.inner import Inner, chosen, filled
from kexport.runtimes.ort import OrtSession

PASS_BYTES = 64 * 2**20
_FLOAT_BYTES = 4
Affine = tuple[Any, Any]


def values(
    path: Path, inputs: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], *, threads: int
) -> Iterator[Inner]:
    """The values, in the order of the file; `PASS_BYTES` of them at a time."""
    names, affines = _names(path)
    wanted = {tensor: layer for tensor, layer in chosen(names, shapes).items() if tensor in names}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        size = path.stat().st_size
        shutil.copyfile(path, copy)
        for part in _parts(wanted, shapes):
            with copy.open("r+b") as file:
                file.truncate(size)
                file.seek(size)
                file.write(outputs(part))
            session = runtimes.open_session(OrtSession, copy, options=SessionOptions(threads=threads))
            found = session.run(filled(session, inputs))
            del session
            for tensor in part:
                yield _inner(tensor, wanted[tensor], found[tensor], affines.get(tensor))


def _names(path: Path) -> tuple[list[str], dict[str, Affine]]:
    """Every inner value in order, and scale and zero point of those that a QuantizeLinear makes."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    public = {value.name for value in graph.output}
    small = {each.name: each for each in graph.initializer if prod(each.dims) <= 1}
    affines = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and all(name in small for name in node.input[1:]):
            scale, *zero = (numpy_helper.to_array(small[name]) for name in node.input[1:])
            affines[node.output[0]] = (scale, zero[0] if zero else np.uint8(0))
    return [name for node in graph.node for name in node.output if name and name not in public], affines


def _parts(wanted: Mapping[str, str], shapes: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for tensor, layer in wanted.items():
        more = _FLOAT_BYTES * prod(shapes[layer])
        if part and size + more > PASS_BYTES:
            yield part
            part, size = [], 0
        part.append(tensor)
        size += more
    if part:
        yield part


def outputs(names: Sequence[str]) -> bytes:
    """A model that has nothing but these outputs."""
    import onnx

    model = onnx.ModelProto()
    for name in names:
        model.graph.output.add().name = name
    content: bytes = model.SerializeToString()
    return content


def _inner(name: str, layer: str, value: Tensor, affine: Affine | None) -> Inner:
    if affine is None:
        return Inner(name=name, layer=layer, value=value[:1].astype(np.float32))
    scale, zero = affine
    real = (value[:1].astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return Inner(name=name, layer=layer, value=real, affine=(float(scale), int(zero)))
