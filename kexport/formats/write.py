"""Step: one artifact file, by the engine that the cell asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats import WrittenFile
from kexport.graph import Graph
from kexport.quantization.plan import QuantPlan
from kexport.registry import QUANTIZED, Engine
from kexport.sources import backend
from kexport.specs import Cell

NATIVE_REASON = "every layer is known to the native graph"
_NEITHER_HINT = "--formats savedmodel, or a lowering of your own for that layer: entry point kexport.lowerings"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine that makes a cell's artifact, and why that one."""

    engine: Engine
    reason: str
    stands_in: bool = False  # for the format's own engine, which cannot


def choose(cell: Cell, refusal: str) -> Choice:
    """The engine of a cell. ``refusal`` says why the native graph cannot express the model, or is empty.

    Raises UnsupportedError if there is none, or if the native one was asked for by name and cannot be had.
    """
    engine = _first(cell)
    asked = "" if cell.engine in (Engine.AUTO, cell.format.engines[0].name) else "asked for with --engine"
    if engine.from_model or not refusal:
        return Choice(engine=engine, reason=asked or engine.reason or NATIVE_REASON)
    other = _stand_in(cell)
    if other is None:
        raise _refused(cell, refusal)
    return Choice(engine=other, reason=f"not native: {refusal}", stands_in=True)


def _first(cell: Cell) -> Engine:
    """The engine that was asked for, or the first that writes the scheme."""
    if cell.engine != Engine.AUTO:
        return cell.format.engine(cell.engine)
    return cell.format.writers(cell.scheme)[0]


def _stand_in(cell: Cell) -> Engine | None:
    """Who writes what the native graph cannot express: nobody for one asked for by name or with embedded steps."""
    others = (engine for engine in cell.format.writers(cell.scheme) if engine.from_model and not engine.lacks())
    able = cell.engine == Engine.AUTO and not cell.model.embed_preprocessing
    return next(others, None) if able else None


def engine_of(cell: Cell, refusal: str) -> Engine:
    """As `choose`, for what the work will need; the engine that will refuse where there is none."""
    engine = _first(cell)
    return engine if engine.from_model or not refusal else _stand_in(cell) or engine


def _refused(cell: Cell, refusal: str) -> UnsupportedError:
    """Why a model that the native graph cannot express cannot be had from another engine either."""
    others = [engine for engine in cell.format.engines if engine.from_model]
    able = [engine for engine in others if cell.scheme in engine.schemes]
    if cell.scheme in QUANTIZED:
        return UnsupportedError(
            f"{cell.scheme} needs the native graph, which cannot: {refusal}", hint="--schemes float32"
        )
    if able and (lacks := able[0].lacks()):
        return UnsupportedError(f"the native engine cannot: {refusal}; {lacks}", hint=backend.cure())
    if able:
        return UnsupportedError(f"the native engine cannot: {refusal}", hint=f"--engine {able[0].name}")
    reasons = [
        f"{other.name}: the {other.name} engine writes {', '.join(other.schemes)}, not {cell.scheme}"
        for other in others
    ]
    return UnsupportedError("; ".join((f"not native: {refusal}", *reasons)), hint=_NEITHER_HINT)


def needs_keras(cell: Cell, refusal: str) -> bool:
    """Whether making the artifact needs the Keras model itself, not only its graph."""
    return engine_of(cell, refusal).from_model


def write_native(graph: Graph, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Write an optimized graph to ``path`` in the cell's format."""
    return engine_of(cell, "").write(graph, cell, path, metadata)


def write_quantized(plan: QuantPlan, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Write a quantization plan to ``path`` in the cell's format and scheme."""
    write_plan = engine_of(cell, "").write_plan
    assert write_plan is not None, "an engine of a quantized scheme takes plans"
    return write_plan(plan, cell, path, metadata)


def write_with_keras(model: Any, cell: Cell, choice: Choice, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """Let the chosen engine write a live Keras model to ``path``.

    Where it stands in for the native writer and fails too, its error names both reasons.
    """
    try:
        return choice.engine.write(model, cell, path, metadata)
    except (UnsupportedError, ArtifactError) as error:
        if not choice.stands_in:
            raise
        raise type(error)(f"{choice.reason}; {choice.engine.name}: {error.message}", hint=_NEITHER_HINT) from error
