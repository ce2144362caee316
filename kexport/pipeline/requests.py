"""From options to cells: a target under the options, and every contradiction told before work begins.

The command line and `kexport.api` ask here alike, so that both refuse the same requests in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kexport import files, targets
from kexport.errors import SourceError, UsageError
from kexport.evidence.benchmark import BenchSettings
from kexport.evidence.protocols import threads_of
from kexport.images import calibration, evaluation
from kexport.images.given import PREFIX
from kexport.options import ExportOptions
from kexport.pipeline import automatic, elsewhere, gates, same_name, unsupported
from kexport.sources import labels, stated
from kexport.sources.catalog import APPLICATIONS, Application
from kexport.sources.names import Factory, Live, ModelFile, Named, command, select, told
from kexport.sources.weights.hdf5_file import check_signature
from kexport.specs import (
    CALIBRATED,
    DEFAULT_OPSET,
    Boundary,
    Cell,
    Engine,
    Format,
    ModelSpec,
    Scheme,
    WeightsSpec,
)

IMAGENET = "imagenet"
UNCALIBRATED: dict[str, object] = {
    "kernels": None,
    "integer_head": False,
    "keep_float": (),
    "recipe": None,
}
"""What is said of calibrated schemes alone, in a cell of another."""


def cells(models: Sequence[Named], options: ExportOptions) -> tuple[Cell, ...]:
    """Models times targets times formats times schemes, model by model. Raises UsageError."""
    asked = [(name, settings(options, name)) for name in options.targets or (None,)]
    for _, what in asked:
        _check_images(what)
        _check_called(what, models)
        unsupported.require_engines(_pairs(what) or _asked(what), what.engine)
        gates.check(what)
    _check_int8(options, [what for _, what in asked])
    made = [(name, cell) for model in models for name, what in asked for cell in _cells(model, what, len(models))]
    same_name.refuse(made)
    return tuple(dict.fromkeys(cell for _, cell in made))


def _check_int8(typed: ExportOptions, asked: Sequence[ExportOptions]) -> None:
    hint = "--schemes auto --calibration photos" if automatic.asked(typed) else "--schemes int8"
    pairs = [pair for what in asked for pair in _pairs(what)]
    gates.check_int8(asked, pairs, hint=hint)
    gates.check_biases(asked, pairs)


def _check_called(what: ExportOptions, models: Sequence[Named]) -> None:
    if what.called is not None and len(models) > 1:
        raise UsageError(
            f"--name {what.called}: one name for {len(models)} models, expected one model",
            hint=f"{command(models[0])} --name {what.called}",
        )


def _cells(model: Named, what: ExportOptions, models: int) -> Iterator[Cell]:
    weights = _weights(_asked_weights(what), models=models)
    spec = _spec(model, what, weights) if isinstance(model, Application) else own(model, what)
    for form, scheme in _pairs(what):
        yield Cell(
            model=spec,
            format=form,
            scheme=scheme,
            engine=what.engine or Engine.AUTO,
            batch=None if what.batch == "dynamic" else what.batch,
            opset=DEFAULT_OPSET if what.opset is None else what.opset,
            io=(what.io or Boundary.FLOAT32) if scheme in form.integer_io else Boundary.FLOAT32,
            **what.cell_options() | _without(form, scheme) | {"reference": elsewhere.asked(what.reference, spec)},
        )


def _without(form: Format, scheme: Scheme) -> dict[str, object]:
    """What is not asked of such a file; of float32 not the latency, by which others are measured."""
    found: dict[str, object] = {"max_latency_ratio": None} if scheme is Scheme.FLOAT32 else {}
    found |= {} if scheme in form.half_biases else {"float16_biases": False}
    return found if scheme in CALIBRATED else UNCALIBRATED | found


def _pairs(what: ExportOptions) -> list[tuple[Format, Scheme]]:
    """Every format in each scheme that it can have; each has one, as `settings` has checked."""
    asked = _asked(what)
    if not what.skip_unsupported:
        return asked
    return [pair for pair in asked if not unsupported.of_pair(*pair, what.engine)]


def _asked(what: ExportOptions) -> list[tuple[Format, Scheme]]:
    forms, schemes = what.formats or (), what.schemes or ()
    return [(form, scheme) for form in forms for scheme in schemes if scheme in form.schemes]


def settings(options: ExportOptions, target: str | None = None) -> ExportOptions:
    """What was typed, over what the target says, over the defaults. Raises UsageError where that cannot be."""
    what = _settings(options, target)
    if what.skip_unsupported:
        what = unsupported.without(what)
        targets.check(replace(what, engine=None) if _pairs(what) else what)
    else:
        targets.check(what)
    return what


def _settings(options: ExportOptions, target: str | None) -> ExportOptions:
    base = {} if target is None else targets.load(target).values
    usual = {"formats": tuple(form for form in Format if form.default), "schemes": (Scheme.FLOAT32,)}
    what = ExportOptions(**{**usual, **base, **options.given()})
    return automatic.expanded(what) if automatic.asked(what) else what


def skips(options: ExportOptions) -> bool:
    """Whether what cannot be is left out, as the options or one of the targets want it."""
    return any(_settings(options, name).skip_unsupported for name in options.targets or (None,))


def skipped(options: ExportOptions) -> tuple[str, ...]:
    """What of the request is left out because nothing can be so, a line each; of files where that is asked for."""
    asked = [_settings(options, name) for name in options.targets or (None,)]
    told = [line for what in asked if what.skip_unsupported for line in unsupported.left_out(what)]
    alone = [line for what in asked for line in elsewhere.alone(what.reference)]
    return tuple(dict.fromkeys((*automatic.left_out(options), *told, *alone)))


def benchmark(options: ExportOptions) -> BenchSettings | None:
    """How latency is measured as well, if the options or one of the targets want it."""
    asked = [settings(options, name) for name in options.targets or (None,)]
    wanted = [what for what in asked if what.bench]
    if not wanted:
        return None
    threads_of(options.bench_threads, "--bench-threads")
    threads = next((what.bench_threads for what in wanted if what.bench_threads is not None), None)
    return BenchSettings() if threads is None else BenchSettings(threads=threads)


def _spec(application: Application, what: ExportOptions, weights: WeightsSpec) -> ModelSpec:
    _check_constructor(application, what)
    _check_size(application, what.input_shape)
    _check_classifier(what, weights)
    _check_labels(what)
    return ModelSpec(
        application=application.name,
        weights=weights,
        classes=1000 if what.classes is None else what.classes,
        include_top=not what.no_top,
        **what.model_options() | {"trust": False, "input_shape": _other_size(application, what)},
    )


def _other_size(application: Application, what: ExportOptions) -> tuple[int, int, int] | None:
    """The size that was asked for, if it is not the application's own."""
    own = (application.default_size, application.default_size, 3)
    return None if what.input_shape == own else what.input_shape


