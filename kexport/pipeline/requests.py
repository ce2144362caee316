"""From options to cells: a target under the options, and every contradiction told before work begins.

The command line and `kexport.api` ask here alike, so that both refuse the same requests in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kexport import targets
from kexport.errors import SourceError, UsageError
from kexport.images import calibration, evaluation
from kexport.sources import labels
from kexport.sources.catalog import APPLICATIONS, Application
from kexport.sources.names import Factory, ModelFile, Named, select, told
from kexport.specs import (
    CALIBRATED,
    Boundary,
    Cell,
    Format,
    ModelSpec,
    Scheme,
    WeightsSpec,
    check_max_drop,
    integer_io_hint,
)
from kexport.targets import TargetFile

DEFAULT_TIMEOUT_MINUTES = 30.0
_MERGED = ("formats", "schemes", "batch", "opset", "engine", "input_shape")
Batch = int | Literal["dynamic"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the user asked for. ``None`` means: not given, so a target or the default decides."""

    formats: tuple[Format, ...] | None = None
    schemes: tuple[Scheme, ...] | None = None
    weights: str = "imagenet"
    alpha: float | None = None
    minimalistic: bool = False
    input_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    no_top: bool = False
    pooling: str | None = None
    layers: tuple[str, ...] = ()
    labels: str | None = None
    trust: bool = False
    batch: Batch | None = None
    opset: int | None = None
    target: str | None = None
    engine: str | None = None
    jobs: int | None = None
    resume: bool = False
    force: bool = False
    bench: bool = False
    calibration: str | None = None
    evaluation: str | None = None
    io: Boundary = Boundary.FLOAT32
    max_drop: float | None = None
    as_json: bool = False
    timeout_minutes: float = DEFAULT_TIMEOUT_MINUTES
    output: Path = Path("artifacts")

    def __post_init__(self) -> None:
        if self.resume and self.force:
            raise UsageError(
                "--resume keeps what is complete and --force makes everything again: expected one of them",
                hint="kexport all --resume",
            )
        if not self.timeout_minutes > 0:
            raise UsageError(f"--timeout {self.timeout_minutes:g}: expected minutes above 0", hint="--timeout 30")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: expected 1 or more", hint="--jobs 2")


def cells(models: Sequence[Named], options: ExportOptions) -> tuple[Cell, ...]:
    """Models times formats times schemes, model by model. Raises UsageError."""
    target = settings(options)
    _check_images(options)
    weights = _weights(options.weights, models=len(models))
    specs = [
        _spec(model, options, target, weights) if isinstance(model, Application) else own(model, options, target)
        for model in models
    ]
    pairs = _pairs(target)
    _check_io(options, pairs)
    _check_max_drop(options, target)
    return tuple(
        Cell(
            model=spec,
            format=form,
            scheme=scheme,
            engine=target.engine,
            batch=None if target.batch == "dynamic" else target.batch,
            opset=target.opset,
            calibration=options.calibration,
            evaluation=options.evaluation,
            io=options.io if scheme in form.integer_io else Boundary.FLOAT32,
            max_drop=options.max_drop if scheme in CALIBRATED else None,
        )
        for spec in specs
        for form, scheme in pairs
    )


def _pairs(target: TargetFile) -> list[tuple[Format, Scheme]]:
    """Every format in each scheme that it can have; each has one, as a target is checked when it is made."""
    return [(form, scheme) for form in target.formats for scheme in target.schemes if scheme in form.schemes]


def _check_io(options: ExportOptions, pairs: list[tuple[Format, Scheme]]) -> None:
    if options.io is not Boundary.FLOAT32 and not any(scheme in form.integer_io for form, scheme in pairs):
        raise UsageError(
            f"--io {options.io}: only TFLite files of scheme int8 have integer inputs and outputs",
            hint=integer_io_hint(),
        )


def _check_max_drop(options: ExportOptions, target: TargetFile) -> None:
    """UsageError for a bound that nothing could be held to."""
    if options.max_drop is None:
        return
    check_max_drop(options.max_drop)
    if Scheme.INT8 not in target.schemes:
        raise UsageError(
            f"--max-drop {options.max_drop:g} with {', '.join(target.schemes)}: expected scheme int8, whose layers can "
            "stay in float32 one by one",
            hint="--schemes int8",
        )
    if options.evaluation is None:
        raise UsageError(
            f"--max-drop {options.max_drop:g}: expected --eval as well, labelled photographs to measure the drop on",
            hint="--eval photos",
        )


def defaults() -> TargetFile:
    """What is made unless said."""
    return TargetFile(description="what is made unless said", formats=tuple(form for form in Format if form.default))


def settings(options: ExportOptions) -> TargetFile:
    """The named target, or the defaults, with what was typed on top. Raises UsageError."""
    base = defaults() if options.target is None else targets.load(options.target)
    typed = {name: getattr(options, name) for name in _MERGED}
    return replace(base, **{name: value for name, value in typed.items() if value is not None})


