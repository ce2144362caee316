"""Arithmetic on tensors in models of tf.keras: ``TFOpLambda`` as `keras.ops` operations.

tf.keras stored ``x * 2`` as a layer of class TFOpLambda with the name of a TensorFlow function, and its arguments in
the node that calls it. Those of the table below have an operation of the same meaning; others are refused by name.
"""

from __future__ import annotations

from typing import Any

from kexport.errors import SourceError

PREFIX = "kexport>"
_BINARY = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "TrueDivide",
    "math.divide": "TrueDivide",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
}
_UNARY = {
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
    "nn.swish": "Silu",
    "math.sigmoid": "Sigmoid",
    "nn.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
    "nn.tanh": "Tanh",
    "nn.softmax": "Softmax",
}
_KINDS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")


def convert(layer: dict[str, Any], told: str) -> None:
    """Rewrite a TFOpLambda in place; leave other layers alone. Raises SourceError for one that is not in the table."""
    if layer["class_name"] not in _KINDS:
        return
    config = layer["config"]
    function = str(config.get("function", layer["class_name"]))
    kind = (_BINARY | _UNARY).get(function)
    if kind is None:
        raise SourceError(
            f"{told}: layer {config.get('name')!r} calls tf.{function}, which has no counterpart in Keras 3",
            hint="build the model again with Keras 3, and load its weights: kexport export package.module:factory",
        )
    layer["class_name"] = f"{PREFIX}{kind}"
    layer["config"] = {"name": config.get("name")}
    calls = layer.get("inbound_nodes", [])
    layer["inbound_nodes"] = [_call(node, binary=function in _BINARY) for node in calls]


def _call(node: Any, *, binary: bool) -> dict[str, Any]:
    """A call as Keras 3 stores it: tf.keras had ``[layer, node, tensor, {"y": ...}]``, or a list of one such."""
    first = node[0] if isinstance(node[0], list) else node
    kwargs = first[3] if len(first) > 3 else {}
    args: list[Any] = [_tensor(first)]
    if binary:
        other = kwargs.get("y")
        args.append(_tensor(other) if isinstance(other, list) and len(other) == 3 else other)
    return {"args": args, "kwargs": {}}


def _tensor(reference: list[Any]) -> dict[str, Any]:
    config = {"shape": [], "dtype": "float32", "keras_history": reference[:3]}
    return {"class_name": "__keras_tensor__", "config": config}


def custom_objects() -> dict[str, Any]:
    """The classes that `convert` names: they build Keras's own operations."""
    return {f"{PREFIX}{name}": _maker(name) for name in {*_BINARY.values(), *_UNARY.values()}}


def _maker(kind: str) -> Any:
    from keras.src.ops import nn, numpy

    operation = getattr(nn, kind, None) or getattr(numpy, kind)

    class Maker:
        """What Keras's legacy reader takes for a class: its configuration is the operation's name alone."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return operation(name=config["name"])

    return Maker
