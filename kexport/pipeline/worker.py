"""The process that does one task of a run: ``python -m kexport.pipeline.worker KIND REQUEST RESULT``.

`prepare` holds Keras: it builds the model, computes the reference and lowers the graph, once per model.
`layers` only builds it, and lists its layers; `sensitivity` ranks them by what quantizing each costs.
`cell` makes and checks one artifact; it needs no Keras unless the artifact's engine does. Steps are told
on stdout as JSON lines. This is the only place where any exception is caught: it becomes the record of
the cell, with its traceback if it is a bug.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kexport import files, machine, store
from kexport.errors import ArtifactError, KexportError, SourceError, UnsupportedError
from kexport.evidence import execution, scoring, tolerances
from kexport.evidence import parity as compare
from kexport.formats import WrittenFile, write
from kexport.graph import file as graph_file
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.pipeline import int8 as planning
from kexport.pipeline.tasks import sensitivity as ranker
from kexport.quantization import mixed
from kexport.records import Artifact, Cost, ParityRecord, QuantizationRecord, Record, Status, decode_as, encode
from kexport.sources import build as source
from kexport.sources import catalog, prepared, reference
from kexport.sources.adapt import taps
from kexport.sources.adapt.taps import LayerRow
from kexport.sources.prepared import Prepared
from kexport.specs import CALIBRATED, QUANTIZED, Boundary, Cell, ModelSpec

LAYERS = "layers.json"


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """Build ``model`` and write everything that cells need into ``folder``. ``keep_weights``: some need Keras.

    ``evaluation`` and ``calibration`` name sets of images, as `Cell` has them; ``calibrated``: a scheme needs them.
    """

    model: ModelSpec
    folder: str
    keep_weights: bool = False
    evaluation: str | None = None
    calibration: str | None = None
    calibrated: bool = False


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """Make ``cell`` from the prepared ``folder``, publish it under ``directory``.

    ``recheck`` compares the published artifact again instead of making a new one.
    """

    cell: Cell
    folder: str
    directory: str
    reproduce: str
    threads: int = 1
    recheck: bool = False


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What `layers` answers, in the file `LAYERS` of the request's folder."""

    rows: tuple[LayerRow, ...]


