"""Step: what Keras says about a model: its facts, and its outputs on inputs that show something."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.records import Signature, SourceFacts, WeightsFile
from kexport.sources import final, labels, preprocessing, rows, stored
from kexport.sources.adapt.taps import flattened
from kexport.sources.keras_walk import input_names, output_names, packed
from kexport.sources.loading import factory, words
from kexport.sources.loading.served import Served
from kexport.sources.prepared import Reference
from kexport.sources.preprocessing import Feeding
from kexport.sources.stored import Recipe
from kexport.specs import ModelSpec


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
        source_sha256=files.digest(spec.path) if spec.file else "",
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


def compute(
    model: Any, given: Mapping[str, npt.NDArray[Any]], *, apart: bool = False, rounding: bool = True
) -> Reference:
    """Keras's outputs, the values before each last softmax or sigmoid, and samples of what layers give for a row.

    Layers run one after the other, for several rows at once as far as memory stays small, with ``rounding`` as in
    `with_rounding` where that is so. Where it is not known that rows are kept ``apart``, that is seen to. Raises
    SourceError where Keras itself cannot run the model; what fails here alone is not the user's mistake.
    """
    try:
        return _computed(model, given, apart=apart, rounding=rounding)
    except MemoryError:
        raise
    except (*factory.ERRORS, NameError):
        if not isinstance(model, Served):
            _require_runs(model, [array[:1] for array in given.values()])
        raise


def _require_runs(model: Any, values: Sequence[Any]) -> None:
    try:
        model(packed(model, values), training=False)
    except (*factory.ERRORS, NameError) as error:
        raise words.of_model(error) from error


def _computed(model: Any, given: Mapping[str, npt.NDArray[Any]], *, apart: bool, rounding: bool) -> Reference:
    count = rows.at_once(model, len(next(iter(given.values()))))
    known = apart or rounding
    found = rows.together(model, given, rows=count, rounding=rounding) if count > 1 and known else None
    if found is None or not (apart or rows.apart(model, found)):
        return rows.alone(model, given)
    return found


def with_rounding(model: Any, reference: Reference) -> Reference:
    """The reference with what Keras says of its first rows when every layer rounds otherwise (`rows.AGAIN`)."""
    if reference.again or isinstance(model, Served):
        return reference  # a SavedModel has no layers that could round otherwise
    again = rows.rounded(model, reference.inputs)
    logits = {name: again.logits[name] for name in reference.logits}
    return replace(reference, again=again.outputs, logits_again=logits)


def predicted(model: Any, values: Sequence[Any], *, output: str = "") -> Any:
    """What Keras itself predicts for a batch, the inputs in order: its only output, or the one of that name."""
    place = output_names(model).index(output) if output else 0
    if isinstance(model, Served):
        return list(model(*values).values())[place]
    return flattened(model.predict_on_batch(packed(model, values)))[place]


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
        array = np.ascontiguousarray(np.asarray(weight))
        digest.update(f"{index} {array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _options(spec: ModelSpec) -> dict[str, Any]:
    """Every option of the model by its name; None where it is as usual."""
    chosen = {**spec.model_options(), "classes": spec.classes, "include_top": spec.include_top}
    usual = {each.name: each.default for each in fields(ModelSpec)}
    told = {name: None if value == usual[name] else value for name, value in chosen.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
