"""Ranks the layers of a model by what quantizing each costs, in the worker process that holds Keras."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport.errors import UnsupportedError, UsageError
from kexport.evidence.scoring import open_calibration_for
from kexport.graph import Graph
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.pipeline.int8 import compiler
from kexport.quantization import sensitivity
from kexport.quantization.ranking import Ranking
from kexport.records import Record, Status, encode
from kexport.sources import build as source
from kexport.sources import reference
from kexport.sources.adapt import taps
from kexport.specs import ModelSpec

KIND, RANKING = "sensitivity", "ranking.json"
MOST = 1000
Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """Rank the layers of ``model`` on ``images`` of the calibration set; the answer goes into ``folder``."""

    model: ModelSpec
    calibration: str
    folder: str
    images: int | None = None
    threads: int = 1
    timeout_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.images is not None and not 1 <= self.images <= MOST:
            raise UsageError(f"--images {self.images}: expected 1 to {MOST}", hint="--images 16")


def answer(request: RankRequest, step: Step) -> Record:
    """What the worker does: build, lower, rank. Raises UnsupportedError where there is no native graph."""
    with step("import keras"):
        source.load_keras()
    with step("build"):
        built = source.make(request.model)
        facts = reference.facts(built.model, request.model, notes=built.notes)
    with step("photographs"):
        images = open_calibration_for(facts, request.calibration)
        chosen = list(sensitivity.few(images, request.images or sensitivity.usual_images(images.shape)))
    with step("lower"):
        graph = _lowered(built.model)
    with step("rank layers"):
        damages = sensitivity.rank(optimize(graph), lambda: iter(chosen), compiler(request.threads))
    rows = {row.name: (row.kind, row.parameters) for row in taps.layers(built.model)}
    found = Ranking(
        model=request.model.name,
        calibration=images.text,
        images=sum(len(feeds[images.input_name]) for feeds in chosen),
        layers=sensitivity.named(damages, rows),
        notes=images.notes,
    )
    (Path(request.folder) / RANKING).write_text(encode(found))
    return Record(model=request.model.name, format="", scheme="", status=Status.PASS)


def _lowered(model: Any) -> Graph:
    try:
        return lower_model(model)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"int8 needs the native graph, which cannot: {error.message}", hint="kexport list layers SOURCE"
        ) from error
