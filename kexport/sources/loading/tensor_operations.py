"""Functions of TensorFlow on tensors in models of tf.keras: layers ``TFOpLambda`` as `keras.ops` operations.

tf.keras stored ``x * 2`` as a layer of class TFOpLambda with the name of a TensorFlow function, and its arguments in
the node that calls it: ``[layer, node, tensor, {"y": 2.0}]``, a list of those where the function takes several
tensors, or ``["_CONSTANT_VALUE", -1, 1.0, {"y": [layer, node, tensor]}]``. Functions of `tensor_functions` are called
with the tensors of the new model; others are refused by name. Before that, tf.keras stored nodes of TensorFlow's graph
(`graph_operations`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import graph_operations, tensor_functions

PREFIX = "kexport>"
_KINDS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty")
_RECURRENT = ("RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_CONSTANT = "_CONSTANT_VALUE"
_HINT = "build the model again with Keras 3, and load its weights: kexport export package.module:factory"


def convert(layer: dict[str, Any], told: str) -> None:
    """Rewrite a TFOpLambda in place, and calls of other layers that have tensors among their keywords.

    Keras reads such a call (``{"value": [layer, node, tensor]}``, as of MultiHeadAttention) in its present form only.
    Raises SourceError for a function that is not in the table.
    """
    if layer["class_name"] not in _KINDS:
        calls = layer.get("inbound_nodes", [])
        if layer["class_name"] in _RECURRENT:
            calls = [_from_states(node, told) for node in calls]
        layer |= {"inbound_nodes": [_call(node) if _has_tensors(node) else node for node in calls]} if calls else {}
        return
    config = layer["config"]
    if layer["class_name"] == graph_operations.CLASS:
        _convert_operation(layer, told)
        return
    stored = str(config.get("function", layer["class_name"]))
    name = stored.removeprefix("compat.v1.").removeprefix("compat.v2.")
    if name not in tensor_functions.TABLE:
        raise SourceError(
            f"{told}: layer {config.get('name')!r} calls tf.{stored}, which has no counterpart in Keras 3", hint=_HINT
        )
    calls = [_call(node) for node in layer.get("inbound_nodes", [])]
    for call in calls:
        _check(call["kwargs"], name, told=f"{told}: layer {config.get('name')!r} calls tf.{stored}")
    layer["class_name"] = f"{PREFIX}{name}"
    layer["config"] = {"name": config.get("name"), "told": f"{told}: layer {config.get('name')!r} calls tf.{stored}"}
    layer["inbound_nodes"] = calls


def _convert_operation(layer: dict[str, Any], told: str) -> None:
    """Rewrite a node of TensorFlow's graph in place; its constants stand in the configuration."""
    config = layer["config"]
    name, attributes, constants = graph_operations.parsed(config)
    told = f"{told}: layer {config.get('name')!r} is TensorFlow's {name or 'operation'}"
    if name not in graph_operations.TABLE:
        raise SourceError(f"{told}, which has no counterpart in Keras 3", hint=_HINT)
    layer["class_name"] = f"{PREFIX}{graph_operations.CLASS}"
    layer["config"] = {
        "name": config.get("name"), "told": told, "operation": json.dumps([name, attributes, constants]),
    }  # fmt: skip
    layer["inbound_nodes"] = [_call(node) for node in layer.get("inbound_nodes", [])]


def custom_objects() -> dict[str, Any]:
    """The classes that `convert` names: they build Keras's own operations."""
    made = {f"{PREFIX}{name}": _maker(function) for name, function in tensor_functions.TABLE.items()}
    return {**made, f"{PREFIX}{graph_operations.CLASS}": _maker(graph_operations.call)}


def _from_states(node: Any, told: str) -> Any:
    """A call of a recurrent layer; states and constants stood behind its sequence, and None for constants."""
    if not isinstance(node, list) or not node:
        return node
    keywords = _first(node)[3] if len(_first(node)) > 3 else {}
    several = isinstance(node[0], list) and len(node) > 1
    if "constants" not in keywords and not several:
        return node
    if keywords.get("constants") is not None:
        raise SourceError(f"{told}: a recurrent layer is called with constants, which is not read", hint=_HINT)
    call = _call(node)
    tensors = call["args"][0] if several else [call["args"][0]]
    states = {"initial_state": tensors[1:]} if several else {}
    return {"args": tensors[:1], "kwargs": {**_without(call["kwargs"], "constants"), **states}}


def _without(keywords: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if key != name}


def _has_tensors(node: Any) -> bool:
    if not isinstance(node, list) or not node:
        return False
    first = _first(node)
    kwargs = first[3] if len(first) > 3 and isinstance(first[3], dict) else {}
    return any(_value(value) is not value and _value(value) != value for value in kwargs.values())


