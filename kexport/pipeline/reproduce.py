"""The ways back: a stored record as the cell that it was made from, and a cell as the command that makes it.

A record may come from elsewhere: it is data. It says which model it was made from, and never what may run: code of
a factory or inside a model file runs only if the user has typed that very name (``--trust``).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from kexport.errors import SourceError
from kexport.records import Record, SourceFacts
from kexport.specs import SERVING_BATCH, Boundary, Cell, Engine, Format, ModelSpec, Scheme, WeightsSpec

OPTIONS = ("alpha", "minimalistic", "classes", "include_top", "pooling")
"""What a record may say of its network beside its shape and taps."""


def model_of(
    facts: SourceFacts, *, weights: WeightsSpec | None = None, trusted: Collection[str] = frozenset()
) -> ModelSpec:
    """The `ModelSpec` that an artifact was made from, with other ``weights`` if given.

    ``trusted`` are the factories and model files, as the record calls them, whose code the user allows to run.
    Raises SourceError for a model of a Python program, which is gone, and for a factory that is not trusted.
    """
    options = {name: facts.options[name] for name in OPTIONS if name in facts.options}
    shape, layers = facts.options.get("input_shape"), facts.options.get("layers")
    if facts.kind == "live":
        raise SourceError(
            f"the artifact was made from a model of a Python program ({facts.source}), which is not there any more",
            hint='model.save("model.keras"), then kexport export model.keras',
        )
    if facts.kind == "factory" and facts.source not in trusted:
        raise SourceError(
            f"the record names Python code, {facts.source}, which would run: expected --trust with that name",
            hint=f"--trust {shlex.quote(facts.source)}, if that code is yours",
        )
    own = WeightsSpec(kind="model") if facts.weights == "model" else WeightsSpec.parse(facts.weights)
    return ModelSpec(
        application=facts.application,
        file=facts.source if facts.kind == "file" else None,
        factory=facts.source if facts.kind == "factory" else None,
        weights=own if weights is None or not facts.application else weights,
        input_shape=tuple(shape) if shape else None,
        layers=tuple(layers or ()),
        trust=facts.kind == "file" and facts.source in trusted,
        **options,
    )


def cell_of(record: Record, *, trusted: Collection[str] = ()) -> Cell:
    """The cell that a stored record was made from; ``trusted`` as in `restored.model_of`. Raises UsageError."""
    assert record.artifact is not None
    assert record.source is not None
    model = model_of(record.source, trusted=trusted)
    batch = record.artifact.inputs[0].shape[0]
    search = record.quantization.search if record.quantization else None
    form, scheme, engine = Format(record.format), Scheme(record.scheme), record.artifact.engine
    unless_said = SERVING_BATCH if form.static_batch else None
    return Cell(
        model=model,
        format=form,
        scheme=scheme,
        engine=Engine.AUTO if engine == form.engines[0].name else engine,
        batch=None if batch == unless_said else batch,
        opset=record.artifact.opset or Cell.opset,
        calibration=record.quantization.calibration or None if record.quantization else None,
        max_drop=search.bound_points if search else None,
        io=Boundary(record.artifact.inputs[0].dtype) if scheme in form.integer_io else Boundary.FLOAT32,
    )


def reproduce(cell: Cell, directory: Path) -> str:
    """The command that makes this one cell again."""
    if cell.model.live:
        return f"kexport.export(model, formats={str(cell.format)!r}, scheme={str(cell.scheme)!r}, force=True)"
    return shlex.join(["kexport", "export", cell.model.source, *_options(cell), "-o", str(directory), "--force"])


def _options(cell: Cell) -> Iterator[str]:
    model = cell.model
    yield from ("--formats", cell.format, "--schemes", cell.scheme)
    chosen = {
        "--weights": None if model.weights.kind == "model" else str(model.weights),
        "--alpha": None if model.alpha is None else f"{model.alpha:g}",
        "--input-shape": ",".join(map(str, model.input_shape)) if model.input_shape else None,
        "--classes": None if model.classes == 1000 else str(model.classes),
        "--pooling": model.pooling,
        "--labels": model.labels,
        "--batch": None if cell.batch is None else str(cell.batch),
        "--opset": None if cell.opset == Cell.opset else str(cell.opset),
        "--engine": None if cell.engine == Engine.AUTO else cell.engine,
        "--calibration": cell.calibration,
        "--eval": cell.evaluation,
        "--max-drop": None if cell.max_drop is None else f"{cell.max_drop:g}",
        "--io": None if cell.io is Boundary.FLOAT32 else cell.io,
    }
    for option, value in chosen.items():
        yield from () if value is None else (option, value)
    for name in model.layers:
        yield from ("--layer", name)
    switches = {"--minimalistic": model.minimalistic, "--no-top": not model.include_top, "--trust": model.trust}
    for option, given in switches.items():
        yield from (option,) if given else ()
