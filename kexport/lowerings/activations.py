"""Activation layers, and activation arguments of other layers."""

from __future__ import annotations

from typing import Any

from kexport.lowerings import Builder, Value, lowers, refuse, require
from kexport.operations import Activate, Activation, Clip

_FUNCTIONS = {
    "relu": Activation.RELU,
    "relu6": Activation.RELU6,
    "sigmoid": Activation.SIGMOID,
    "hard_sigmoid": Activation.HARD_SIGMOID,
    "hard_silu": Activation.HARD_SWISH,
    "silu": Activation.SILU,
    "gelu": Activation.GELU,
    "tanh": Activation.TANH,
    "softmax": Activation.SOFTMAX,
}


def activate(build: Builder, layer: Any, value: Value) -> Value:
    """The layer's ``activation`` argument; ``linear`` and None add nothing."""
    function = layer.activation
    name = getattr(function, "__name__", str(function))
    if is_linear(layer):
        return value
    builtin = getattr(function, "__module__", "").startswith("keras.")
    if not builtin or name not in _FUNCTIONS:
        raise refuse(layer, f"activation {name!r}")
    return build.emit(Activate(function=_FUNCTIONS[name]), value)


def is_linear(layer: Any) -> bool:
    """Whether the layer's activation adds no node."""
    function = layer.activation
    named = getattr(function, "__name__", "") == "linear"
    return function is None or (named and getattr(function, "__module__", "").startswith("keras."))


@lowers("layer", "Activation")
def activation(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Activation`."""
    return activate(build, layer, value)


@lowers("layer", "ReLU")
def relu(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.ReLU`: plain, or cut at ``max_value``."""
    require(not layer.negative_slope and not layer.threshold, layer, "a negative slope or threshold")
    if layer.max_value is None:
        return build.emit(Activate(function=Activation.RELU), value)
    if layer.max_value == 6:
        return build.emit(Activate(function=Activation.RELU6), value)
    return build.emit(Clip(minimum=0.0, maximum=float(layer.max_value)), value)


@lowers("layer", "Softmax")
def softmax(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Softmax` over the last axis."""
    require(layer.axis in (-1, len(value.shape) - 1), layer, f"axis {layer.axis}")
    return build.emit(Activate(function=Activation.SOFTMAX), value)
