"""Keras layers to operations: small functions, one per layer class, found by their presence.

A lowering is a function that is registered for one class::

    @lowers("layer", "ReLU")
    def relu(build: Builder, layer: Any, value: Value) -> Value: ...

It gets the layer and its call arguments with every Keras tensor replaced by a `Value`, adds nodes
through `Builder.emit`, and returns the value of the layer's output. ``kind`` is ``layer`` for
`keras.layers.Layer` and ``operation`` for a bare operation node of `keras.ops`: the two share class
names (``Add`` is both), and an operation node may hold constants among its arguments.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError
from kexport.graph import Node
from kexport.operations import Operation, Shape


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the graph under construction. ``shape`` includes the batch axis."""

    name: str
    shape: Shape


Lowering = Callable[..., Any]
Function = TypeVar("Function", bound=Lowering)
_REGISTRY: dict[tuple[str, str], Lowering] = {}


def lowers(kind: str, *classes: str) -> Callable[[Function], Function]:
    """Register the decorated function for the named Keras classes of one kind."""

    def register(function: Function) -> Function:
        for name in classes:
            if (kind, name) in _REGISTRY:
                raise ValueError(f"two lowerings for {kind} {name}")
            _REGISTRY[kind, name] = function
        return function

    return register


@cache
def _load_all() -> None:
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        importlib.import_module(f"{__name__}.{module.name}")


def lowering_of(operation: Any) -> Lowering:
    """The lowering of a Keras layer or operation. Raises UnsupportedError with its name and class."""
    import keras

    _load_all()
    kind = "layer" if isinstance(operation, keras.layers.Layer) else "operation"
    cls = type(operation)
    found = _REGISTRY.get((kind, cls.__name__)) if cls.__module__.startswith("keras.") else None
    if found is None:
        raise UnsupportedError(
            f"{kind} {operation.name!r} is a {cls.__module__}.{cls.__name__}, which the native graph does not know"
        )
    return found


@dataclass(kw_only=True)
class Builder:
    """Collects nodes while a model is walked; the only mutable value on the way to a graph."""

    nodes: list[Node] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    layer: str = ""

    def emit(self, operation: Operation, *inputs: Value, part: str = "") -> Value:
        """Add a node for the current layer; ``part`` names a step inside the layer, the last has none."""
        name = self._unique(f"{self.layer}/{part}" if part else self.layer)
        shape = operation.infer(*(value.shape for value in inputs))
        names = tuple(value.name for value in inputs)
        self.nodes.append(Node(name=name, operation=operation, inputs=names, shape=shape, layers=(self.layer,)))
        return Value(name=name, shape=shape)

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.taken:
            candidate, count = f"{name}_{count}", count + 1
        self.taken.add(candidate)
        return candidate


def weights(variable: Any) -> npt.NDArray[np.float32]:
    """A Keras variable or tensor as a float32 array, without a copy where its memory can be shared."""
    value = getattr(variable, "value", variable)
    read = getattr(value, "read_value", None)
    tensor = read() if read is not None else value
    share = getattr(tensor, "_numpy", None)
    array = share() if share is not None else np.asarray(tensor)
    return np.asarray(array, dtype=np.float32)


def refuse(layer: Any, what: str) -> UnsupportedError:
    """The error for a layer whose class is known, but not this use of it."""
    return UnsupportedError(f"layer {layer.name!r} ({type(layer).__name__}): {what} is not supported natively")


def require(condition: bool, layer: Any, what: str) -> None:
    """Raise `refuse(layer, what)` unless ``condition`` holds."""
    if not condition:
        raise refuse(layer, what)
