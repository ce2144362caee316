"""Runs a functional Keras model call by call and forgets each tensor after its last reader.

Keras's own loop keeps every intermediate tensor until the end: gigabytes for the large applications.
`run` computes what ``model(inputs, training=False)`` computes, with the same layers in the same order;
a test holds the two equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import Any

Call = Callable[..., Any]
Place = tuple[int, ...]
"""One call in a model: the identity of its node, after those of the nested models that it lies in."""


def ordered_calls(function: Any) -> list[Any]:
    """The call nodes of a functional model, inputs left out, in the order in which Keras runs them."""
    by_depth = function._nodes_by_depth  # noqa: SLF001 - the only place where Keras keeps the order of calls
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if node.operation and not node.is_input
    ]


def functional(model: Any) -> Any | None:
    """The functional model inside a model, a nested one or a `keras.Sequential`; None if there is none.

    A subclass with a ``call`` of its own computes something else than its graph of layers: None.
    """
    if not getattr(getattr(type(model), "call", None), "__module__", "").startswith("keras."):
        return None
    inner = getattr(model, "_functional", None) or model
    return inner if hasattr(inner, "_nodes_by_depth") else None


def input_names(model: Any) -> list[str]:
    """``input``, or where there are several the keys of a dictionary of inputs, else the names that Keras gives."""
    tensors = model.inputs
    if len(tensors) == 1:
        return ["input"]
    keys = _keys(model, "_inputs_struct")
    return distinct([keys.get(id(tensor), tensor.name) for tensor in tensors])


def output_names(model: Any) -> list[str]:
    """``output``, or where there are several the keys of a dictionary of outputs, else the names that Keras gives."""
    return ["output"] if len(model.outputs) == 1 else own_output_names(model)


def own_output_names(model: Any) -> list[str]:
    """The names that Keras gives, or the keys of a dictionary; those of a `keras.Sequential` too, which has none."""
    tensors = model.outputs
    if not hasattr(tensors[0], "_keras_history"):
        return [tensor.name for tensor in tensors]  # of a SavedModel
    keys = _keys(model, "_outputs_struct")
    return distinct([keys.get(id(tensor), tensor._keras_history.operation.name) for tensor in tensors])  # noqa: SLF001


def _keys(model: Any, attribute: str) -> dict[int, str]:
    struct = getattr(functional(model), attribute, None)
    return {id(tensor): str(key) for key, tensor in struct.items()} if isinstance(struct, dict) else {}


def distinct(names: Sequence[str]) -> list[str]:
    """A name that was given before becomes ``name_1``: a layer whose result is shown twice names both outputs."""
    found: list[str] = []
    for name in names:
        candidates = chain([name], (f"{name}_{number}" for number in count(1)))
        found.append(next(candidate for candidate in candidates if candidate not in found))
    return found


def packed(model: Any, values: Sequence[Any]) -> Any:
    """``values``, one per input in order, as ``model`` is called with them: one, a list or a dictionary."""
    struct = getattr(functional(model), "_inputs_struct", None)
    if isinstance(struct, dict):
        places = {id(tensor): value for tensor, value in zip(model.inputs, values, strict=True)}
        return {key: places[id(tensor)] for key, tensor in struct.items()}
    return values[0] if len(values) == 1 else list(values)


def run(
    model: Any, inputs: Sequence[Any], call: Call, *, instead: Mapping[Place, Call] | None = None, within: Place = ()
) -> list[Any]:
    """Outputs of ``model`` for ``inputs``; each layer is run by ``call(layer, *args, **kwargs)``.

    Nested models are entered, so that ``call`` only meets layers and operations without inner graph. ``instead`` has
    what runs single calls in its place; ``within`` is where the model itself is called.
    """
    function = functional(model)
    assert function is not None, f"{type(model).__name__} has no static graph of layers"
    nodes, others = ordered_calls(function), instead or {}
    known = {id(tensor): value for tensor, value in zip(function.inputs, inputs, strict=True)}
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    readers.update(id(tensor) for tensor in function.outputs)
    for node in nodes:
        results = _results(node, known, call, others, (*within, id(node)))
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                known.pop(id(tensor), None)
        known.update((id(tensor), value) for tensor, value in zip(node.outputs, results, strict=True))
    return [known[id(tensor)] for tensor in function.outputs]


def _results(node: Any, known: dict[int, Any], call: Call, instead: Mapping[Place, Call], place: Place) -> list[Any]:
    nested = functional(node.operation)
    if nested is not None:  # a mask may stand behind its inputs, and comes with their values anyway
        values = [known[id(tensor)] for tensor in node.input_tensors[: len(nested.inputs)]]
        return run(node.operation, values, call, instead=instead, within=place)
    args, kwargs = filled(node, known)
    result = instead.get(place, call)(node.operation, *args, **kwargs)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def filled(node: Any, known: Mapping[int, Any]) -> tuple[Any, dict[str, Any]]:
    """What a call is given where its tensors have the values of ``known``; nothing is trained."""
    args, kwargs = node.arguments.fill_in(known)
    return args, {**kwargs, "training": False} if kwargs.get("training") else kwargs
