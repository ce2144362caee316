"""Step: what Keras says about a model: its facts, and its outputs on inputs that show something."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from kexport import catalog
from kexport.images import check_count, seeded_images
from kexport.keras_walk import functional, run
from kexport.prepared import Reference
from kexport.records import Signature, SourceFacts
from kexport.specs import ModelSpec


def facts(model: Any, spec: ModelSpec) -> SourceFacts:
    """What the records say about the source; the digest covers every weight's place, shape and bytes."""
    inputs, outputs = signatures(model)
    height, width, channels = _image_shape(inputs[0])
    application = catalog.application(spec.application)
    return SourceFacts(
        application=spec.application,
        weights=str(spec.weights),
        weights_sha256=weights_digest(model),
        parameters=int(model.count_params()),
        inputs=inputs,
        outputs=outputs,
        ends_in_softmax=ends_in_softmax(model),
        preprocessing=catalog.preprocessing(application, (height, width), channels=channels),
        options={name: value for name, value in _options(spec).items() if value is not None},
    )


def compute(model: Any, spec: ModelSpec, inputs: tuple[Signature, ...]) -> Reference:
    """Keras's outputs on seeded images in the application's own input range.

    The images are those on which random weights were made, so that activations are in range. Layers run
    one after the other, and one image at a time, so that memory stays small.
    """
    low, high = catalog.input_range(catalog.application(spec.application))
    shape = _image_shape(inputs[0])
    images = seeded_images(check_count(shape), shape, seed=spec.weights.seed or 0, low=low, high=high)
    rows = [run(model, [images[index : index + 1]], _infer) for index in range(len(images))]
    names = output_names(model)
    outputs = {name: np.concatenate([np.asarray(row[place]) for row in rows]) for place, name in enumerate(names)}
    return Reference(inputs={inputs[0].name: images}, outputs=outputs)


def _infer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def _image_shape(spec: Signature) -> tuple[int, int, int]:
    height, width, channels = (axis or 0 for axis in spec.shape[1:])
    return height, width, channels


def signatures(model: Any) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """Public names and shapes of inputs and outputs, as every artifact has them; the batch is ``None``."""
    tensors = model.inputs
    input_names = ["input"] if len(tensors) == 1 else [tensor.name for tensor in tensors]
    inputs = tuple(_signature(name, tensor) for name, tensor in zip(input_names, tensors, strict=True))
    pairs = zip(output_names(model), model.outputs, strict=True)
    return inputs, tuple(_signature(name, tensor) for name, tensor in pairs)


def output_names(model: Any) -> list[str]:
    """``output``, or the names that Keras gives where there are several."""
    return ["output"] if len(model.outputs) == 1 else list(model.output_names)


def _signature(name: str, tensor: Any) -> Signature:
    return Signature(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype))


def ends_in_softmax(model: Any) -> bool:
    """Whether the model's only output is what a softmax makes."""
    function = functional(model)
    if function is None or len(function.outputs) != 1:
        return False
    history = getattr(function.outputs[0], "_keras_history", None)
    last = getattr(history, "operation", None)
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    return bool(activation == "softmax")


def weights_digest(model: Any) -> str:
    """The sha256 over every weight in order: its place, its shape, its dtype and its bytes."""
    digest = hashlib.sha256()
    for index, weight in enumerate(model.weights):
        array = np.ascontiguousarray(weight.numpy())
        digest.update(f"{index} {array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _options(spec: ModelSpec) -> dict[str, Any]:
    return {
        "alpha": spec.alpha,
        "minimalistic": spec.minimalistic or None,
        "input_shape": list(spec.input_shape) if spec.input_shape else None,
        "classes": spec.classes if spec.classes != 1000 else None,
        "include_top": None if spec.include_top else False,
        "pooling": spec.pooling,
    }
