"""The layers of a source, listed by a worker process: a model file is never loaded in the main one."""

from __future__ import annotations

from kexport.pipeline.ask import ask
from kexport.pipeline.tasks.layers import Layers, LayersRequest
from kexport.sources.adapt.taps import LayerRow
from kexport.specs import ModelSpec

TIMEOUT_SECONDS = 600.0


def rows(model: ModelSpec, *, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[LayerRow, ...]:
    """Every layer of ``model``; weights of an application are not needed. Raises what ended the worker."""
    request = LayersRequest(model=model)
    found: Layers = ask("layers", request, what=f"loading {model.source}", timeout_seconds=timeout_seconds)
    return found.rows
