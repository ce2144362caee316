"""Input sizes of models of one's own: what is open is fixed by ``--input-shape``, what is fixed stays."""

from __future__ import annotations

from typing import Any

from kexport.errors import UnsupportedError, UsageError
from kexport.sources.keras_walk import functional

_HINT = "--input-shape 224,224,3"


def with_inputs(model: Any, shape: tuple[int, int, int] | None) -> Any:
    """``model`` with inputs of known rank, of ``shape`` where one is given.

    A model without a graph of layers becomes the only layer of one. Raises UsageError where ``shape`` contradicts the
    model, UnsupportedError for a model of whose inputs nothing is known.
    """
    if functional(model) is None:
        return _wrapped(model, shape or _built_shape(model))
    if shape is None:
        return model
    tensors = model.inputs
    stated = tuple(tensors[0].shape[1:])
    fits = len(stated) == 3 and all(axis in (None, wanted) for axis, wanted in zip(stated, shape, strict=True))
    if len(tensors) != 1 or not fits:
        told = ", ".join(str(tuple(tensor.shape[1:])) for tensor in tensors)
        raise UsageError(
            f"--input-shape {','.join(map(str, shape))}: the inputs of {model.name!r} are {told}",
            hint="--input-shape fixes the open sizes of a model with one image input",
        )
    return model if None not in stated else _wrapped(model, shape)


def _wrapped(model: Any, shape: tuple[int | None, ...] | None) -> Any:
    import keras

    if shape is None:
        raise UnsupportedError(
            f"model {model.name!r} is a {type(model).__name__} without a static graph of layers, and was never called: "
            "its inputs are unknown",
            hint=_HINT,
        )
    given = keras.Input(shape, name="input")
    return keras.Model(given, model(given, training=False), name=model.name)


def _built_shape(model: Any) -> tuple[int | None, ...] | None:
    """The shape, batch left out, that a model of an own class was built with."""
    config = model.get_build_config() if model.built else None
    shape = (config or {}).get("input_shape") or (config or {}).get("shapes_dict", {}).get("input_shape")
    return tuple(shape[1:]) if isinstance(shape, (list, tuple)) and len(shape) > 1 else None
