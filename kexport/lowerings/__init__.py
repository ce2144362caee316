"""Keras layers to operations: small functions, one per layer class, found by their presence.

A lowering is a function that is registered for one class::

    @lowers("layer", "ReLU")
    def relu(build: Builder, layer: Any, value: Value) -> Value: ...

It gets the layer and its call arguments with every Keras tensor replaced by a `Value`, adds nodes
through `Builder.emit`, and returns the value of the layer's output (a tuple of them for several
outputs). ``kind`` is ``layer`` for `keras.layers.Layer` and ``operation`` for a bare operation node of
`keras.ops`: the two share class names (``Add`` is both), and an operation node may hold constants
among its arguments. Keywords of the call reach the lowering if it has a parameter of that name.

A package of one's own adds the lowering of its own layer class under the class's whole name, in a
module that its entry point of the group ``kexport.lowerings`` names::

    [project.entry-points."kexport.lowerings"]
    my_package = "my_package.kexport_lowerings"

    @lowers("layer", "my_package.layers.Swirl")
    def swirl(build: Builder, layer: Any, value: Value) -> Value:
        return build.emit(ScaleShift(scale=weights(layer.factor), offset=weights(layer.shift)), value)

Nothing else is needed: every process that lowers a model loads these modules first. A lowering stands
for exactly its class, not for subclasses, which may compute something else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError, UnsupportedError
from kexport.graph import Node
from kexport.operations import Operation, Regroup, Shape
from kexport.registry import load_entry_points


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the graph under construction. ``shape`` includes the batch axis, ``copies`` as `Node` has it."""

    name: str
    shape: Shape
    copies: int = 1


ENTRY_POINTS = "kexport.lowerings"
Lowering = Callable[..., Any]
Function = TypeVar("Function", bound=Lowering)
_REGISTRY: dict[tuple[str, str], Lowering] = {}


def lowers(kind: str, *classes: str) -> Callable[[Function], Function]:
    """Register the decorated function for classes of one kind: Keras's by name, others by ``module.name``."""

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
    load_entry_points(ENTRY_POINTS, what="lowerings")


def lowering_of(operation: Any) -> Lowering:
    """The lowering of a Keras layer or operation. Raises UnsupportedError with its name and class."""
    found = registered(operation)
    if found is None:
        kind, cls = _kind(operation), type(operation)
        raise UnsupportedError(
            f"{kind} {operation.name!r} is a {cls.__module__}.{cls.__name__}, which the native graph does not know"
        )
    return found


def registered(operation: Any) -> Lowering | None:
    """The lowering of a Keras layer or operation, None if there is none.

    One that Keras has quantized is another layer: what it does to numbers, it does in its ``call`` (`.trace`).
    """
    _load_all()
    if quantized(operation):
        return None
    cls = type(operation)
    builtin = cls.__module__.startswith("keras.")
    return _REGISTRY.get((_kind(operation), cls.__name__ if builtin else f"{cls.__module__}.{cls.__qualname__}"))


def quantized(layer: Any) -> str:
    """How Keras has quantized a layer (`keras.Model.quantize`): ``int8``, ``float8``...; empty where it has not."""
    return str(getattr(layer, "quantization_mode", None) or "")


def _kind(operation: Any) -> str:
    import keras

    return "layer" if isinstance(operation, keras.layers.Layer) else "operation"


@dataclass(kw_only=True)
class Builder:
    """Collects nodes while a model is walked; the only mutable value on the way to a graph."""

    nodes: list[Node] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    layer: str = ""
    stated: tuple[Shape, ...] = ()  # what Keras says of the outputs of the call that is lowered

    def emit(self, operation: Operation, *inputs: Value, part: str = "") -> Value:
        """Add a node for the current layer; ``part`` names a step inside the layer, the last has none."""
        name = self._unique(f"{self.layer}/{part}" if part else self.layer)
        shape = self._infer(operation, inputs)
        names, copies = tuple(value.name for value in inputs), self._copies(operation, inputs)
        self.nodes.append(
            Node(name=name, operation=operation, inputs=names, shape=shape, layers=(self.layer,), copies=copies)
        )
        return Value(name=name, shape=shape, copies=copies)

    def _copies(self, operation: Operation, inputs: tuple[Value, ...]) -> int:
        first = inputs[0]
        if len({value.copies for value in inputs}) > 1:
            raise UnsupportedError(f"layer {self.layer!r}: values whose batches differ are put together")
        if not isinstance(operation, Regroup):
            return first.copies
        have, wanted = first.copies * prod(axis or 0 for axis in first.shape[1:]), prod(operation.shape)
        if have % wanted:
            raise UnsupportedError(f"layer {self.layer!r}: the batch of {first.shape} becomes a fraction of itself")
        return have // wanted

    def _infer(self, operation: Operation, inputs: tuple[Value, ...]) -> Shape:
        try:
            return operation.infer(*(value.shape for value in inputs))
        except GraphError as error:
            raise UnsupportedError(
                f"layer {self.layer!r}: {type(operation).__name__} {error.message}; the native graph cannot express it"
            ) from error

    def forget(self, mark: int) -> None:
        """Take back the nodes from the ``mark``-th on."""
        self.taken.difference_update(node.name for node in self.nodes[mark:])
        del self.nodes[mark:]

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
