"""The ways back: a stored record as the cell that it was made from, and a cell as the command that makes it.

A record may come from elsewhere: it is data. It says which model it was made from, and never what may run: code of
a factory or inside a model file runs only if the user has typed that very name (``--trust``).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from kexport.errors import SourceError, StoreError
from kexport.images.given import PREFIX
from kexport.options import TABLE, Goes, command, of
from kexport.options.place import Url
from kexport.records import Artifact, Gates, Record, SourceFacts
from kexport.specs import (
    SERVING_BATCH,
    Backend,
    Boundary,
    Cell,
    Engine,
    Format,
    Kernels,
    ModelSpec,
    Scheme,
    WeightsSpec,
)

_FIELDS = ModelSpec.__dataclass_fields__
KEPT = (*(each.name for each in of(Goes.MODEL) if each.kept and each.name in _FIELDS), "include_top")
"""What a record may say of its network: its options, and neither files nor trust."""
_WORDS = {each.name: each.word for each in TABLE}


def reproduce(cell: Cell, directory: Path | Url, *, own: bool = False) -> str:
    """The command that makes this one cell again; ``own``: judged by a figure of the program's own, `evaluate`."""
    if cell.model.live or any(text.startswith(PREFIX) for text in (cell.calibration or "", cell.evaluation or "")):
        return _in_python(cell, own=own)
    words = (*command(options_of(cell)), "-o", str(directory), "--force")
    return shlex.join(["kexport", "export", cell.model.source, *words])


def _in_python(cell: Cell, *, own: bool) -> str:
    """The call that makes a cell of a model, or with data, that only a program has."""
    source = "model" if cell.model.live else repr(cell.model.source)
    data = {"calibration": cell.calibration, "eval": cell.evaluation}
    told = {word: word if text.startswith(PREFIX) else repr(text) for word, text in data.items() if text}
    beside = {"bench": "True"} if cell.max_latency_ratio is not None else {}
    engine = {} if cell.engine == Engine.AUTO else {"engine": _python(cell.engine)}
    asked = {**_of_model(cell.model), **_unusual(cell)}
    kept = {_WORDS[name]: _python(value) for name, value in asked.items() if name not in ("calibration", "evaluation")}
    what = {"formats": repr(str(cell.format)), "schemes": repr(",".join(_schemes(cell))), **told, **engine, **kept}
    what |= beside | ({"evaluate": "evaluate"} if own else {})
    what["force"] = "True"
    return f"kexport.export({', '.join([source, *(f'{word}={value}' for word, value in what.items())])})"


def _python(value: Any) -> str:
    """As a program would write it: names as texts, numbers short."""
    if isinstance(value, tuple):
        return repr(tuple(map(str, value)))
    return repr(str(value) if isinstance(value, str) else value)


def _unusual(cell: Cell) -> dict[str, Any]:
    """What is said of a cell beside its model, format, scheme and engine, and differs from what is usual."""
    usual = {each.name: each.default for each in fields(Cell)}
    values = {**cell.cell_options(), "batch": cell.batch, "opset": cell.opset, "io": cell.io}
    return {name: value for name, value in values.items() if value != usual[name]}


def _schemes(cell: Cell) -> tuple[Scheme, ...]:
    """The scheme, and float32 beside it where its latency is the measure."""
    return (cell.scheme,) if cell.max_latency_ratio is None else (Scheme.FLOAT32, cell.scheme)


def model_words(model: ModelSpec) -> tuple[str, ...]:
    """The source and the options that name a model on the command line; none of a model of this program."""
    return () if model.live else (model.source, *command(_of_model(model)))


def _of_model(model: ModelSpec) -> dict[str, Any]:
    usual = {each.name: each.default for each in fields(ModelSpec)}
    return {
        **({} if model.weights.kind == "model" else {"weights": str(model.weights)}),
        **({} if model.classes == usual["classes"] else {"classes": model.classes}),
        **({} if model.include_top else {"no_top": True}),
        **{name: value for name, value in model.model_options().items() if value != usual[name]},
    }


def options_of(cell: Cell) -> dict[str, Any]:
    """The options that make a cell, by the fields' names of `ExportOptions`: those that differ from what is usual."""
    return {
        "formats": (cell.format,),
        "schemes": _schemes(cell),
        **({} if cell.max_latency_ratio is None else {"bench": True}),
        **_of_model(cell.model),
        **({} if cell.engine == Engine.AUTO else {"engine": cell.engine}),
        **_unusual(cell),
    }


