"""The configuration of a saved model: JSON in which every object names its class. Code is found before it runs.

Classes and functions of Keras's own layers, operations, initialisers and the like may be named; a Lambda, a layer
that wraps a foreign program, and everything outside Keras are code, and need the user's trust.
"""

from __future__ import annotations

import builtins
import importlib
import json
from collections.abc import Iterator
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import optimization

CODE = {
    "Lambda": "a Lambda, which holds Python code",
    "__lambda__": "a Python lambda",
    "TFSMLayer": "a TFSMLayer, which runs a SavedModel",
    "TorchModuleWrapper": "a TorchModuleWrapper, which unpickles a PyTorch module",
    "JaxLayer": "a JaxLayer, which runs JAX code",
    "FlaxLayer": "a FlaxLayer, which runs JAX code",
}
NEVER = {"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200
MAX_VALUES = 1_000_000
MAX_LAYERS = 5_000  # five times the layers of the largest application; calls of layers are counted apart, alike
MAX_IN_A_ROW = 500  # Keras builds a Sequential again for each of its layers
_CLASS_PARTS = {
    "activations", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses", "metrics", "models",
    "ops", "optimizers", "quantizers", "random", "regularizers", "trainers",
}  # fmt: skip
_FUNCTION_PARTS = {"activations", "constraints", "initializers", "losses", "metrics", "ops", "random", "regularizers"}
_SHARED = {"abs", "all", "any", "divmod", "max", "min", "pow", "round", "slice", "sum"}  # of Python and `keras.ops`
_OF_APPLICATIONS = {"LayerScale", "PreStem", "preprocess_input"}
_SAVE_HINT = 'save it again: model.save("model.keras")'
_SCRIPT_HINT = "a class of a script or notebook: kexport.export(model) there, or define it in a module"
_TRUST_HINT = "--trust loads it and runs that code: only for files whose origin you know"
_NEVER_HINT = "export the model without that layer"


def parse(text: str | bytes, *, told: str) -> dict[str, Any]:
    """The configuration in ``text``, without what only training needs (``compile_config``, at any depth).

    Raises SourceError where it is not the JSON of one Keras object, and where it is larger or deeper, or has more
    layers, than a network's: building it would take the machine's time or memory.
    """
    if len(text) > MAX_BYTES:
        raise SourceError(
            f"{told}: its configuration has {len(text)} bytes, expected at most {MAX_BYTES}", hint=_SAVE_HINT
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{told}: its configuration is not JSON: {error}", hint=_SAVE_HINT) from error
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str) or "config" not in value:
        raise SourceError(f"{told}: its configuration is not one of a Keras model", hint=_SAVE_HINT)
    _check_extent(value, told)
    return value


def _check_extent(config: dict[str, Any], told: str) -> None:
    values = 0
    counts = dict.fromkeys(("layers", "inbound_nodes"), 0)
    pending: list[tuple[Any, int]] = [(config, 0)]
    while pending:
        value, depth = pending.pop()
        values += 1
        if depth > MAX_DEPTH:
            raise SourceError(f"{told}: its configuration is nested more than {MAX_DEPTH} deep", hint=_SAVE_HINT)
        if isinstance(value, dict):
            value.pop("compile_config", None)
            _count(value, counts, told)
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        if values > MAX_VALUES:
            raise SourceError(f"{told}: its configuration has more than {MAX_VALUES} values", hint=_SAVE_HINT)


def _count(value: dict[str, Any], counts: dict[str, int], told: str) -> None:
    for key, before in counts.items():
        found = value.get(key)
        counts[key] = before + (len(found) if isinstance(found, list) else 0)
        if counts[key] > MAX_LAYERS:
            what = "layers" if key == "layers" else "calls of layers"
            raise SourceError(f"{told}: its configuration has more than {MAX_LAYERS} {what}", hint=_SAVE_HINT)
    inner = value.get("config") if value.get("class_name") == "Sequential" else None
    row = inner.get("layers") if isinstance(inner, dict) else inner
    if isinstance(row, list) and len(row) > MAX_IN_A_ROW:
        raise SourceError(
            f"{told}: a Sequential has {len(row)} layers, expected at most {MAX_IN_A_ROW}",
            hint="build it with keras.Model(inputs, outputs), which has no such limit below 5000 layers",
        )


def check(config: dict[str, Any], *, told: str, trust: bool) -> dict[str, Any]:
    """Custom classes by the names under which the configuration knows them; none without ``trust``.

    Raises SourceError for code that is not trusted, naming the layer and its class, for code that cannot be had
    (a custom class whose module does not import), and for what is never loaded, trusted or not: layers that run a
    foreign program, and functions of Keras that are no part of a network.
    """
    custom: dict[str, Any] = {}
    for value, layer in _objects(config):
        optimization.refuse(value, layer, told=told)
        if not trust and _names_a_file(value["config"]):
            raise SourceError(
                f"{told}: layer {layer!r} names a file of this machine as its vocabulary", hint=_TRUST_HINT
            )
        places = list(_paths(value))
        foreign = False
        for module, name in places:
            what, never = _judge(module, name)
            if what and (never or not trust):
                place = f"layer {layer!r} is" if layer else "it holds"
                raise SourceError(f"{told}: {place} {what}", hint=_NEVER_HINT if never else _TRUST_HINT)
            foreign = foreign or (what is not None and name not in CODE)
        if foreign:
            custom.update(_imported(*places[0], value, told))
    return custom


def modules(config: dict[str, Any]) -> frozenset[str]:
    """The modules of the classes that are none of Keras's own: what `check` imports where code is trusted."""
    places = ((module, name) for value, _ in _objects(config) for module, name in _paths(value))
    return frozenset(module for module, name in places if module and name not in CODE and _judge(module, name)[0])


def _objects(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object with a class, and the layer that it is or is in."""
    pending: list[tuple[Any, str]] = [(config, "")]
    while pending:
        value, layer = pending.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) and "config" in value:
                inner = value.get("config")
                named = inner.get("name") if isinstance(inner, dict) else None
                layer = named if isinstance(named, str) else layer
                yield value, layer
            pending += [(item, layer) for item in value.values()]
        elif isinstance(value, list):
            pending += [(item, layer) for item in value]


def _names_a_file(inner: Any) -> bool:
    """Whether a lookup layer's words are not in the configuration, but where it says (CVE-2025-12058)."""
    return isinstance(inner, dict) and any(
        isinstance(inner.get(key), str | dict) for key in ("vocabulary", "idf_weights")
    )


def _paths(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every (module, name) under which an object may be looked up; names with dots are taken apart.

    Keras joins both and walks the dots, so that ``layers.TFSMLayer`` of ``keras`` is `keras.layers.TFSMLayer`.
    """
    kind = value["class_name"]
    name = {"function": str(value["config"]), "__typespec__": str(value.get("spec_name"))}.get(kind, kind)
    module, _, leaf = ".".join(part for part in (str(value.get("module") or ""), name) if part).rpartition(".")
    yield module, leaf
    registered = value.get("registered_name")
    if isinstance(registered, str) and registered != name:
        package, mark, named = registered.rpartition(">")
        leaf = named.rpartition(".")[2]
        if leaf in CODE or (mark and package != "keras"):
            yield "", leaf if leaf in CODE else registered


def _judge(module: str, name: str) -> tuple[str | None, bool]:
    """What an object is if it is code or none of Keras's own, and whether trust does not help."""
    if name in CODE:
        return CODE[name], name in NEVER
    package, mark, _ = name.rpartition(">")
    ours = _in_keras(module, name) if module else not mark or package.lower() == "keras"
    if ours:
        return None, False
    keras_function = module.split(".", maxsplit=1)[0] in ("keras", "tf_keras", "builtins") and _is_function(name)
    return f"a {f'{module}.' if module else ''}{name}, which is no class of Keras", keras_function


def _in_keras(module: str, name: str) -> bool:
    """Whether that is a class or function of networks in Keras; what reads files or downloads is not."""
    if module == "builtins":
        return name in _SHARED or not hasattr(builtins, name)  # Keras's own functions stand there by name
    top, *inner = [part for part in module.removeprefix("tf_").split(".") if part != "src"]
    if top != "keras":
        return False
    if not inner:
        return not _is_function(name)
    if inner[0] == "applications":
        return name in _OF_APPLICATIONS
    return inner[0] in (_FUNCTION_PARTS if _is_function(name) else _CLASS_PARTS)


def _is_function(name: str) -> bool:
    return not name[:1].isupper()


def _imported(module: str, name: str, value: dict[str, Any], told: str) -> dict[str, Any]:
    if not module:
        raise SourceError(f"{told}: its class {name} has no module to import it from", hint=_SCRIPT_HINT)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SourceError(
            f"{told}: its class {f'{module}.' if module else ''}{name} cannot be imported: {error}",
            hint=_SCRIPT_HINT
            if module == "__main__"
            else "run kexport where that module can be imported: PYTHONPATH=...",
        ) from error
    registered = value.get("registered_name")
    return dict.fromkeys({name, registered if isinstance(registered, str) else name}, found)
