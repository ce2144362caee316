"""One artifact: written, checked against Keras, and published under its name if nothing speaks against it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kexport import files, machine, store
from kexport.evidence import allowed, gates, parity, scoring, verdict
from kexport.evidence.scores import Measure
from kexport.formats import WrittenFile, write
from kexport.formats.write import Choice
from kexport.graph import Graph
from kexport.graph import file as graph_file
from kexport.images.answers_file import ANSWERS
from kexport.passes import optimize as optimized
from kexport.passes.embed import embedded
from kexport.pipeline import int8, provenance, remedies, resume
from kexport.pipeline.proof import Proof, bounds_of, prove, reference_name
from kexport.pipeline.steps import Clock, Step, follow
from kexport.pipeline.tasks import WITH_RUNTIMES, Task
from kexport.quantization import mixed
from kexport.quantization.embed import embedded_plan
from kexport.quantization.plan import QuantPlan
from kexport.records import AccuracyRecord, Artifact, Cost, Gates, QuantizationRecord, Record, SourceFacts, encode
from kexport.sources import backend, build, embedding, prepared
from kexport.sources.loading import served
from kexport.sources.prepared import Prepared
from kexport.specs import QUANTIZED, Cell
from kexport.store import references
from kexport.store.references import Kind


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """Make ``cell`` from the prepared ``folder``, publish it under ``directory``.

    ``reuse``: what earlier runs have found out of the same layers is not found out again (`pipeline.remembered`).
    """

    cell: Cell
    folder: str
    directory: str
    reproduce: str
    threads: int = 1
    reuse: bool = True


@dataclass(frozen=True, kw_only=True)
class Making:
    """How far the artifact has come: what each step of `CELL` adds. ``own`` is the user's own figure."""

    request: CellRequest
    ready: Prepared
    choice: Choice
    clock: Clock = field(default_factory=Clock)
    own: Measure | None = None
    model: Any = None
    graph: Graph | None = None
    plan: QuantPlan | None = None
    quantized: QuantizationRecord | None = None
    written: WrittenFile | None = None
    proof: Proof | None = None
    scored: AccuracyRecord | None = None
    record: Record | None = None

    @property
    def cell(self) -> Cell:
        """The cell that is made."""
        return self.request.cell

    @property
    def folder(self) -> Path:
        """Where the model lies prepared."""
        return Path(self.request.folder)

    @property
    def staged(self) -> Path:
        """The file before it has its name."""
        return self.folder / self.cell.file_name

    @property
    def native(self) -> bool:
        """Whether kexport itself writes the file."""
        return not self.choice.engine.from_model

    @property
    def problems(self) -> tuple[str, ...]:
        """What speaks against publishing; empty if nothing does."""
        return (*self.differs, *self.lost, *gates.size(self.cell.max_size, files.size_bytes(self.staged)))

    @property
    def differs(self) -> tuple[str, ...]:
        """What the comparison with Keras says against it."""
        assert self.proof is not None
        return tuple(parity.failures(self.proof.parity.checks))

    @property
    def lost(self) -> tuple[str, ...]:
        """What the evaluation data say against it."""
        search = self.quantized.search if self.quantized else None
        return (*scoring.problems(self.scored), *mixed.problems(search, self.scored, self.cell.max_drop))

    @property
    def ending(self) -> verdict.Ending:
        """How it ends, with what would help where the same command again would not."""
        assert self.proof is not None
        again, compared, facts = self.request.reproduce, self.proof.parity, self.ready.facts
        differs, loses = bool(self.differs), bool(self.lost)
        found = remedies.of(self.cell, self.quantized, runtime=compared.runtime, differs=differs, loses=loses)
        return verdict.of(self.problems, compared, facts, reproduce=again, why=found.why, cure=found.hint)


def rebuild(state: Making) -> Making:
    """The Keras model again, for an engine that needs it; of a live one what it was served as."""
    spec = state.cell.model
    if spec.live:
        folder = prepared.served_folder(state.folder, state.cell.file_batch)
        return replace(state, model=served.written(folder, name=spec.name))
    return replace(state, model=build.rebuild(spec, state.folder / prepared.KERAS_WEIGHTS))


def optimize(state: Making) -> Making:
    """The native graph after every pass."""
    return replace(state, graph=optimized(graph_file.load(state.folder)))


def quantize(state: Making) -> Making:
    """The plan of a quantized scheme: made by whichever cell comes first, read by the others."""
    assert state.graph is not None
    threads, tell = state.request.threads, state.clock.tell
    plan, quantized = int8.plan_of(
        state.cell,
        state.graph,
        state.ready,
        state.folder,
        threads=threads,
        tell=tell,
        own=state.own,
        reuse=state.request.reuse,
    )
    return replace(state, plan=plan, quantized=quantized)


def write_file(state: Making) -> Making:
    """The file, by the engine that was chosen; what it was written from is let go, and its memory with it.

    Raises UnsupportedError for operators that are not allowed.
    """
    written = _written(state)
    allowed.check(state.staged, state.cell.format, state.cell.operators, state.graph)
    return replace(state, written=written, model=None, graph=None, plan=None)


