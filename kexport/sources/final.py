"""The softmax or sigmoid that a model ends in, found behind what only moves its numbers, and the values before it.

A softmax near 1 and 0, and a sigmoid near its ends, hide what the network computed; the values before them do not.
They are seen in passing, while the layers run (`Seen`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kexport.sources.keras_walk import Place, filled, functional, ordered_calls, output_names

Call = Callable[..., Any]
SOFTMAX, SIGMOID = "softmax", "sigmoid"
_FUSED = {
    "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "DepthwiseConv2D",
    "SeparableConv2D", "Activation",
}  # fmt: skip
_MOVING = {"Reshape", "Flatten", "Dropout", "Identity", "Permute", "Squeeze", "ExpandDims"}


@dataclass(frozen=True, kw_only=True)
class Last:
    """The call that holds the last step of an output, and the calls behind it, which only move its numbers."""

    kind: str
    place: Place
    behind: tuple[Any, ...]


def activations(model: Any) -> dict[str, str]:
    """Output name -> ``softmax`` (over the last axis), ``sigmoid``, or nothing where neither is the last step."""
    found = lasts(model)
    return {name: found[name].kind if name in found else "" for name in output_names(model)}


def lasts(model: Any) -> dict[str, Last]:
    """The last step of every output that ends in a softmax or sigmoid, by the name of the output."""
    function = functional(model)
    if function is None:
        return {}
    tensors = zip(output_names(model), function.outputs, strict=True)
    found = {name: _last(function, tensor, place=(), behind=()) for name, tensor in tensors}
    return {name: last for name, last in found.items() if last is not None}


class Seen:
    """What reaches the last step of each output while `keras_walk.run` runs the layers, shaped as the output is.

    ``call`` runs what stands behind the last steps; ``moved`` is done to what reaches them before they run, and
    ``see`` is told what they give.
    """

    def __init__(
        self,
        found: Mapping[str, Last],
        call: Call,
        *,
        moved: Callable[[Any], Any] | None = None,
        see: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._call, self._moved, self._see = call, moved, see
        places: dict[Place, list[str]] = {}
        for name, last in found.items():
            places.setdefault(last.place, []).append(name)
        self._found = found
        self.values: dict[str, Any] = {}
        self.instead = {place: self._at(names) for place, names in places.items()}

    def _at(self, names: Sequence[str]) -> Call:
        def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
            value = before(layer, *args, **kwargs)
            value = value if self._moved is None else self._moved(value)
            for name in names:
                self.values[name] = self._behind(value, self._found[name].behind)
            result = after(layer, value)
            if self._see is not None:
                self._see(layer, result)
            return result

        return run

    def _behind(self, value: Any, behind: Sequence[Any]) -> Any:
        for node in behind:
            args, kwargs = filled(node, {id(node.input_tensors[0]): value})
            value = self._call(node.operation, *args, **kwargs)
        return value


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


def _last(function: Any, tensor: Any, *, place: Place, behind: tuple[Any, ...]) -> Last | None:
    """The last step before ``tensor``; None where there is none, or another call reads its result too."""
    calls = ordered_calls(function)
    for node in reversed(calls):
        made = next((index for index, output in enumerate(node.outputs) if output is tensor), None)
        if made is None:
            continue
        readers = sum(any(given is tensor for given in other.input_tensors) for other in calls)
        shown = any(tensor is output for output in function.outputs)
        if readers > (0 if shown else 1):
            return None
        here, inner = (*place, id(node)), functional(node.operation)
        if inner is not None:
            return _last(inner, inner.outputs[made], place=here, behind=behind)
        kind = _kind(node.operation, len(tensor.shape)) if node.arguments.kwargs.get("mask") is None else ""
        if kind:
            return Last(kind=kind, place=here, behind=behind)
        if type(node.operation).__name__ not in _MOVING and not _is_linear(node.operation):
            return None
        tensor, behind = node.input_tensors[0], (node, *behind)
    return None


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
