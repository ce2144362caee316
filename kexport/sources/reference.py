"""Step: what Keras says about a model: its facts, and its outputs on inputs that show something."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.records import Signature, SourceFacts, WeightsFile
from kexport.sources import final, labels, preprocessing, rounding, stored
from kexport.sources.adapt.taps import flattened
from kexport.sources.keras_walk import input_names, output_names, packed, run
from kexport.sources.layer_samples import Taps
from kexport.sources.loading import factory, words
from kexport.sources.loading.served import Served
from kexport.sources.prepared import Reference
from kexport.sources.preprocessing import Feeding
from kexport.sources.stored import Recipe
from kexport.specs import ModelSpec

AGAIN = 2
"""Rows that are computed a second time, together."""


def facts(
    model: Any, spec: ModelSpec, *, notes: tuple[str, ...] = (), weights_file: WeightsFile | None = None
) -> SourceFacts:
    """What the records say about the source; the digest covers every weight's place, shape and bytes.

    Raises UsageError for labels that are not those of the model's classes, and for an input with an open size.
    """
    inputs, outputs = signatures(model)
    fed = preprocessing.feedings(model, spec)
    last = final.activations(model)
    found = labels.of(spec, outputs, activations=last)
    return SourceFacts(
        application=spec.application,
        weights=str(spec.weights),
        weights_sha256=weights_digest(model),
        parameters=int(model.count_params()),
        inputs=inputs,
        outputs=outputs,
        ends_in_softmax=len(last) == 1 and final.SOFTMAX in last.values(),
        activations={name: kind for name, kind in last.items() if kind},
        preprocessing=preprocessing.preprocessing(fed, inputs, spec),
        options={name: value for name, value in _options(spec).items() if value is not None},
        kind=spec.kind,
        source="" if spec.application else spec.source,
        source_sha256=files.digest(Path(spec.file)) if spec.file else "",
        input_range=(fed[0].low, fed[0].high),
        reference_inputs={feeding.name: str(feeding) for feeding in fed},
        labels=found.names,
        labels_from=found.origin,
        notes=notes,
        weights_file=weights_file,
    )


def seeded(model: Any, spec: ModelSpec, inputs: tuple[Signature, ...]) -> dict[str, npt.NDArray[Any]]:
    """Seeded inputs in the range that the model expects (`preprocessing`).

    The images of an application are those on which random weights were made, so that activations are in range.
    """
    fed: tuple[Feeding, ...] = preprocessing.feedings(model, spec)
    return preprocessing.reference_inputs(fed, inputs, seed=spec.weights.seed or 0)


def recipe(model: Any, spec: ModelSpec, inputs: tuple[Signature, ...]) -> Recipe:
    """How `seeded` inputs are made again without the model."""
    return stored.recipe(preprocessing.feedings(model, spec), inputs, seed=spec.weights.seed or 0)


def compute(model: Any, given: Mapping[str, npt.NDArray[Any]]) -> Reference:
    """Keras's outputs, and samples of what its layers give for the first row.

    Layers run one after the other, and one row at a time, so that memory stays small.
    """
    taps = Taps(model, _infer)
    return Reference(inputs=given, outputs=_rows(model, given, taps), layers=taps.samples)


def with_logits(model: Any, reference: Reference, hidden: Collection[str]) -> Reference:
    """The reference with the values before the last softmax or sigmoid of the ``hidden`` outputs."""
    finals = final.operations(model, hidden)
    if not finals:
        return reference
    found = _rows(model, reference.inputs, final.without(finals, _infer))
    return replace(reference, logits={name: found[name] for name in hidden})


def with_rounding(model: Any, reference: Reference) -> Reference:
    """The reference with what Keras says of its first `AGAIN` rows when every layer rounds otherwise."""
    given = {name: array[:AGAIN] for name, array in reference.inputs.items()}
    if isinstance(model, Served):
        return reference  # it has no layers that could round otherwise
    names, every = output_names(model), final.operations(model, output_names(model))
    again = _named(names, run(model, list(given.values()), rounding.rounded(every, seed=0)))
    finals = final.operations(model, reference.logits)
    before = run(model, list(given.values()), rounding.rounded_before(finals, seed=0)) if finals else []
    logits = _named(names, before) if finals else {}
    return replace(reference, again=again, logits_again={name: logits[name] for name in reference.logits})


def predicted(model: Any, values: Sequence[Any], *, output: str = "") -> Any:
    """What Keras itself predicts for a batch, the inputs in order: its only output, or the one of that name."""
    place = output_names(model).index(output) if output else 0
    if isinstance(model, Served):
        return list(model(*values).values())[place]
    return flattened(model.predict_on_batch(packed(model, values)))[place]


def _rows(model: Any, given: Mapping[str, npt.NDArray[Any]], call: Any) -> dict[str, npt.NDArray[Any]]:
    count = len(next(iter(given.values())))
    singles = ([array[index : index + 1] for array in given.values()] for index in range(count))
    if isinstance(model, Served):
        rows = [list(model(*values).values()) for values in singles]
    else:
        rows = [run(model, values, call) for values in singles]
    return {
        name: np.concatenate([np.asarray(row[place]) for row in rows]) for place, name in enumerate(output_names(model))
    }


def _named(names: Sequence[str], values: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _infer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """What a layer gives. Raises SourceError where a layer of the user's own, or a Lambda, raises."""
    try:
        return layer(*args, **kwargs)
    except (*factory.ERRORS, NameError) as error:
        kind = type(layer)
        if kind.__module__.startswith("keras.") and kind.__name__ != "Lambda":
            raise
        raise words.of_layer(error, layer=layer.name, kind=kind.__name__) from error


def signatures(model: Any) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """Public names and shapes of inputs and outputs, as every artifact has them; the batch is ``None``."""
    inputs = zip(input_names(model), model.inputs, strict=True)
    outputs = zip(output_names(model), model.outputs, strict=True)
    return tuple(_signature(*pair) for pair in inputs), tuple(_signature(*pair) for pair in outputs)


def _signature(name: str, tensor: Any) -> Signature:
    return Signature(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype))


def weights_digest(model: Any) -> str:
    """The sha256 over every weight in order: its place, its shape, its dtype and its bytes."""
    digest = hashlib.sha256()
    for index, weight in enumerate(model.weights):
        array = np.ascontiguousarray(weight.numpy())
        digest.update(f"{index} {array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _options(spec: ModelSpec) -> dict[str, Any]:
    """Every option of the model by its name; None where it is as usual."""
    chosen = {**spec.model_options(), "classes": spec.classes, "include_top": spec.include_top}
    usual = {each.name: each.default for each in fields(ModelSpec)}
    told = {name: None if value == usual[name] else value for name, value in chosen.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
