"""kexport's own engine for TFLite: graphs through `writer`, quantization plans through `quantized`."""

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
    from kexport.formats.tflite import writer

    half = cell.float16_biases
    return writer.write(
        graph, path, batch=cell.rows, scheme=cell.scheme, metadata=_bytes(metadata), float16_biases=half
    )


def write_plan(plan: QuantPlan, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """A quantized file; ``cell.io`` is the type of inputs and outputs."""
    from kexport.formats.tflite.quantized import writer

    return writer.write(
        plan,
        path,
        batch=cell.rows,
        metadata=_bytes(metadata),
        io=cell.io,
        arithmetic="dynamic" if cell.scheme is Scheme.DYNAMIC else "float32",
        activations="int16" if cell.scheme is Scheme.INT16X8 else "int8",
    )


def refuses(graph: Graph) -> str:
    """Why TFLite's own writer cannot write the graph; empty where nothing of it is known to be too much."""
    from kexport.formats.tflite.operators.recurrent import too_long

    return next(too_long(graph), "")


def refuses_in(graph: Graph, scheme: Scheme) -> str:
    """Why an optimized graph cannot be in the scheme, as the writer would find out from its plan; empty if it can."""
    if scheme is not Scheme.INT16X8:
        return ""
    from kexport.formats.tflite.quantized.int16 import unclipped
    from kexport.quantization.prepare import rewrites

    return unclipped(rewrites.rewrite(graph))


def _bytes(metadata: Mapping[str, str]) -> dict[str, bytes]:
    return {name: value.encode() for name, value in metadata.items()}


ENGINE = Engine(
    name=Engine.NATIVE,
    schemes=(Scheme.FLOAT32, Scheme.FLOAT16, Scheme.DYNAMIC, Scheme.INT8, Scheme.INT16X8),
    write=write,
    write_plan=write_plan,
    refuses=refuses,
    refuses_in=refuses_in,
)
