"""Keras's backend, which computes its layers: the one that the user chose, else the first that is installed.

Left alone Keras takes TensorFlow, installed or not. Here a choice is the variable ``KERAS_BACKEND``, or a file
``keras.json`` that names another one than TensorFlow: Keras itself writes that file, with its default in it, when it is
first imported. Only `load_keras` imports Keras, and with it a backend.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kexport import machine
from kexport.errors import MissingDependencyError

VARIABLE = "KERAS_BACKEND"
TENSORFLOW = "tensorflow"
TAKEN = (TENSORFLOW, "jax", "openvino")
"""Those that are taken without having been chosen, in this order: what is measured exports with them."""
LAZY = ("openvino",)
"""Backends whose tensors are graphs of all that they were made of, computed anew whenever one is looked at."""
DISTRIBUTIONS = {TENSORFLOW: (TENSORFLOW, "tensorflow-cpu"), "jax": ("jax", "jaxlib"), "openvino": ("openvino",)}
BESIDE = {"openvino": ("scipy",)}
"""What Keras's own code for a backend imports beside it."""
INSTALL = "pip install 'kexport[cpu]'"
EITHER = f"{INSTALL}, or 'kexport[light]', which is without TensorFlow"


def installed(module: str) -> bool:
    """Whether the package can be imported, as far as its finder says; a mere folder of that name is none."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # a finder that refuses it, or a module that was set to None
        return False
    return found is not None and found.origin is not None


def usable(name: str) -> bool:
    """Whether Keras can compute with that backend here."""
    return all(map(installed, (name, *BESIDE.get(name, ()))))


def lacking(name: str) -> str:
    """What a backend that is not `usable` lacks, in words."""
    return f"which needs {' '.join(BESIDE[name])}" if installed(name) else "which is not installed"


def chosen() -> str:
    """The backend that Keras computes with in this process, or would if it were imported now."""
    return _running() or _asked() or next((name for name in TAKEN if usable(name)), TENSORFLOW)


def environment() -> dict[str, str]:
    """What a process needs in its environment so that its Keras takes the `chosen` one; nothing where it does."""
    name = chosen()
    return {} if name == (_asked() or TENSORFLOW) else {VARIABLE: name}


def on(name: str) -> dict[str, str]:
    """The environment of a process whose Keras computes with that backend."""
    return {VARIABLE: name}


def beside(names: Iterable[str]) -> tuple[str, ...]:
    """Each of these once, without the `chosen` one."""
    return tuple(dict.fromkeys(name for name in names if name != chosen()))


def require(names: Iterable[str]) -> None:
    """Raise MissingDependencyError for a backend that is not installed."""
    for name in names:
        if not usable(name):
            packages = " ".join(each for each in (name, *BESIDE.get(name, ())) if not installed(each))
            raise MissingDependencyError(
                f"--reference {name}: Keras on {name} needs {packages}, which is absent", hint=f"pip install {packages}"
            )


def select() -> None:
    """Let the Keras that is imported next in this process take the `chosen` backend.

    Raises MissingDependencyError where that is not installed.
    """
    if _running():
        return
    name = chosen()
    if not usable(name):
        raise MissingDependencyError(_absent(name), hint=_hint(name))
    os.environ.update(environment())


def without_tensorflow(what: str) -> str:
    """Why ``what`` cannot be had from Keras here, in words; empty where TensorFlow is its backend."""
    if not installed(TENSORFLOW):
        return f"{what} needs TensorFlow, which is not installed"
    name = chosen()
    return "" if name == TENSORFLOW else f"{what} needs Keras on TensorFlow; here it computes with {name}"


def require_tensorflow(what: str) -> None:
    """Raise MissingDependencyError where TensorFlow is not there for ``what``, whatever Keras computes with."""
    if not installed(TENSORFLOW):
        raise MissingDependencyError(f"{what} needs TensorFlow, which is not installed", hint=INSTALL)


def cure() -> str:
    """The command that gives Keras TensorFlow."""
    return take(TENSORFLOW) if installed(TENSORFLOW) else INSTALL


def take(name: str) -> str:
    """The command after which Keras takes the backend ``name``, whatever its file says."""
    return f"export {VARIABLE}={name}"


def versions() -> Mapping[str, str]:
    """What a reference is computed by: Keras and its backend, each with its version."""
    makers = ("keras", *DISTRIBUTIONS.get(chosen(), (chosen(),)))
    return {name: version for name, version in machine.versions().items() if name in makers}


def recorded(others: Iterable[str] = ()) -> dict[str, str]:
    """`machine.versions` without the backends that did not compute; ``others`` have, beside the `chosen` one."""
    asked = {name for other in others for name in DISTRIBUTIONS[other]}
    idle = {name for names in DISTRIBUTIONS.values() for name in names} - set(versions()) - asked
    return {name: version for name, version in machine.versions().items() if name not in idle}


def settled(value: Any) -> Any:
    """Tensors as numbers, so that a walk from layer to layer computes each layer once; as they are but on a lazy one.

    Without it what a walk over ``n`` layers looks at costs ``n * n / 2`` of them there.
    """
    if _running() not in LAZY:
        return value
    keras = load_keras()

    def one(each: Any) -> Any:
        if not keras.ops.is_tensor(each):
            return each
        made = keras.ops.convert_to_tensor(keras.ops.convert_to_numpy(each))
        return masked(made, settled(getattr(each, "_keras_mask", None)))

    return keras.tree.map_structure(one, value)


def masked(tensor: Any, mask: Any) -> Any:
    """The tensor with a mask, where there is one, as the layers behind read it."""
    if mask is not None:
        tensor._keras_mask = mask  # noqa: SLF001 - where Keras keeps it
    return tensor


def _running() -> str:
    """The backend of a Keras that is there already; it cannot be changed."""
    keras = sys.modules.get("keras")
    return str(keras.config.backend()) if keras is not None and hasattr(keras, "config") else ""


def _asked() -> str:
    return os.environ.get(VARIABLE, "") or _of_file()


def _of_file() -> str:
    """What ``keras.json`` names, where that is not Keras's own default."""
    home = os.path.expanduser("~")  # noqa: PTH111 - as Keras does; Path.home raises for a user without one
    place = Path(os.environ.get("KERAS_HOME") or Path(home, ".keras"))
    try:
        name = json.loads((place / "keras.json").read_text(encoding="utf-8")).get("backend", "")
    except (OSError, ValueError, AttributeError):  # none, or one that Keras does not read either
        return ""
    return name if isinstance(name, str) and name != TENSORFLOW else ""


def _absent(name: str) -> str:
    there = [other for other in DISTRIBUTIONS if usable(other)]
    if not _asked():
        return f"Keras has no backend: none of {', '.join(TAKEN)} is installed"
    whose = VARIABLE if os.environ.get(VARIABLE) else "keras.json"
    return f"Keras's backend is {name!r} ({whose}), {lacking(name)}; installed: {', '.join(there) or 'none'}"


def _hint(name: str) -> str:
    if installed(name):
        return f"pip install {' '.join(BESIDE[name])}"
    others = [other for other in TAKEN if usable(other)]
    return take(others[0]) if _asked() and others and name not in others else EITHER


def load_keras() -> Any:
    """The package `keras`, on the backend that is `chosen`.

    Raises MissingDependencyError with the command that installs what is absent.
    """
    try:
        if installed("keras"):
            select()
        return importlib.import_module("keras")
    except ImportError as error:
        raise MissingDependencyError(f"Keras is needed to build a model: {error}", hint=EITHER) from error
