"""Activation layers, activation arguments of other layers, and activation functions as `keras.ops` nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowering_of, lowers, refuse, require, weights
from kexport.lowerings.activation_functions import FUNCTIONS, elu, gelu, leaky_relu, rectified, softmax_over
from kexport.lowerings.selection import where
from kexport.operations import LeakyRelu

LOWEST = -1e9
"""What hides a place from a softmax, as Keras has it; without an infinity that could become no number."""


def activate(build: Builder, layer: Any, value: Value) -> Value:
    """The layer's ``activation`` argument: a function of Keras, or an activation layer; None adds nothing."""
    import keras

    function = layer.activation
    if is_linear(layer):
        return value
    if isinstance(function, keras.layers.Layer):
        result: Value = lowering_of(function)(build, function, value)
        return result
    name = getattr(function, "__name__", str(function))
    if name in FUNCTIONS and function is getattr(keras.activations, name, None) and name != "threshold":
        return FUNCTIONS[name](build, value)
    if name in FUNCTIONS and function is getattr(keras.ops, name, None) and name not in ("gelu", "threshold"):
        return FUNCTIONS[name](build, value)
    if function is keras.ops.gelu:
        return gelu(build, value, approximate=True)
    raise refuse(layer, f"activation {name!r}")


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
def relu_layer(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.ReLU` with all of its arguments."""
    return rectified(build, value, layer.negative_slope or 0.0, layer.max_value, layer.threshold or 0.0)


@lowers("layer", "LeakyReLU")
def leaky_relu_layer(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.LeakyReLU`."""
    return leaky_relu(build, value, layer.negative_slope)


@lowers("layer", "PReLU")
def prelu(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.PReLU`: a learned slope for each number, or shared along axes."""
    return build.emit(LeakyRelu(slope=weights(layer.alpha)), value)


@lowers("layer", "ELU")
def elu_layer(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.ELU`."""
    return elu(build, value, float(layer.alpha))


@lowers("layer", "Softmax")
def softmax_layer(build: Builder, layer: Any, value: Value, mask: Any = None) -> Value:
    """`keras.layers.Softmax` over any axes but the batch; nothing where its mask is 0."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    require(all(axis % len(value.shape) for axis in axes), layer, f"axis {layer.axis}")
    if mask is None:
        return softmax_over(build, value, axes)
    hidden = where(build, layer, mask, value, np.float32(LOWEST))
    return where(build, layer, mask, softmax_over(build, hidden, axes), np.float32(0))


def _plain_operation(name: str) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        del operation
        return FUNCTIONS[name](build, value)

    return lower


for _class, _name in {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "SparseSigmoid": "sparse_sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SparsePlus": "sparse_plus",
    "Silu": "silu",
    "LogSigmoid": "log_sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Selu": "selu",
    "TanhShrink": "tanh_shrink",
    "HardTanh": "hard_tanh",
    "Tanh": "tanh",
    "Mish": "mish",
}.items():
    lowers("operation", _class)(_plain_operation(_name))


def _operation_with(name: str, *arguments: str) -> Any:
    """A function whose arguments are attributes of the operation."""

    def lower(build: Builder, operation: Any, value: Value) -> Value:
        return FUNCTIONS[name](build, value, **{each: getattr(operation, each) for each in arguments})

    return lower


for _class, (_name, *_arguments) in {
    "ReLU": ("relu", "negative_slope", "max_value", "threshold"),
    "LeakyRelu": ("leaky_relu", "negative_slope"),
    "Elu": ("elu", "alpha"),
    "Celu": ("celu", "alpha"),
    "Gelu": ("gelu", "approximate"),
    "SoftShrink": ("soft_shrink", "threshold"),
    "HardShrink": ("hard_shrink", "threshold"),
    "Threshold": ("threshold", "threshold", "default_value"),
    "Squareplus": ("squareplus", "b"),
}.items():
    lowers("operation", _class)(_operation_with(_name, *_arguments))


def _operation_on_axis(name: str) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        axis = operation.axis
        require(isinstance(axis, int) and axis % len(value.shape) != 0, operation, f"axis {axis}")
        return FUNCTIONS[name](build, value, axis=axis)

    return lower


for _class, _name in {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Glu": "glu",
}.items():
    lowers("operation", _class)(_operation_on_axis(_name))
