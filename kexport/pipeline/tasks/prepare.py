"""Everything that needs Keras and is the same for all cells of a model: built, run once, lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kexport import machine
from kexport.errors import UnsupportedError
from kexport.evidence import inputs, scoring
from kexport.formats import write
from kexport.formats.savedmodel import writer as savedmodel
from kexport.graph import file as graph_file
from kexport.lowerings.model import lower_model
from kexport.pipeline import recipe, unsupported
from kexport.pipeline.steps import Clock, Step, follow
from kexport.pipeline.tasks import WITH_KERAS, Task
from kexport.records import SourceFacts
from kexport.sources import backend, embedding, layer_samples, prepared, reference
from kexport.sources import build as sources
from kexport.sources.loading import live
from kexport.sources.loading.served import Served
from kexport.sources.prepared import Prepared
from kexport.specs import Cell, ModelSpec

NO_LAYERS = "a SavedModel holds operations of TensorFlow, not layers of Keras"


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """Build ``model`` and write everything that ``cells``, if they are made anew, need into ``folder``.

    ``evaluation`` and ``calibration`` name sets of images, as `Cell` has them; ``calibrated``: a scheme needs them;
    ``elsewhere``: other backends of Keras will be asked about the model.
    """

    model: ModelSpec
    folder: str
    cells: tuple[Cell, ...] = ()
    evaluation: str | None = None
    calibration: str | None = None
    calibrated: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """How far the model has come: what each step of `PREPARE` adds. ``live`` is a model that is there already."""

    request: PrepareRequest
    live: Any = None
    built: Any = None
    facts: SourceFacts | None = None
    refusal: str = ""
    refusals: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(default=Path())

    @property
    def model(self) -> Any:
        """The `keras.Model`."""
        return self.built.model

    @property
    def keeps_weights(self) -> bool:
        """Whether another process can build the model again, and needs the weights for it."""
        return self.live is None and not isinstance(self.model, Served)

    @property
    def apart(self) -> bool:
        """Whether no rows meet: the native graph has no operation in which they could."""
        return not self.refusal

    @property
    def known(self) -> SourceFacts:
        """The facts, once they are there."""
        assert self.facts is not None
        return self.facts


def import_keras(state: Preparing) -> Preparing:
    """Keras and its backend are loaded, so that their time is seen apart."""
    backend.load_keras()
    return state


def build(state: Preparing) -> Preparing:
    """What the user named becomes a `keras.Model` with its weights."""
    spec = state.request.model
    return replace(state, built=sources.make(spec) if state.live is None else sources.adopt(state.live, spec))


def compute_reference(state: Preparing) -> Preparing:
    """What is known of the model, and what Keras computes; both left in the folder."""
    built, spec = state.built, state.request.model
    facts = reference.facts(state.model, spec, notes=built.notes, weights_file=built.weights_file)
    embedding.of_file(facts)  # a contract that cannot go into the graph is refused before work
    request = state.request
    given = scoring.photographs(facts, state.folder, calibration=request.calibration, images=request.evaluation)
    outputs, facts = inputs.choose(state.model, spec, facts, given, apart=state.apart, answered=built.answered)
    made = reference.recipe(state.model, spec, facts.inputs)
    walked = layer_samples.walk(state.model)
    prepared.save_reference(outputs, state.folder, made=made, walked=walked, facts=facts)
    return replace(state, facts=facts)


def see_photographs(state: Preparing) -> Preparing:
    """Keras sees the photographs of calibration and evaluation."""
    request = state.request
    scoring.prepare(
        state.model,
        state.known,
        state.folder,
        images=request.evaluation,
        calibration=request.calibration,
        calibrated=request.calibrated,
        apart=state.apart,
    )
    return state


def lower(state: Preparing) -> Preparing:
    """The native graph into the folder, or the reason why there is none; and which formats cannot have it."""
    if isinstance(state.model, Served):
        return replace(state, refusal=NO_LAYERS)
    try:
        graph = lower_model(state.model)
    except UnsupportedError as error:
        return replace(state, refusal=error.message)
    recipe.require_layers(state.request.cells, graph)
    graph_file.save(graph, state.folder)
    told = {str(form): form.engines[0].refuses(graph) for form in {cell.format for cell in state.request.cells}}
    told |= unsupported.of_graph(graph, state.request.cells)
    return replace(state, refusals={form: why for form, why in told.items() if why})


def keep_weights(state: Preparing) -> Preparing:
    """The weights into the folder, for a cell that builds the Keras model again."""
    prepared.save_weights(state.model, state.folder)
    return state


def serve(state: Preparing) -> Preparing:
    """A live model into the folder as SavedModels, one for each batch that an engine wants: no other process has it."""
    for batch in dict.fromkeys(cell.file_batch for cell in _for_engines(state)):
        savedmodel.write(state.model, prepared.served_folder(state.folder, batch), batch=batch)
    return state


def _for_engines(state: Preparing) -> list[Cell]:
    """The cells that need the Keras model itself."""
    cells = state.request.cells
    return [cell for cell in cells if write.needs_keras(cell, state.refusal or state.refusals.get(cell.format, ""))]


PREPARE: tuple[Step[Preparing], ...] = (
    Step("import keras", import_keras, when=lambda s: s.live is None),
    Step("build", build),
    Step("lower", lower),
    Step("reference", compute_reference),
    Step("photographs", see_photographs, when=lambda s: bool(s.request.evaluation or s.request.calibration)),
    Step(
        "keep weights", keep_weights, when=lambda s: s.keeps_weights and (s.request.elsewhere or bool(_for_engines(s)))
    ),
    Step("serve", serve, when=lambda s: s.live is not None and bool(_for_engines(s))),
)
"""The Keras process of a model."""


def prepare_live(model: Any, request: PrepareRequest, clock: Clock) -> Prepared:
    """As `prepare`, in the program that has the ``model``, which stays as it was."""
    with live.untouched(model):
        return prepare(request, clock, model=model)


def prepare(request: PrepareRequest, clock: Clock, *, model: Any = None) -> Prepared:
    """Follow `PREPARE`; the facts are written last."""
    state = follow(PREPARE, Preparing(request=request, live=model, folder=Path(request.folder)), clock)
    ready = Prepared(
        facts=state.known,
        refusal=state.refusal,
        refusals=dict(state.refusals),
        seconds=clock.seconds,
        peak_memory_bytes=machine.peak_memory_bytes(),
    )
    prepared.save(ready, state.folder)
    return ready


TASK = Task(request=PrepareRequest, answer=Prepared, run=prepare, warm=WITH_KERAS)
