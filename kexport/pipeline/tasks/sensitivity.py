"""Ranks the layers of a model by what quantizing each costs, in the worker process that holds Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport.errors import UnsupportedError, UsageError
from kexport.evidence.scoring import open_calibration_for
from kexport.graph import Graph
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.pipeline.int8 import compiler
from kexport.pipeline.reproduce import model_words
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_KERAS, Task
from kexport.quantization import sensitivity
from kexport.quantization.ranking import Ranking
from kexport.sources import backend, build, reference
from kexport.sources.adapt import taps
from kexport.sources.loading import live
from kexport.specs import ModelSpec

MOST = 1000


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """Rank the layers of ``model`` on ``images`` of the calibration set; ``data`` has the arrays of a program."""

    model: ModelSpec
    calibration: str
    images: int | None = None
    threads: int = 1
    data: str = ""
    timeout_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.images is not None and not 1 <= self.images <= MOST:
            raise UsageError(f"--images {self.images}: expected 1 to {MOST}", hint="--images 16")


def rank_live(model: Any, request: RankRequest, clock: Clock) -> Ranking:
    """As `rank_layers`, in the program that has the ``model``, which stays as it was."""
    with live.untouched(model):
        return rank_layers(request, clock, model=model)


def rank_layers(request: RankRequest, clock: Clock, *, model: Any = None) -> Ranking:
    """What the worker does: build, lower, rank. Raises UnsupportedError where there is no native graph."""
    with clock.step("import keras"):
        backend.load_keras()
    with clock.step("build"):
        built = build.make(request.model) if model is None else build.adopt(model, request.model)
        facts = reference.facts(built.model, request.model, notes=built.notes)
    with clock.step("photographs"):
        data = Path(request.data) if request.data else None
        images = open_calibration_for(facts, request.calibration, data)
        chosen = list(sensitivity.few(images, request.images or sensitivity.usual_images(images.shape)))
    with clock.step("lower"):
        graph = _lowered(built.model)
    with clock.step("rank layers"):
        damages = sensitivity.rank(optimize(graph), lambda: iter(chosen), compiler(request.threads))
    rows = {row.name: (row.kind, row.parameters) for row in taps.layers(built.model)}
    return Ranking(
        model=request.model.name,
        calibration=images.text,
        images=sum(len(next(iter(feeds.values()))) for feeds in chosen),
        layers=sensitivity.named(damages, rows),
        notes=images.notes,
        source=model_words(request.model),
    )


def _lowered(model: Any) -> Graph:
    try:
        return lower_model(model)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"int8 needs the native graph, which cannot: {error.message}", hint="kexport list layers SOURCE"
        ) from error


TASK = Task(request=RankRequest, answer=Ranking, run=rank_layers, warm=WITH_KERAS)
