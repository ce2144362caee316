"""The graph of calls in a legacy configuration: who is called by whom, as ``[layer, call, tensor, keywords]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NESTED = ("Functional", "Model", "Sequential")


def convert(config: dict[str, Any], *, from_one: bool) -> None:
    """Rewrite the references of one model's configuration in place.

    ``from_one`` says that calls of nested models are counted from 1. Keras 3 counts those that layers read from 0,
    and those that are the model's outputs from 1, except for nested `Sequential` models.
    """
    nested = {plain(layer["config"]["name"]): layer for layer in config["layers"] if _is_counted(layer)}
    inner = dict.fromkeys(nested, 1) if from_one else {}
    shown = {name: 1 for name, layer in nested.items() if from_one and layer["class_name"] == "Sequential"}
    for layer in config["layers"]:
        if "inbound_nodes" in layer:
            layer["inbound_nodes"] = _references(layer["inbound_nodes"], inner)
    for key in ("input_layers", "output_layers"):
        config[key] = _single(_references(config[key], shown))


def _is_counted(layer: Any) -> bool:
    """Whether Keras 2 gave this layer a call of its own: a nested model that begins with an input layer."""
    if not isinstance(layer, dict) or layer.get("class_name") not in _NESTED:
        return False
    layers = layer.get("config", {}).get("layers") or [{}]
    return bool(layer["class_name"] != "Sequential" or layers[0].get("class_name") == "InputLayer")


def _single(references: Any) -> Any:
    """``[[name, 0, 0]]`` is ``[name, 0, 0]``: a model with one input takes one tensor, not a list of one."""
    alone = isinstance(references, list) and len(references) == 1 and isinstance(references[0], list)
    return references[0] if alone else references


def _references(value: Any, offsets: Mapping[str, int]) -> Any:
    """References wherever they stand, with plain names and calls counted anew."""
    if isinstance(value, list):
        inner = [_references(item, offsets) for item in value]
        if len(value) >= 3 and isinstance(value[0], str) and all(type(item) is int for item in value[1:3]):
            inner[0] = plain(value[0])
            inner[1] = value[1] - offsets.get(inner[0], 0)
        return inner
    if isinstance(value, dict):
        return {key: _references(item, offsets) for key, item in value.items()}
    return value


def plain(name: str) -> str:
    """A name as Keras 3 allows it."""
    return name.replace("/", "_")