def described(source: str, *, trust: bool) -> ModelSpec:
    """The one model that ``source`` names, for a look at its layers. Raises UsageError where it names several."""
    found = _one(source, "list layers")
    if isinstance(found, Application):
        return ModelSpec(application=found.name, weights=WeightsSpec(kind="random", seed=0))
    return own(found, settings(ExportOptions(trust=trust)))


def single(source: str | Live, options: ExportOptions, *, command: str) -> ModelSpec:
    """The one model that ``source`` names, as the options want it. Raises UsageError where it names several."""
    found, what = _one(source, command), settings(options)
    _check_images(what)
    if isinstance(found, Application):
        return _spec(found, what, _weights(_asked_weights(what), models=1))
    return own(found, what)


def _one(source: str | Live, command: str) -> Named:
    found = select([source])
    if len(found) != 1:
        raise UsageError(
            f"{source!r} names {len(found)} models: {', '.join(told(model) for model in found)}; expected one",
            hint=f"kexport {command} {told(found[0])}",
        )
    return found[0]


def own(model: ModelFile | Factory | Live, options: ExportOptions) -> ModelSpec:
    """The request for a model file, a factory or a live model. UsageError for an option that only applications take."""
    factory = isinstance(model, Factory)
    weights = WeightsSpec.parse(_asked_weights(options))
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
            hint=command(model),
        )
    _check_labels(options)
    return ModelSpec(
        file=model.path if isinstance(model, ModelFile) else None,
        factory=model.text if isinstance(model, Factory) else None,
        live=model.name if isinstance(model, Live) else "",
        weights=weights if weights.kind == "file" else WeightsSpec(kind="model"),
        **options.model_options() | {"called": options.called or _called(model)},
    )


def _called(model: ModelFile | Factory | Live) -> str | None:
    """What a source is called that shares its own name with another of the request."""
    return None if isinstance(model, Live) else model.called or None


def _check_labels(options: ExportOptions) -> None:
    """The labels file and the stated contract are read once, so that a mistake in them is told at once."""
    if options.labels is not None:
        labels.read(Path(options.labels))
    stated.of(options.preprocessing, options.resize)


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
    if options.no_top and not options.evaluation.startswith(PREFIX) and Path(options.evaluation).suffix != ".npz":
        raise UsageError(
            "--eval and --no-top: features have no classes to be right about",
            hint="--eval FILE.npz with the array input measures the cosine of the features; or leave one of them out",
        )


def _asked_weights(options: ExportOptions) -> str:
    return IMAGENET if options.weights is None else options.weights


def _weights(text: str, *, models: int) -> WeightsSpec:
    spec = WeightsSpec.parse(str(Path(text).expanduser()) if text.startswith("~") else text)
    if spec.path is not None and not (files.there(Path(spec.path)) and Path(spec.path).is_file()):
        found = "that is a folder" if spec.path and Path(spec.path).is_dir() else "there is no such file"
        raise SourceError(
            f"--weights {text!r}: {found}; expected imagenet, random:SEED or a file",
            hint="--weights random:0",
        )
    if spec.kind == "file" and models > 1:
        raise UsageError(f"--weights {text!r}: one file for {models} models, expected one model", hint="kexport list")
    if spec.path is not None:
        check_signature(Path(spec.path))
    return spec