def _call(node: Any) -> dict[str, Any]:
    """A call as Keras 3 stores it. The keywords stand beside every tensor of the first argument."""
    first = _first(node)
    kwargs = {key: _value(value) for key, value in (first[3] if len(first) > 3 else {}).items()}
    several = isinstance(node[0], list)
    argument = [_tensor(each) for each in node] if several else _tensor(node)
    if several and len(node) == 1 and not isinstance(node[0][0], list):
        argument = _tensor(node[0])
    return {"args": [argument], "kwargs": kwargs}


def _first(node: Any) -> list[Any]:
    while isinstance(node[0], list):
        node = node[0]
    found: list[Any] = node
    return found


def _tensor(reference: list[Any]) -> Any:
    if isinstance(reference[0], list):
        return [_tensor(each) for each in reference]
    if reference[0] == _CONSTANT:
        return _value(reference[2])
    config = {"shape": [], "dtype": "float32", "keras_history": reference[:3]}
    return {"class_name": "__keras_tensor__", "config": config}


def _value(value: Any) -> Any:
    """An argument: a tensor of the model, or a constant as JSON can have it."""
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and all(type(place) is int for place in value[1:]):
            return _tensor(value)
        return [_value(item) for item in value]
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        return [_value(item) for item in value.get("items", [])]
    return value


def _check(kwargs: dict[str, Any], name: str, *, told: str) -> None:
    """Drop arguments that say nothing; raise SourceError for one that is not known, or missing."""
    known = list(inspect.signature(tensor_functions.TABLE[name]).parameters.values())[1:]
    for key in [key for key in kwargs if key not in {parameter.name for parameter in known}]:
        value = kwargs.pop(key)
        if value and key != "name":
            raise SourceError(f"{told} with {key}={value!r:.60}, which has no counterpart in Keras 3", hint=_HINT)
    missing = next((p.name for p in known if p.default is p.empty and p.name not in kwargs), None)
    if missing is not None:
        raise SourceError(f"{told}, and the file does not say its {missing}", hint=_HINT)
    if "slice_spec" in kwargs:  # Keras would read the dictionaries as objects of its own
        kwargs["slice_spec"] = _spec(kwargs["slice_spec"])


def _spec(value: Any) -> list[Any]:
    """What stands in brackets, as text; `_key` reads it back.

    One entry for each item: ``["slice", start, stop, step]``, ``["..."]``, ``["new"]`` or ``["index", i]``.
    """
    items = value if isinstance(value, list) else [value]
    return ["spec" if isinstance(value, list) else "item", [_stored(item) for item in items]]


def _stored(item: Any) -> list[Any]:
    if isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
        return ["..."]
    if isinstance(item, dict) and "start" in item:
        return ["slice", item["start"], item.get("stop"), item.get("step")]
    return ["new"] if item is None else ["index", item]


def _key(stored: Any) -> Any:
    """The subscript of `_spec`."""
    kind, items = stored
    made = [
        slice(*item[1:])
        if item[0] == "slice"
        else Ellipsis
        if item[0] == "..."
        else None
        if item[0] == "new"
        else item[1]
        for item in items
    ]
    return tuple(made) if kind == "spec" else made[0]


def _maker(function: Any) -> Any:
    from keras import Operation

    class Bridge(Operation):  # type: ignore[misc]  # Keras has no types
        """Stands where Keras's legacy reader wants a layer: when called, it makes the operations of its function."""

        def __init__(self, *, name: str, told: str, operation: str = "") -> None:
            super().__init__(name=name)
            self.told = told
            self.fixed = json.loads(operation) if operation else []

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if "slice_spec" in kwargs:
                kwargs = {**kwargs, "slice_spec": _key(kwargs["slice_spec"])}
            try:
                result = function(*self.fixed, *args, **kwargs)
            except SourceError as error:
                raise SourceError(f"{self.told}: {error.message}", hint=error.hint) from error
            outputs = list(result) if isinstance(result, list) else [result]
            _name(outputs, (args, kwargs), f"{self.name}" if not self._inbound_nodes else self.name + "_again")
            self._inbound_nodes.append(SimpleNamespace(output_tensors=outputs))
            return result

        @classmethod
        def from_config(cls, config: Mapping[str, Any]) -> Any:
            return cls(**config)

    return Bridge


def _name(outputs: list[Any], given: Any, name: str) -> None:
    """The operations between ``given`` and the outputs are called after the layer, each by a name of its own."""
    made = dict.fromkeys(_made(outputs, _tensors(given)))
    for number, operation in enumerate(made):
        operation.name = name if number == 0 else f"{name}_{number}_{operation.name}"


def _made(outputs: list[Any], given: list[Any]) -> Iterator[Any]:
    known = {id(tensor) for tensor in given}
    pending = [tensor for tensor in outputs if hasattr(tensor, "_keras_history")]
    while pending:
        tensor = pending.pop(0)
        if id(tensor) in known:
            continue
        known.add(id(tensor))
        operation = tensor._keras_history.operation  # noqa: SLF001 - what made a tensor
        yield operation
        pending += operation._inbound_nodes[tensor._keras_history.node_index].input_tensors  # noqa: SLF001


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return [value] if hasattr(value, "_keras_history") else []
