"""The softmax or sigmoid that a model ends in, found behind what only moves its numbers, and the values before it.

A softmax near 1 and 0, and a sigmoid near its ends, hide what the network computed; the values before them do not.
They are had by running the layers once more with that last step left out (`without`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kexport.sources.keras_walk import functional, ordered_calls, output_names

Call = Callable[..., Any]
SOFTMAX, SIGMOID = "softmax", "sigmoid"
_FUSED = {
    "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "DepthwiseConv2D",
    "SeparableConv2D", "Activation",
}  # fmt: skip
_MOVING = {"Reshape", "Flatten", "Dropout", "Identity", "Permute", "Squeeze", "ExpandDims"}


def activations(model: Any) -> dict[str, str]:
    """Output name -> ``softmax`` (over the last axis), ``sigmoid``, or nothing where neither is the last step."""
    return {name: kind for name, (kind, _) in _finals(model).items()}


def operations(model: Any, outputs: Collection[str]) -> dict[int, Any]:
    """The layers and operations that hold the last step of those ``outputs``, by their identity."""
    found = {name: operation for name, (_, operation) in _finals(model).items() if name in outputs}
    return {id(operation): operation for operation in found.values() if operation is not None}


def without(finals: Mapping[int, Any], call: Call) -> Call:
    """As ``call``, but what the operations in ``finals`` give is what reaches their softmax or sigmoid."""

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return before(layer, *args, **kwargs) if id(layer) in finals else call(layer, *args, **kwargs)

    return run


def before(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """What a layer gives to its softmax or sigmoid: its input, or its sums where both are one layer."""
    if _itself(layer):
        return args[0] if args else next(iter(kwargs.values()))
    activation = layer.activation
    layer.activation = _linear
    try:
        return layer(*args, **kwargs)
    finally:
        layer.activation = activation


def after(layer: Any, value: Any) -> Any:
    """The last step alone, on what `before` gave."""
    return layer(value) if _itself(layer) else layer.activation(value)


def _linear(value: Any) -> Any:
    return value


def _itself(layer: Any) -> bool:
    """Whether the layer is nothing but the last step."""
    return type(layer).__name__ not in _FUSED or type(layer).__name__ == "Activation"


def _finals(model: Any) -> dict[str, tuple[str, Any]]:
    function = functional(model)
    names = output_names(model)
    if function is None:
        return dict.fromkeys(names, ("", None))
    return {name: _final(function, tensor) for name, tensor in zip(names, function.outputs, strict=True)}


def _final(function: Any, tensor: Any) -> tuple[str, Any]:
    """Kind and operation of the last step before ``tensor``; nothing where another call reads its result too."""
    calls = ordered_calls(function)
    for node in reversed(calls):
        place = next((index for index, made in enumerate(node.outputs) if made is tensor), None)
        if place is None:
            continue
        readers = sum(any(given is tensor for given in other.input_tensors) for other in calls)
        if readers > (0 if any(tensor is output for output in function.outputs) else 1):
            return "", None
        inner = functional(node.operation)
        if inner is not None:
            return _final(inner, inner.outputs[place])
        kind = _kind(node.operation, len(tensor.shape)) if node.arguments.kwargs.get("mask") is None else ""
        if kind:
            return kind, node.operation
        if type(node.operation).__name__ not in _MOVING and not _is_linear(node.operation):
            return "", None
        tensor = node.input_tensors[0]
    return "", None


def _is_linear(operation: Any) -> bool:
    return type(operation).__name__ == "Activation" and _name(operation) == "linear"


def _kind(operation: Any, rank: int) -> str:
    module = type(operation).__module__
    if not module.startswith("keras."):
        return ""
    name = _name(operation) if type(operation).__name__ in _FUSED else type(operation).__name__.lower()
    if name == SOFTMAX:
        axis = getattr(operation, "axis", -1) if type(operation).__name__ not in _FUSED else -1
        return SOFTMAX if axis in (-1, rank - 1) else ""
    return SIGMOID if name == SIGMOID else ""


def _name(operation: Any) -> str:
    return str(getattr(getattr(operation, "activation", None), "__name__", ""))
