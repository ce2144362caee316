"""kexport's own engine for ONNX: graphs through `writer`, quantization plans through `qdq`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kexport.records import WrittenFile
from kexport.registry import Engine, Scheme

if TYPE_CHECKING:
    from kexport.graph import Graph
    from kexport.quantization.plan import QuantPlan
    from kexport.specs import Cell


def write(graph: Graph, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """A float file."""
    from kexport.formats.onnx import writer

    return writer.write(graph, path, opset=cell.opset, batch=cell.batch, scheme=cell.scheme, metadata=metadata)


def write_plan(plan: QuantPlan, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """A quantized file, with float32 inputs and outputs."""
    from kexport.formats.onnx.qdq import writer

    return writer.write(plan, path, opset=cell.opset, batch=cell.batch, metadata=metadata)


ENGINE = Engine(
    name=Engine.NATIVE,
    schemes=(Scheme.FLOAT32, Scheme.FLOAT16, Scheme.DYNAMIC, Scheme.INT8),
    write=write,
    write_plan=write_plan,
)
