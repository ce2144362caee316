"""Mixed precision: a model whose layers compute in float16 or bfloat16, as the same model in float32.

Mixed precision is a means of training: its variables are float32, and rounding between layers is an accident of the
machine, not part of what was learned. Artifacts are made from the float32 model, and say so; ``--schemes float16``
makes a float16 artifact of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kexport.errors import SourceError
from kexport.sources.weights import finalize

_HALVES = ("float16", "bfloat16")
_POLICIES = ("mixed_float16", "mixed_bfloat16", *_HALVES)


def as_float32(model: Any, custom: Mapping[str, Any] | None = None) -> tuple[Any, tuple[str, ...]]:
    """``model`` itself, or where layers compute in halves the same model in float32 with a note that says so.

    Raises SourceError where Keras cannot make it again from its configuration.
    """
    policies = _policies(model)
    if not policies:
        return model, ()
    import keras

    described = _rewritten(keras.saving.serialize_keras_object(model))
    described.pop("compile_config", None)
    try:
        fresh = keras.saving.deserialize_keras_object(
            described, custom_objects=_classes(model, custom), safe_mode=False
        )
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"model {model.name!r} computes in {', '.join(policies)}, and cannot be built again in float32: {error}",
            hint='build it under keras.mixed_precision.set_global_policy("float32")',
        ) from error
    fresh.set_weights([np.asarray(weight).astype("float32") for weight in model.weights])
    finalize(fresh)
    return fresh, (f"the model computes in {', '.join(policies)}; it is exported in float32, with float32 weights",)


def _policies(model: Any) -> list[str]:
    layers = list(model._flatten_layers())  # noqa: SLF001 - enters nested models
    names = {layer.dtype_policy.name for layer in layers if getattr(layer, "compute_dtype", None) in _HALVES}
    return sorted(names)


def _classes(model: Any, custom: Mapping[str, Any] | None) -> dict[str, Any]:
    """Classes outside Keras that the live model has already: they need not be registered to be built again."""
    kinds = {type(layer) for layer in model._flatten_layers()}  # noqa: SLF001
    own = {kind.__name__: kind for kind in kinds if not kind.__module__.startswith("keras.")}
    return {**own, **(custom or {})}


def _rewritten(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy" and value.get("config", {}).get("name") in _POLICIES:
            return {**value, "config": {**value["config"], "name": "float32"}}
        return {key: _rewritten(item) for key, item in value.items()} | _plain_dtype(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_rewritten(item) for item in value)
    return value


def _plain_dtype(value: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": "float32"} if value.get("dtype") in _POLICIES else {}
