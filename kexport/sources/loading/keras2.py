"""Legacy ``.h5`` models: written by Keras 2 and tf.keras, or by Keras 3 in the old format.

Keras 3 reads most of what Keras 2 wrote. What it stumbles over is rewritten here, each case exactly:

1. Arguments that the constructor of the class no longer takes: dropped where they say nothing (`obsolete`).
2. Layer names with ``/`` (DenseNet of Keras 2): ``/`` becomes ``_`` wherever the name stands.
3. Mixed precision as ``Policy``: becomes the policy's name.
4. Functions on tensors (``TFOpLambda``), as MobileNetV3 and ``preprocess_input`` made them: the `keras.ops` operations
   of the same meaning, where there are any (`tensor_operations`).
5. Calls of nested models, which Keras 2 counted from 1: from 0. A model's only input or output in a list: by itself.
6. A list of several axes, which Keras 3 would silently forget: refused.
7. ``hard_sigmoid``, which is another function today (`keras2_functions`).
8. States that a recurrent layer begins in: they stood among its inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import keras2_calls, keras2_functions, obsolete, tensor_operations
from kexport.sources.weights import finalize
from kexport.sources.weights.hdf5_file import legacy_layers

_WRAPPED = ("layer", "forward_layer", "backward_layer", "cell", "cells")
_MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras", "Model": "keras"}
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
_HINT = "kexport export package.module:factory, which builds the model with Keras 3 and loads its weights"


def converted(config: dict[str, Any], *, version: str, told: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """``config`` as Keras 3 reads it, and the custom objects that it needs for that. Raises SourceError.

    ``version`` is that of the Keras which wrote it; Keras 3 counts calls as it reads them.
    """
    config = copy.deepcopy(config)
    for layer in _layers(config):
        _convert(layer, told)
        if "input_layers" in layer.get("config", ()):
            keras2_calls.convert(layer["config"], from_one=not version.startswith("3"))
    for layer in _layers(config):
        tensor_operations.convert(layer, told)
        _name_modules(layer)
    return config, tensor_operations.custom_objects()


def build(config: dict[str, Any], custom: Mapping[str, Any], *, version: str, trust: bool) -> Any:
    """The model of a legacy configuration, which Keras ``version`` wrote, without its weights."""
    from keras.src.legacy.saving import saving_options, saving_utils
    from keras.src.saving.serialization_lib import SafeModeScope

    with saving_options.keras_option_scope(use_legacy_config=True), SafeModeScope(not trust):
        model = saving_utils.model_from_config(config, custom_objects=dict(custom))
    if not version.startswith("3"):
        keras2_functions.restore(model)
    return model


def load_weights(model: Any, file: Any, path: Path) -> None:
    """Give ``model`` the weights of the open ``file``, layer by layer as Keras 2 did: by position.

    Raises SourceError, naming the first layer, where number, shapes or the order of statistics do not agree.
    """
    stored = legacy_layers(file["model_weights"], path)
    layers = [layer for layer in model.layers if _variables(layer)]
    if len(layers) != len(stored):
        raise SourceError(
            f"model {path}: its configuration has {len(layers)} layers with weights, its weights are of {len(stored)}",
            hint=_HINT,
        )
    for layer, (name, datasets) in zip(layers, stored.items(), strict=True):
        _load_layer(layer, name, datasets, path)
    finalize(model)


def _load_layer(layer: Any, name: str, datasets: tuple[Any, ...], path: Path) -> None:
    variables = _variables(layer)
    ours, theirs = [tuple(v.shape) for v in variables], [tuple(d.shape) for d in datasets]
    if ours != theirs:
        raise SourceError(
            f"model {path}: layer {layer.name!r} has the shapes {_told(ours)}, its weights ({name}) {_told(theirs)}",
            hint=_HINT,
        )
    for variable, dataset in zip(variables, datasets, strict=True):
        stored = dataset.name.rpartition("/")[2].partition(":")[0]
        if {stored, variable.name} <= set(_STATISTICS) and stored != variable.name:
            raise SourceError(
                f"model {path}: layer {layer.name!r}: {dataset.name} stands where {variable.path} is expected",
                hint=_HINT,
            )
        variable.assign(dataset[()])


def _variables(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _told(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The configuration of a model and of every layer in it, nested ones too, outer ones first."""
    yield config
    inner = config.get("config")
    if isinstance(inner, dict):
        for key in ("layers", *_WRAPPED):
            found = inner.get(key)
            for layer in found if isinstance(found, list) else [found]:
                if isinstance(layer, dict) and "class_name" in layer:
                    yield from _layers(layer)


def _name_modules(layer: dict[str, Any]) -> None:
    """Layers in wrappers are read as Keras 3 stores them, with their module, which early Keras 2 did not write."""
    config = layer.get("config")
    inner = config if isinstance(config, dict) else {}
    for key in _WRAPPED:
        found = inner.get(key)
        for wrapped in found if isinstance(found, list) else [found]:
            if isinstance(wrapped, dict) and "class_name" in wrapped and "module" not in wrapped:
                wrapped |= {"module": _MODULES.get(wrapped["class_name"], "keras.layers"), "registered_name": None}


def _convert(layer: dict[str, Any], told: str) -> None:
    kind, config = layer["class_name"], layer.get("config")
    if not isinstance(config, dict):
        return
    obsolete.drop(layer, told)
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) > 1:
        raise SourceError(
            f"{told}: layer {config.get('name')!r} ({kind}) works over the axes {axis}, which Keras 3 does not read",
            hint=_HINT,
        )
    policy = config.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") == "Policy":
        config["dtype"] = policy.get("config", {}).get("name", "float32")
    for place in (layer, config):
        if isinstance(place.get("name"), str):
            place["name"] = keras2_calls.plain(place["name"])
