"""Step: what the user named becomes a built `keras.Model` with weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kexport.errors import UnsupportedError, UsageError
from kexport.options import fetched
from kexport.records import WeightsFile
from kexport.sources import catalog, loading, prepared
from kexport.sources.adapt import precision, shapes, taps
from kexport.sources.answered import Reference
from kexport.sources.backend import load_keras
from kexport.sources.catalog import Application
from kexport.sources.loading import served
from kexport.sources.loading.served import Served
from kexport.sources.weights import file as weights_file
from kexport.sources.weights import finalize, imagenet, random
from kexport.sources.weights.initial import initial_values
from kexport.specs import ModelSpec

SERVED = "a SavedModel: the artifact was made from TensorFlow's graph, by another engine"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model, and what was changed on the way to it, for the record; ``answered`` is what Keras said on the way."""

    model: Any
    notes: tuple[str, ...] = ()
    weights_file: WeightsFile | None = None
    answered: Reference | None = None


def build(spec: ModelSpec) -> Any:
    """The model of ``spec`` alone; see `make`."""
    return make(spec).model


def make(spec: ModelSpec) -> Built:
    """The model of ``spec``, with its weights: float32, of the asked size, ending at the asked layers.

    Raises UsageError for options that the application does not take and for layers that are not there, SourceError
    for a model or weight file that is missing, damaged, hostile or of another model, DownloadError where ImageNet
    weights cannot be fetched.
    """
    if _is_folder(spec):
        return Built(model=_served(spec), notes=(SERVED,))
    if not spec.application:
        return _finished(_own(spec), spec)
    raw = _application(spec)
    found = replace(_finished(raw.model, spec), weights_file=raw.weights_file)
    return replace(found, answered=raw.answered) if found.model is raw.model else found


def _is_folder(spec: ModelSpec) -> bool:
    return spec.file is not None and spec.path.is_dir()


def _served(spec: ModelSpec) -> Served:
    """A SavedModel. It has no layers, so that none can be asked for."""
    if spec.layers:
        raise UsageError(
            f"--layer {spec.layers[0]}: {spec.source} is a SavedModel, which has no layers to end at",
            hint="save the model with Keras: model.save('model.keras')",
        )
    with fetched.called(str(spec.file)):
        return served.opened(spec.path, trust=spec.trust, shape=spec.input_shape)


def adopt(model: Any, spec: ModelSpec) -> Built:
    """A model of the program as `make` gives one, itself where it can be; `live.untouched` puts its name back."""
    return _finished(model, spec)


def skeleton(spec: ModelSpec) -> Any:
    """The model of ``spec`` as far as its layers go: an application has no weights, taps are not applied."""
    if _is_folder(spec):
        raise UnsupportedError(f"{spec.source} is a SavedModel: it has no layers to list", hint="model.save('x.keras')")
    if not spec.application:
        return _finished(_own(spec), replace(spec, layers=())).model
    application = catalog.application(spec.application)
    check_options(spec, application)
    return _construct(spec, application, None)


def rebuild(spec: ModelSpec, weights: Path) -> Any:
    """The model that `make` built before, with the weights that `prepared.save_weights` has kept since."""
    if _is_folder(spec):
        return _served(spec)
    name = spec.application
    raw = _construct(spec, catalog.application(name), None) if name else _own(spec)
    model = _finished(raw, spec).model
    prepared.assign_weights(model, weights)
    finalize(model)
    return model


def _application(spec: ModelSpec) -> Built:
    """The model of an application, with the file of its weights where that was downloaded."""
    application = catalog.application(spec.application)
    check_options(spec, application)
    if spec.weights.kind == "file":
        weights_file.check_exists(spec)
    if spec.weights.kind == "imagenet":
        model, downloaded = imagenet.build(lambda weights: _construct(spec, application, weights), spec)
        return Built(model=model, weights_file=downloaded)
    model = _construct(spec, application, None)
    if spec.weights.kind == "file":
        weights_file.load(model, spec)
        return Built(model=model)
    low, high = catalog.input_range(application)
    answered = random.randomize(model, seed=spec.weights.seed or 0, low=low, high=high)
    return Built(model=model, answered=answered)


def _own(spec: ModelSpec) -> Any:
    """The model of a file or of a factory."""
    load_keras()
    if spec.file is not None:
        with fetched.called(spec.file):
            return loading.load(spec.path, trust=spec.trust)
    if spec.weights.kind == "file":
        weights_file.check_exists(spec)
    model = loading.factory.call(str(spec.factory))
    if spec.weights.kind == "file":
        weights_file.load(model, spec)
    return model


def _finished(model: Any, spec: ModelSpec) -> Built:
    model, notes = precision.as_float32(model)
    if not spec.application:
        model = shapes.with_inputs(model, spec.input_shape)
    if spec.layers:
        model = taps.tap(model, spec.layers)
    if not spec.application:  # TensorFlow takes few characters in a scope, and artifacts have the source's name
        model.name = re.sub(r"[^A-Za-z0-9_.-]", "_", model.name).lstrip("_-") or "model"
    return Built(model=model, notes=notes)


def check_options(spec: ModelSpec, application: Application) -> None:
    """Raise UsageError for an option that the application's constructor does not take."""
    if spec.alpha is not None and "alpha" not in application.options:
        raise UsageError(
            f"{application.name} has no width multiplier: --alpha {spec.alpha} does not apply",
            hint="--alpha is for MobileNet, MobileNetV2 and MobileNetV3",
        )
    if spec.minimalistic and "minimalistic" not in application.options:
        raise UsageError(
            f"{application.name} has no minimalistic variant", hint="--minimalistic is for MobileNetV3Small and -Large"
        )
    if spec.weights.kind == "imagenet" and spec.include_top and spec.classes != 1000:
        raise UsageError(
            f"--classes {spec.classes} with ImageNet weights: their classifier has 1000 classes",
            hint="--weights random:0, --weights FILE, or --no-top",
        )
    _check_size(spec, application)


def _check_size(spec: ModelSpec, application: Application) -> None:
    if spec.input_shape is None:
        return
    height, width, channels = spec.input_shape
    smallest = application.smallest_size
    if min(height, width) < smallest:
        raise UsageError(
            f"--input-shape {height},{width},{channels}: {application.name} takes images of at least "
            f"{smallest}x{smallest} pixels",
            hint=f"--input-shape {application.default_size},{application.default_size},3",
        )


def options(spec: ModelSpec, application: Application) -> dict[str, Any]:
    """The keyword arguments of the application's constructor, weights left out."""
    size = application.default_size
    chosen: dict[str, Any] = {
        "input_shape": spec.input_shape or (size, size, 3),
        "include_top": spec.include_top,
        "pooling": spec.pooling,
    }
    if spec.include_top:
        chosen["classes"] = spec.classes
    if spec.alpha is not None:
        chosen["alpha"] = spec.alpha
    if spec.minimalistic:
        chosen["minimalistic"] = True
    return chosen


def _construct(spec: ModelSpec, application: Application, weights: str | None) -> Any:
    keras = load_keras()
    keras.utils.set_random_seed(spec.weights.seed or 0)
    constructor = getattr(keras.applications, application.name)
    try:
        with initial_values(zeros=True):
            return constructor(weights=weights, **options(spec, application))
    except ValueError as error:
        raise UsageError(
            f"Keras refuses {application.name} with {_told(options(spec, application))}: {error}",
            hint=f"kexport list models --json shows what {application.name} takes",
        ) from error


def _told(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in chosen.items() if value is not None)
