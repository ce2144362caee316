"""Step: one artifact file, by the engine that the cell asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats import WrittenFile
from kexport.graph import Graph
from kexport.quantization.plan import QuantPlan
from kexport.specs import QUANTIZED, SERVING_BATCH, Cell, Engine, Format, Scheme

NATIVE_REASON = "every layer is known to the native graph"
_NEITHER_HINT = "--formats savedmodel, or a lowering of your own for that layer: entry point kexport.lowerings"
FALLBACKS = {Format.ONNX: Engine.TF2ONNX, Format.TFLITE: Engine.TFLITE_CONVERTER}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine that makes a cell's artifact, and why that one."""

    engine: Engine
    reason: str
    stands_in: bool = False  # for the native writer, which cannot


def choose(cell: Cell, refusal: str) -> Choice:
    """The engine of a cell. ``refusal`` says why the native graph cannot express the model, or is empty.

    Raises UnsupportedError if native was asked for by name and cannot be had.
    """
    if cell.format is Format.SAVEDMODEL:
        return Choice(engine=Engine.KERAS, reason="SavedModel is Keras's own export")
    if cell.engine is not Engine.AUTO and cell.engine is not Engine.NATIVE:
        return Choice(engine=cell.engine, reason="asked for with --engine")
    if refusal and cell.scheme in QUANTIZED:
        raise UnsupportedError(
            f"{cell.scheme} needs the native graph, which cannot: {refusal}", hint="--schemes float32"
        )
    if not refusal:
        return Choice(engine=Engine.NATIVE, reason=NATIVE_REASON)
    fallback = FALLBACKS[cell.format]
    if cell.engine is Engine.NATIVE:
        raise UnsupportedError(f"the native engine cannot: {refusal}", hint=f"--engine {fallback}")
    return Choice(engine=fallback, reason=f"not native: {refusal}", stands_in=True)


def needs_keras(cell: Cell, refusal: str) -> bool:
    """Whether making the artifact needs the Keras model itself, not only its graph."""
    native = cell.engine in (Engine.AUTO, Engine.NATIVE) and not refusal
    return cell.format is Format.SAVEDMODEL or not native


def write_native(graph: Graph, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Write an optimized graph to ``path`` in the cell's format."""
    if cell.format is Format.ONNX:
        from kexport.formats.onnx import writer as onnx

        return onnx.write(graph, path, opset=cell.opset, batch=cell.batch, scheme=cell.scheme, metadata=metadata)
    from kexport.formats.tflite import writer as tflite

    encoded = {name: value.encode() for name, value in metadata.items()}
    return tflite.write(graph, path, batch=cell.batch or SERVING_BATCH, scheme=cell.scheme, metadata=encoded)


def write_quantized(plan: QuantPlan, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Write a quantization plan to ``path`` in the cell's format and scheme."""
    if cell.format is Format.ONNX:
        from kexport.formats.onnx.qdq import writer as onnx_qdq

        return onnx_qdq.write(plan, path, opset=cell.opset, batch=cell.batch, metadata=metadata)
    from kexport.formats.tflite.quantized import writer as tflite_int8

    return tflite_int8.write(
        plan,
        path,
        batch=cell.batch or SERVING_BATCH,
        metadata={name: value.encode() for name, value in metadata.items()},
        io=cell.io,
        arithmetic="dynamic" if cell.scheme is Scheme.DYNAMIC else "float32",
        activations="int16" if cell.scheme is Scheme.INT16X8 else "int8",
    )


def write_with_keras(model: Any, cell: Cell, choice: Choice, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Let the chosen engine write a live Keras model to ``path``.

    Where it stands in for the native writer and fails too, its error names both reasons.
    """
    try:
        return _ENGINES[choice.engine](model, cell, path, metadata)
    except (UnsupportedError, ArtifactError) as error:
        if not choice.stands_in:
            raise
        raise type(error)(f"{choice.reason}; {choice.engine}: {error.message}", hint=_NEITHER_HINT) from error


def _savedmodel(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    del metadata  # a folder of TensorFlow's own; the record beside it says the same
    from kexport.formats.savedmodel import writer as savedmodel

    return savedmodel.write(model, path, batch=cell.batch)


def _tf2onnx(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    from kexport.formats.onnx import tf2onnx as tf2onnx_engine

    if cell.scheme != "float32":
        raise UnsupportedError(f"the tf2onnx engine writes float32, not {cell.scheme}", hint="--engine native")
    return tf2onnx_engine.convert(model, path, opset=cell.opset, batch=cell.batch, metadata=metadata)


def _tflite_converter(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    from kexport.formats.tflite import converter as tflite_converter

    batch = cell.batch or SERVING_BATCH
    return tflite_converter.convert(model, path, batch=batch, scheme=cell.scheme, metadata=metadata)


_ENGINES: dict[Engine, Callable[[Any, Cell, Path, Mapping[str, str]], WrittenFile]] = {
    Engine.KERAS: _savedmodel,
    Engine.TF2ONNX: _tf2onnx,
    Engine.TFLITE_CONVERTER: _tflite_converter,
}
