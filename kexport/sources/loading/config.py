"""The configuration of a saved model: JSON in which every object names its class. Code is found before it runs.

Classes and functions of Keras's own layers, operations, initialisers and the like may be named; a Lambda, a layer
that wraps a foreign program, and everything outside Keras are code, and need the user's trust.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

from kexport.errors import SourceError

CODE = {
    "Lambda": "a Lambda, which holds Python code",
    "__lambda__": "a Python lambda",
    "TFSMLayer": "a TFSMLayer, which runs a SavedModel",
    "TorchModuleWrapper": "a TorchModuleWrapper, which unpickles a PyTorch module",
    "JaxLayer": "a JaxLayer, which runs JAX code",
    "FlaxLayer": "a FlaxLayer, which runs JAX code",
}
NEVER = {"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
MAX_DEPTH = 200
_KERAS_PARTS = {
    "activations", "applications", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses",
    "metrics", "models", "ops", "optimizers", "quantizers", "random", "regularizers", "trainers",
}  # fmt: skip
_SAVE_HINT = 'save it again: model.save("model.keras")'
_TRUST_HINT = "--trust loads it and runs that code: only for files whose origin you know"


def parse(text: str | bytes, *, told: str) -> dict[str, Any]:
    """The configuration in ``text``. Raises SourceError where it is not the JSON of one Keras object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{told}: its configuration is not JSON: {error}", hint=_SAVE_HINT) from error
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str) or "config" not in value:
        raise SourceError(f"{told}: its configuration is not one of a Keras model", hint=_SAVE_HINT)
    return value


def check(config: dict[str, Any], *, told: str, trust: bool) -> dict[str, Any]:
    """Custom classes by the names under which the configuration knows them; none without ``trust``.

    Raises SourceError for code that is not trusted, naming the layer and its class, for code that cannot be had
    (a custom class whose module does not import), and for layers that run a foreign program, trusted or not.
    """
    custom: dict[str, Any] = {}
    for value, layer in _objects(config, told):
        name = str(value["class_name"])
        if not trust and isinstance(value["config"], dict) and isinstance(value["config"].get("vocabulary"), str):
            raise SourceError(
                f"{told}: layer {layer!r} names a file of this machine as its vocabulary", hint=_TRUST_HINT
            )
        what = CODE.get(name) or _foreign(value)
        if what and (name in NEVER or not trust):
            place = f"layer {layer!r} is" if layer else "it holds"
            hint = "export the model without that layer" if name in NEVER else _TRUST_HINT
            raise SourceError(f"{told}: {place} {what}", hint=hint)
        if what and name not in CODE:
            custom.update(_imported(value, told))
    return custom


def _objects(config: dict[str, Any], told: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object with a class, and the layer that it is or is in; what only training needs is left out."""
    pending: list[tuple[Any, str, int]] = [(config, "", 0)]
    while pending:
        value, layer, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise SourceError(f"{told}: its configuration is nested more than {MAX_DEPTH} deep", hint=_SAVE_HINT)
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) and "config" in value:
                inner = value.get("config")
                named = inner.get("name") if isinstance(inner, dict) else None
                layer = named if isinstance(named, str) else layer
                yield value, layer
            pending += [(item, layer, depth + 1) for key, item in value.items() if key != "compile_config"]
        elif isinstance(value, list):
            pending += [(item, layer, depth + 1) for item in value]


def _foreign(value: dict[str, Any]) -> str | None:
    """What an object is if it is none of Keras's own; None if it is."""
    module, registered = value.get("module"), value.get("registered_name")
    name = value["config"] if value["class_name"] == "function" else value["class_name"]
    if module is not None and not _in_keras(module):
        return f"a {module}.{name}, which is no class of Keras"
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras>"):
        return f"a {registered}, which is no class of Keras"
    return None


def _in_keras(module: Any) -> bool:
    parts = str(module).removeprefix("tf_").split(".")
    if parts[0] == "builtins" and len(parts) == 1:
        return True
    inner = [part for part in parts[1:] if part != "src"]
    return parts[0] == "keras" and (len(parts) == 1 or (bool(inner) and inner[0] in _KERAS_PARTS))


def _imported(value: dict[str, Any], told: str) -> dict[str, Any]:
    module, name = value.get("module"), value["class_name"]
    name = value["config"] if name == "function" else name
    try:
        found = getattr(importlib.import_module(str(module)), str(name))
    except (ImportError, AttributeError, ValueError) as error:
        script = "a class of a script or notebook cannot: define it in a module"
        raise SourceError(
            f"{told}: its class {module}.{name} cannot be imported: {error}",
            hint=script if module == "__main__" else "run kexport where that module can be imported: PYTHONPATH=...",
        ) from error
    names = {str(name), str(value.get("registered_name") or name)}
    return dict.fromkeys(names, found)