def _written(state: Making) -> WrittenFile:
    cell, facts = state.cell, state.ready.facts
    metadata, embeds = _metadata(embedding.of_file(facts)), embedding.asked(facts)
    if state.plan is not None:
        plan = embedded_plan(state.plan, embedding.contract_of(facts)) if embeds else state.plan
        return write.write_quantized(plan, cell, state.staged, metadata)
    if state.graph is not None:
        graph = embedded(state.graph, embedding.contract_of(facts))[0] if embeds else state.graph
        return write.write_native(graph, cell, state.staged, metadata)
    return write.write_with_keras(state.model, cell, state.choice, state.staged, metadata)


def compare(state: Making) -> Making:
    """The file against Keras's reference."""
    threads, own = state.request.threads, state.native
    return replace(state, proof=prove(state.staged, state.cell, state.ready, state.folder, threads=threads, own=own))


def score(state: Making) -> Making:
    """The file against Keras on the photographs, if there are any."""
    facts, threads = state.ready.facts, state.request.threads
    scored = scoring.score(state.staged, state.cell, facts, state.folder, threads=threads, own=state.own)
    return replace(state, scored=scored)


def publish(state: Making) -> Making:
    """The file under its name, complete or not at all, what it was judged by, and its record after both.

    All is written before anything gets its name, so that a full disk leaves no part without the others.
    """
    record, directory = _record(state), Path(state.request.directory)
    final = store.record_path(directory, record, state.cell.file_name)
    staged = state.folder / final.name
    files.write(staged, encode(record))
    references.keep(directory, record, state.folder / reference_name(state.cell))
    references.keep(directory, record, state.folder / ANSWERS, Kind.ANSWERS)
    files.publish(state.staged, directory / state.cell.model.name / state.cell.file_name)
    files.publish(staged, final)
    return replace(state, record=record)


CELL: tuple[Step[Making], ...] = (
    Step("rebuild", rebuild, when=lambda s: not s.native),
    Step("optimize", optimize, when=lambda s: s.native),
    Step("quantize", quantize, when=lambda s: s.native and s.cell.scheme in QUANTIZED),
    Step("write", write_file),
    Step("parity", compare),
    Step("accuracy", score),
    Step("publish", publish, when=lambda s: not s.problems),
)
"""The process of one cell."""


def make_cell(request: CellRequest, clock: Clock, *, own: Measure | None = None) -> Record:
    """Follow `CELL`; what a check says no to is not published. ``own`` is the user's own figure."""
    cell, ready = request.cell, prepared.load(Path(request.folder))
    bounds_of(cell)  # a kind of artifact that cannot be judged is refused before work
    choice = write.choose(cell, ready.refusal_of(cell.format))
    state = follow(CELL, Making(request=request, ready=ready, choice=choice, clock=clock, own=own), clock)
    return state.record or _record(state)


def _record(state: Making) -> Record:
    assert state.proof is not None
    cell, request, ending = state.cell, state.request, state.ending
    artifact, facts, versions = _artifact(state), embedding.of_file(state.ready.facts), backend.recorded(cell.reference)
    return Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        variant=cell.variant,
        status=ending.status,
        reason=ending.reason,
        hint=ending.hint,
        reproduce=request.reproduce,
        source=facts,
        artifact=artifact,
        parity=state.proof.parity,
        accuracy=state.scored,
        quantization=state.quantized,
        cost=_cost(state),
        versions={**versions, resume.REQUEST: resume.fingerprint(cell)},
        provenance=provenance.statement(
            artifact, facts, command=request.reproduce, versions=versions, quantized=state.quantized
        ),
        made=machine.today(),
        gates=_gates(cell),
        machine=machine.hardware(),
    )


def _gates(cell: Cell) -> Gates | None:
    asked = Gates(max_drop=cell.max_drop, max_size=cell.max_size, max_latency_ratio=cell.max_latency_ratio)
    return None if asked == Gates() else asked


def _artifact(state: Making) -> Artifact:
    assert state.written is not None
    assert state.proof is not None
    cell, written = state.cell, state.written
    return Artifact(
        path=f"{cell.model.name}/{cell.file_name}",
        format=cell.format,
        scheme=cell.scheme,
        size_bytes=files.size_bytes(state.staged),
        sha256=files.digest(state.staged),
        engine=state.choice.engine.name,
        engine_reason=state.choice.reason,
        operations=written.operations,
        inputs=written.inputs,
        outputs=written.outputs,
        opset=cell.opset if cell.format.has_opset else None,
        notes=(*written.notes, *state.proof.notes),
        allowed=cell.operators,
        float16_biases=cell.float16_biases,
    )


def _metadata(facts: SourceFacts) -> dict[str, str]:
    """What travels inside the file: how to feed it, and what it was made from."""
    values = {"kexport.weights_sha256": facts.weights_sha256}
    source_name = Path(facts.source).name if facts.kind == "file" else facts.source
    named = {"application": facts.application, "source": source_name, "source_sha256": facts.source_sha256}
    values |= {f"kexport.{name}": value for name, value in named.items() if value}
    if facts.preprocessing is not None:
        values["kexport.preprocessing"] = json.dumps(json.loads(encode(facts.preprocessing)), sort_keys=True)
    if facts.labels:
        values["kexport.labels"] = json.dumps(facts.labels, ensure_ascii=False)
    return values


def _cost(state: Making) -> Cost:
    peak = max(machine.peak_memory_bytes(), state.ready.peak_memory_bytes)
    return Cost(seconds={**state.ready.seconds, **state.clock.seconds}, peak_memory_bytes=peak)


TASK = Task(request=CellRequest, answer=Record, run=make_cell, warm=WITH_RUNTIMES)