def _spec(application: Application, options: ExportOptions, target: TargetFile, weights: WeightsSpec) -> ModelSpec:
    _check_constructor(application, options)
    _check_size(application, target.input_shape)
    _check_classifier(options, weights)
    return ModelSpec(
        application=application.name,
        weights=weights,
        alpha=options.alpha,
        minimalistic=options.minimalistic,
        input_shape=target.input_shape,
        classes=1000 if options.classes is None else options.classes,
        include_top=not options.no_top,
        pooling=options.pooling,
        layers=options.layers,
        labels=_labels(options),
    )


def described(source: str, *, trust: bool) -> ModelSpec:
    """The one model that ``source`` names, for a look at its layers. Raises UsageError where it names several."""
    found = _one(source, "list layers")
    options = ExportOptions(trust=trust)
    if isinstance(found, Application):
        return ModelSpec(application=found.name, weights=WeightsSpec(kind="random", seed=0))
    return own(found, options, settings(options))


def single(source: str, options: ExportOptions, *, command: str) -> ModelSpec:
    """The one model that ``source`` names, as the options want it. Raises UsageError where it names several."""
    found, target = _one(source, command), settings(options)
    _check_images(options)
    if isinstance(found, Application):
        return _spec(found, options, target, _weights(options.weights, models=1))
    return own(found, options, target)


def _one(source: str, command: str) -> Named:
    found = select([source])
    if len(found) != 1:
        raise UsageError(
            f"{source!r} names {len(found)} models: {', '.join(told(model) for model in found)}; expected one",
            hint=f"kexport {command} {told(found[0])}",
        )
    return found[0]


def own(model: ModelFile | Factory, options: ExportOptions, target: TargetFile) -> ModelSpec:
    """The request for a model file or a factory. UsageError for an option that only applications take."""
    factory = isinstance(model, Factory)
    weights = WeightsSpec.parse(options.weights)
    taken = {
        "--alpha": options.alpha is None,
        "--minimalistic": not options.minimalistic,
        "--classes": options.classes is None,
        "--no-top": not options.no_top,
        "--pooling": options.pooling is None,
        f"--weights {options.weights}": weights.kind == "imagenet" or (factory and weights.kind == "file"),
    }
    wrong = next((option for option, fits in taken.items() if not fits), None)
    if wrong is not None:
        whose = "builds its own model" if factory else "has its own weights"
        raise UsageError(
            f"{wrong} is for applications: {told(model)} {whose}",
            hint=f"kexport export {told(model)}",
        )
    return ModelSpec(
        file=None if isinstance(model, Factory) else model.path,
        factory=model.text if isinstance(model, Factory) else None,
        live=not isinstance(model, Factory) and model.live,
        weights=weights if weights.kind == "file" else WeightsSpec(kind="model"),
        input_shape=target.input_shape,
        layers=options.layers,
        labels=_labels(options),
        trust=options.trust,
    )


def _labels(options: ExportOptions) -> str | None:
    """The labels file, read once so that a mistake in it is told at once."""
    if options.labels is not None:
        labels.read(Path(options.labels))
    return options.labels


def _check_constructor(application: Application, options: ExportOptions) -> None:
    for option, given in (("alpha", options.alpha is not None), ("minimalistic", options.minimalistic)):
        if given and option not in application.options:
            able = ", ".join(row.name for row in APPLICATIONS if option in row.options)
            raise UsageError(f"{application.name} takes no --{option}: {able} do", hint="kexport list models --json")


def _check_size(application: Application, shape: tuple[int, int, int] | None) -> None:
    smallest = application.smallest_size
    if shape is not None and min(shape[:2]) < smallest:
        raise UsageError(
            f"--input-shape {','.join(map(str, shape))}: {application.name} needs {smallest}x{smallest} pixels or more",
            hint=f"--input-shape {smallest},{smallest},3",
        )


def _check_classifier(options: ExportOptions, weights: WeightsSpec) -> None:
    if options.pooling is not None and not options.no_top:
        raise UsageError("--pooling pools the features of --no-top: expected both", hint="--no-top --pooling avg")
    if options.classes is not None and options.no_top:
        raise UsageError("--classes and --no-top: a network without classifier has no classes", hint="--no-top")
    if options.classes not in (None, 1000) and weights.kind == "imagenet":
        raise UsageError(
            f"--classes {options.classes}: the imagenet weights have 1000 classes",
            hint=f"--classes {options.classes} --weights FILE",
        )


def _check_images(options: ExportOptions) -> None:
    if options.calibration is not None:
        calibration.check(options.calibration)
    if options.evaluation is None:
        return
    evaluation.check(options.evaluation)
    if options.no_top:
        raise UsageError(
            "--eval and --no-top: features have no classes to be right about", hint="leave one of them out"
        )


def _weights(text: str, *, models: int) -> WeightsSpec:
    spec = WeightsSpec.parse(str(Path(text).expanduser()) if text.startswith("~") else text)
    if spec.path is not None and not Path(spec.path).is_file():
        found = "that is a folder" if spec.path and Path(spec.path).is_dir() else "there is no such file"
        raise SourceError(
            f"--weights {text!r}: {found}; expected imagenet, random:SEED or a file",
            hint="--weights random:0",
        )
    if spec.kind == "file" and models > 1:
        raise UsageError(f"--weights {text!r}: one file for {models} models, expected one model", hint="kexport list")
    return spec