@dataclass(kw_only=True)
class Clock:
    """Tells each step when it begins, and keeps how long it took."""

    seconds: dict[str, float] = field(default_factory=dict)

    def tell(self, name: str) -> None:
        """Say where a step is."""
        print(json.dumps({"step": name}), flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step."""
        self.tell(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def prepare(request: PrepareRequest, clock: Clock) -> Record:
    """Everything that needs Keras and is the same for all cells of a model."""
    folder = Path(request.folder)
    with clock.step("import keras"):
        source.load_keras()
    with clock.step("build"):
        built = source.make(request.model)
        model = built.model
    with clock.step("reference"):
        facts = reference.facts(
            model,
            request.model,
            notes=built.notes,
            class_index=built.class_index,
            without_index=built.without_index,
        )
        outputs = reference.compute(model, request.model, facts.inputs)
        compare.check_signal(outputs.outputs, softmax=facts.ends_in_softmax)
        prepared.save_reference(outputs, folder)
    if request.evaluation is not None or request.calibration is not None:
        with clock.step("photographs"):
            scoring.prepare(
                model,
                facts,
                folder,
                images=request.evaluation,
                calibration=request.calibration,
                calibrated=request.calibrated,
            )
    with clock.step("lower"):
        refusal = _save_graph(model, folder)
    if request.keep_weights or refusal:
        with clock.step("keep weights"):
            prepared.save_weights(model, folder)
    prepared.save(
        Prepared(facts=facts, refusal=refusal, seconds=clock.seconds, peak_memory_bytes=machine.peak_memory_bytes()),
        folder,
    )
    return Record(model=request.model.name, format="", scheme="", status=Status.PASS, source=facts)


def list_layers(request: PrepareRequest) -> Record:
    """The layers of a model, without its weights where it is an application."""
    rows = taps.layers(source.skeleton(request.model))
    (Path(request.folder) / LAYERS).write_text(encode(Layers(rows=rows)))
    return Record(model=request.model.name, format="", scheme="", status=Status.PASS)


def _save_graph(model: Any, folder: Path) -> str:
    """Write the native graph; the reason instead if there is none."""
    try:
        graph_file.save(lower_model(model), folder)
    except UnsupportedError as error:
        return error.message
    return ""


def make_cell(request: CellRequest, clock: Clock) -> Record:
    """One artifact: written, checked against Keras, and only then published under its name."""
    cell, folder, directory = request.cell, Path(request.folder), Path(request.directory)
    ready = prepared.load(folder)
    choice = write.choose(cell, ready.refusal)
    bounds = _bounds_of(cell)
    staged = folder / cell.file_name
    written, quantized = _write(request, choice, staged, ready=ready, clock=clock)
    with clock.step("parity"):
        compared, notes = _compare(request, staged, ready, bounds)
    with clock.step("accuracy"):
        scored = scoring.score(staged, cell, ready.facts, folder, threads=request.threads)
    problems = [*compare.failures(compared.checks), *scoring.problems(scored)]
    problems += mixed.problems(quantized.search if quantized else None, scored)
    record = Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        status=Status.FAIL if problems else Status.PASS,
        reason="; ".join(problems),
        hint=request.reproduce if problems else "",
        reproduce=request.reproduce,
        source=ready.facts,
        artifact=_artifact(staged, cell, choice, written, notes),
        parity=compared,
        accuracy=scored,
        quantization=quantized,
        cost=_cost(ready, clock),
        versions={**machine.versions(), "request": store.fingerprint(cell)},
    )
    if not problems:
        with clock.step("publish"):
            files.publish(staged, directory / cell.model.name / cell.file_name)
            store.write_record(directory, record, cell.file_name)
    return record


def recheck_cell(request: CellRequest, clock: Clock) -> Record:
    """The published artifact compared again where it lies; its record is written anew, with what was found.

    Raises SourceError, and leaves the record alone, if Keras's weights are not those that it was made from.
    """
    cell, directory = request.cell, Path(request.directory)
    ready = prepared.load(Path(request.folder))
    stored = store.read_record(directory, cell)
    assert stored.artifact is not None
    _require_same_weights(stored, ready)
    path = directory / stored.artifact.path
    compared, problems = None, list(_changes(stored.artifact, path))
    scored = None if problems else stored.accuracy
    if path.exists():
        try:
            with clock.step("parity"):
                compared, _ = _compare(request, path, ready, _bounds_of(cell))
            problems += compare.failures(compared.checks)
        except ArtifactError as error:
            problems.append(error.message)
    record = replace(
        stored,
        status=Status.FAIL if problems else Status.PASS,
        reason="; ".join(problems),
        hint=f"{request.reproduce} makes it again" if problems else "",
        reproduce=request.reproduce if problems else stored.reproduce,
        traceback="",
        parity=compared,
        accuracy=scored,
        versions={**machine.versions(), store.REQUEST: stored.versions.get(store.REQUEST, "")},
    )
    store.write_record(directory, record, cell.file_name)
    return record


def _bounds_of(cell: Cell) -> tuple[tolerances.Bound, ...]:
    """Integer outputs have their own; an application as it was published has its family's."""
    section = cell.scheme if cell.io is Boundary.FLOAT32 else f"{cell.scheme}-io"
    family = catalog.application(cell.model.application).family if cell.model.as_published else ""
    return tolerances.load(cell.format, section, family=family)


def _require_same_weights(stored: Record, ready: Prepared) -> None:
    before = stored.source.weights_sha256 if stored.source else ""
    if before != ready.facts.weights_sha256:
        raise SourceError(
            f"weights {ready.facts.weights} are not those that the artifact was made from: "
            f"sha256 {ready.facts.weights_sha256[:12]}, the record has {before[:12]}",
            hint=stored.reproduce,
        )


def _changes(artifact: Artifact, path: Path) -> Iterator[str]:
    """What speaks against an artifact before it is run."""
    if not path.exists():
        yield f"{artifact.path} is missing"
    elif (found := files.digest(path)) != artifact.sha256:
        yield f"{artifact.path} was changed: its sha256 is {found[:12]}, the record has {artifact.sha256[:12]}"


def _compare(
    request: CellRequest, path: Path, ready: Prepared, bounds: tuple[tolerances.Bound, ...]
) -> tuple[ParityRecord, tuple[str, ...]]:
    """The file against the reference: what was found, and notes on how the file runs. Raises ArtifactError."""
    calibrated = request.cell.scheme in CALIBRATED
    expected = prepared.load_reference(Path(request.folder), prepared.CALIBRATED if calibrated else prepared.REFERENCE)
    outputs, effective, notes = execution.execute(path, request.cell, ready.facts, expected, threads=request.threads)
    step = 0.0 if request.cell.io is Boundary.FLOAT32 else compare.PROBABILITY_STEP
    found = compare.compare(expected.outputs, outputs, softmax=ready.facts.ends_in_softmax, step=step)
    record = ParityRecord(
        samples=len(next(iter(expected.inputs.values()))),
        runtime=_runtime_name(effective),
        effective=effective,
        outputs=found,
        checks=compare.judge(found, bounds, softmax=ready.facts.ends_in_softmax),
    )
    return record, notes


def _write(
    request: CellRequest, choice: write.Choice, staged: Path, *, ready: Prepared, clock: Clock
) -> tuple[WrittenFile, QuantizationRecord | None]:
    cell, folder = request.cell, Path(request.folder)
    if choice.engine.from_model:
        with clock.step("rebuild"):
            model = source.rebuild(cell.model, folder / prepared.KERAS_WEIGHTS)
        with clock.step(f"write with {choice.engine.name}"):
            return write.write_with_keras(model, cell, choice, staged, _metadata(ready)), None
    with clock.step("optimize"):
        graph = optimize(graph_file.load(folder))
    if cell.scheme not in QUANTIZED:
        with clock.step("write"):
            return write.write_native(graph, cell, staged, _metadata(ready)), None
    with clock.step("quantize"):
        plan, quantized = planning.plan_of(cell, graph, ready, folder, threads=request.threads, tell=clock.tell)
    with clock.step("write"):
        return write.write_quantized(plan, cell, staged, _metadata(ready)), quantized


def _metadata(ready: Prepared) -> dict[str, str]:
    """What travels inside the file: how to feed it, and what it was made from."""
    facts = ready.facts
    values = {"kexport.weights_sha256": facts.weights_sha256}
    source_name = Path(facts.source).name if facts.kind == "file" else facts.source
    named = {"application": facts.application, "source": source_name, "source_sha256": facts.source_sha256}
    values |= {f"kexport.{name}": value for name, value in named.items() if value}
    if facts.preprocessing is not None:
        values["kexport.preprocessing"] = json.dumps(json.loads(encode(facts.preprocessing)), sort_keys=True)
    if facts.labels:
        values["kexport.labels"] = json.dumps(facts.labels, ensure_ascii=False)
    return values


def _artifact(staged: Path, cell: Cell, choice: write.Choice, written: WrittenFile, notes: tuple[str, ...]) -> Artifact:
    return Artifact(
        path=f"{cell.model.name}/{cell.file_name}",
        format=cell.format,
        scheme=cell.scheme,
        size_bytes=files.size_bytes(staged),
        sha256=files.digest(staged),
        engine=choice.engine.name,
        engine_reason=choice.reason,
        operations=written.operations,
        inputs=written.inputs,
        outputs=written.outputs,
        opset=cell.opset if cell.format.has_opset else None,
        notes=(*written.notes, *notes),
    )


def _runtime_name(effective: str) -> str:
    return effective.partition(" ")[0]


def _cost(ready: Prepared, clock: Clock) -> Cost:
    peak = max(machine.peak_memory_bytes(), ready.peak_memory_bytes)
    return Cost(seconds={**ready.seconds, **clock.seconds}, peak_memory_bytes=peak)


def failure(error: Exception, *, model: str, file_format: str, scheme: str, reproduce: str, clock: Clock) -> Record:
    """The record of a task that raised: a deliberate error has its reason, a bug its traceback."""
    deliberate = isinstance(error, KexportError)
    status = Status.UNSUPPORTED if isinstance(error, UnsupportedError) else Status.ERROR
    return Record(
        model=model,
        format=file_format,
        scheme=scheme,
        status=status,
        reason=error.message if isinstance(error, KexportError) else f"{type(error).__name__}: {error}",
        hint=(error.hint or "") if isinstance(error, KexportError) else "this is a bug of kexport, please report it",
        reproduce=reproduce,
        traceback="" if deliberate else traceback.format_exc(),
        exit_code=error.exit_code if isinstance(error, KexportError) else 1,
        cost=Cost(seconds=clock.seconds, peak_memory_bytes=machine.peak_memory_bytes()),
        versions=machine.versions(),
    )


def _run(kind: str, text: bytes, clock: Clock) -> Record:
    names: dict[str, str]
    task: Callable[[], Record]
    if kind in ("prepare", "layers"):
        model: PrepareRequest = decode_as(PrepareRequest, text)
        names = {"model": model.model.name, "file_format": "", "scheme": "", "reproduce": ""}
        task = lambda: list_layers(model) if kind == "layers" else prepare(model, clock)  # noqa: E731
    elif kind == ranker.KIND:
        asked: ranker.RankRequest = decode_as(ranker.RankRequest, text)
        names = {"model": asked.model.name, "file_format": "", "scheme": "", "reproduce": ""}
        task = lambda: ranker.answer(asked, clock.step)  # noqa: E731
    else:
        one: CellRequest = decode_as(CellRequest, text)
        cell = one.cell
        names = {
            "model": cell.model.name, "file_format": cell.format, "scheme": cell.scheme, "reproduce": one.reproduce,
        }  # fmt: skip
        task = lambda: (recheck_cell if one.recheck else make_cell)(one, clock)  # noqa: E731
    try:
        return task()
    except Exception as error:  # noqa: BLE001 - the cell boundary: the record keeps the reason or the traceback
        return failure(error, clock=clock, **names)


def main(arguments: list[str]) -> int:
    """Do one task; the result file is a `Record`, written whole."""
    kind, request, result = arguments
    record = _run(kind, Path(request).read_bytes(), Clock())
    files.write(Path(result), encode(record))
    return 0


if __name__ == "__main__":
    machine.limit_memory(machine.memory_bytes())
    sys.exit(main(sys.argv[1:]))
