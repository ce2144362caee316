"""The layers of a model, without its weights where it is an application."""

from __future__ import annotations

from dataclasses import dataclass

from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_KERAS, Task
from kexport.sources import build
from kexport.sources.adapt import taps
from kexport.sources.adapt.taps import LayerRow
from kexport.specs import ModelSpec


@dataclass(frozen=True, kw_only=True)
class LayersRequest:
    """List the layers of ``model``."""

    model: ModelSpec


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Every layer, in order."""

    rows: tuple[LayerRow, ...]


def list_layers(request: LayersRequest, clock: Clock) -> Layers:
    """Build the model as far as its layers go, and list them."""
    with clock.step("build"):
        return Layers(rows=taps.layers(build.skeleton(request.model)))


TASK = Task(request=LayersRequest, answer=Layers, run=list_layers, warm=WITH_KERAS)