def model_of(
    facts: SourceFacts,
    *,
    weights: WeightsSpec | None = None,
    trusted: Collection[str] = frozenset(),
    built: bool = True,
) -> ModelSpec:
    """The `ModelSpec` that an artifact was made from, with other ``weights`` if given.

    ``trusted`` are the factories and model files, as the record calls them, whose code the user allows to run;
    ``built``: it will be built. Raises SourceError then for a model of a Python program, which is gone, and for a
    factory that is not trusted.
    """
    told = {name: facts.options[name] for name in KEPT if facts.options.get(name) is not None}
    options: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    if built and facts.kind == "live":
        raise SourceError(
            f"the artifact was made from a model of a Python program ({facts.source}), which is not there any more",
            hint='model.save("model.keras"), then kexport export model.keras',
        )
    if built and facts.kind == "factory" and facts.source not in trusted:
        raise SourceError(
            f"the record names Python code, {facts.source}, which would run: expected --trust with that name",
            hint=f"--trust {shlex.quote(facts.source)}, if that code is yours",
        )
    own = WeightsSpec(kind="model") if facts.weights == "model" else WeightsSpec.parse(facts.weights)
    with _possible():
        return ModelSpec(
            application=facts.application,
            file=facts.source if facts.kind == "file" else None,
            live=facts.source if facts.kind == "live" else "",
            factory=facts.source if facts.kind == "factory" else None,
            weights=own if weights is None or not facts.application else weights,
            trust=facts.kind == "file" and facts.source in trusted,
            **options,
        )


def cell_of(record: Record, *, trusted: Collection[str] = (), built: bool = True) -> Cell:
    """The cell of a stored record; ``trusted`` and ``built`` as in `model_of`. Raises UsageError."""
    assert record.artifact is not None
    if record.source is None:
        raise StoreError("the record does not say what its artifact was made from", hint="kexport verify DIR")
    model = model_of(record.source, trusted=trusted, built=built)
    batch = batch_of(record.artifact)
    search, gates = record.quantization.search if record.quantization else None, record.gates or Gates()
    with _possible():
        form, scheme, io = Format(record.format), Scheme(record.scheme), Boundary.FLOAT32
        if scheme in form.integer_io:
            artifact = record.artifact  # pixels are uint8 whatever the io is: the outputs tell it then
            io = Boundary((artifact.outputs if model.embed_preprocessing else artifact.inputs)[0].dtype)
        said = record.quantization.kernels if record.quantization else None
        kernels = Kernels(said) if said else None
    engine = record.artifact.engine
    unless_said = SERVING_BATCH if form.static_batch else None
    photographs = _photographs(record.source)
    cell = Cell(
        model=model,
        format=form,
        scheme=scheme,
        engine=Engine.AUTO if engine == form.engines[0].name else engine,
        batch=None if batch == unless_said else batch,
        opset=record.artifact.opset or Cell.opset,
        calibration=(record.quantization.calibration if record.quantization else photographs) or None,
        evaluation=record.source.reference_images if record.source.reference_images != photographs else None,
        max_drop=search.bound_points if search else gates.max_drop,
        max_size=gates.max_size,
        max_latency_ratio=gates.max_latency_ratio,
        reference=_reference(record),
        min_agreement=record.accuracy.min_agreement if record.accuracy else None,
        kernels=kernels,
        keep_float=record.quantization.keep_float if record.quantization else (),
        recipe=(record.quantization.recipe_file or None) if record.quantization else None,
        integer_head=record.quantization is not None and record.quantization.integer_head,
        operators=record.artifact.allowed,
        float16_biases=record.artifact.float16_biases,
        io=io,
    )
    return _where_it_lies(cell, PurePosixPath(record.artifact.path))


def _reference(record: Record) -> tuple[Backend, ...]:
    """The backends of Keras that the artifact was compared with, the builder first; none where it is alone."""
    parity = record.parity
    if parity is None or not parity.others:
        return ()
    with _possible():
        return tuple(Backend(name) for name in (parity.backend, *(other.backend for other in parity.others)) if name)


def _where_it_lies(cell: Cell, path: PurePosixPath) -> Cell:
    """The cell with the names that its file was given before variants had their own; others are as they are."""
    folder, network = path.parent.name, cell.model.network
    if folder != cell.model.name and folder in (network, f"{network}-embedded") and len(path.parts) == 2:
        cell = replace(cell, model=replace(cell.model, called=folder))
    plain = f"{cell.model.name}-{cell.scheme}"
    return replace(cell, stem=plain) if path.name == f"{plain}{cell.format.suffix}" != cell.file_name else cell


def _photographs(facts: SourceFacts) -> str:
    """The set that a float artifact was compared on; nothing if it is a table of labels, which ``--eval`` takes."""
    return "" if facts.reference_images.endswith(".csv") else facts.reference_images


@contextmanager
def _possible() -> Iterator[None]:
    """A value of a record that no request can have is a StoreError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(f"the record asks for what cannot be: {words:.200}", hint="kexport verify DIR") from error


def batch_of(artifact: Artifact) -> int | None:
    """The batch that a file is fixed to, None if it is open. StoreError for a record without inputs."""
    if not artifact.inputs or not artifact.inputs[0].shape:
        raise StoreError(
            f"the record of {artifact.path} has no input with a batch axis: expected one", hint="kexport verify DIR"
        )
    return artifact.inputs[0].shape[0]
