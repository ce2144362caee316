"""Activations and layer normalisation in the form that runtimes fuse best."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from kexport.formats.onnx.emitter import Emitter
from kexport.graph import Node
from kexport.operations import Activation, LayerNorm

HARD_SWISH_OPSET = 14
GELU_OPSET = 20
LAYER_NORM_OPSET = 17


def emit_activation(emitter: Emitter, function: Activation, value: str, output: str) -> str:
    """Write ``function(value)`` under the name ``output``."""
    return _ACTIVATIONS[function](emitter, value, output)


def _plain(kind: str) -> Callable[[Emitter, str, str], str]:
    return lambda emitter, value, output: emitter.node(kind, [value], output)


def _relu6(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node(
        "Clip", [value, emitter.scalar("constant:zero", 0.0), emitter.scalar("constant:six", 6.0)], output
    )


def _hard_sigmoid(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node("HardSigmoid", [value], output, alpha=1 / 6, beta=0.5)


def _hard_swish(emitter: Emitter, value: str, output: str) -> str:
    """HardSwish from opset 14, ``x * HardSigmoid(x)`` before.

    ONNX Runtime takes the operator apart into just these two and is as fast; OpenVINO has a kernel of its own for it.
    """
    if emitter.opset >= HARD_SWISH_OPSET:
        return emitter.node("HardSwish", [value], output)
    return emitter.node("Mul", [value, _hard_sigmoid(emitter, value, f"{output}:gate")], output)


def _silu(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node("Mul", [value, emitter.node("Sigmoid", [value], f"{output}:gate")], output)


def _gelu(emitter: Emitter, value: str, output: str) -> str:
    """Gelu from opset 20; before, the pattern of Erf that runtimes recognise."""
    if emitter.opset >= GELU_OPSET:
        return emitter.node("Gelu", [value], output)
    scaled = emitter.node("Div", [value, emitter.scalar("constant:sqrt_two", sqrt(2))], f"{output}:scaled")
    error = emitter.node("Erf", [scaled], f"{output}:erf")
    shifted = emitter.node("Add", [error, emitter.scalar("constant:one", 1.0)], f"{output}:shifted")
    product = emitter.node("Mul", [value, shifted], f"{output}:product")
    return emitter.node("Mul", [product, emitter.scalar("constant:half", 0.5)], output)


def _softmax(emitter: Emitter, value: str, output: str) -> str:
    return emitter.node("Softmax", [value], output, axis=-1)


_ACTIVATIONS: dict[Activation, Callable[[Emitter, str, str], str]] = {
    Activation.RELU: _plain("Relu"),
    Activation.RELU6: _relu6,
    Activation.SIGMOID: _plain("Sigmoid"),
    Activation.HARD_SIGMOID: _hard_sigmoid,
    Activation.HARD_SWISH: _hard_swish,
    Activation.SILU: _silu,
    Activation.GELU: _gelu,
    Activation.TANH: _plain("Tanh"),
    Activation.SOFTMAX: _softmax,
}


def emit_layer_norm(emitter: Emitter, node: Node, operation: LayerNorm, value: str) -> str:
    """LayerNormalization over the last axis from opset 17; mean, variance and Mul/Add before.

    Statistics are float32 in both: the operator's own default (``stash_type``), and casts before opset 17.
    """
    gamma = emitter.weight(f"{node.name}:gamma", operation.gamma)
    beta = emitter.weight(f"{node.name}:beta", operation.beta)
    if emitter.opset >= LAYER_NORM_OPSET:
        inputs = [value, gamma, beta]
        return emitter.node("LayerNormalization", inputs, node.name, axis=-1, epsilon=operation.epsilon)
    half = emitter.dtype == "float16"
    exact = emitter.cast(value, f"{node.name}:float32", "float32") if half else value
    normal = _normalised(emitter, node.name, operation.epsilon, exact)
    if half:
        normal = emitter.cast(normal, f"{node.name}:float16", "float16")
    scaled = emitter.node("Mul", [normal, gamma], f"{node.name}:scaled")
    return emitter.node("Add", [scaled, beta], node.name)


def _normalised(emitter: Emitter, name: str, epsilon: float, value: str) -> str:
    mean = emitter.node("ReduceMean", [value], f"{name}:mean", axes=[-1])
    centred = emitter.node("Sub", [value, mean], f"{name}:centred")
    square = emitter.node("Mul", [centred, centred], f"{name}:square")
    variance = emitter.node("ReduceMean", [square], f"{name}:variance", axes=[-1])
    stable = emitter.node("Add", [variance, emitter.exact_scalar(f"{name}:epsilon", epsilon)], f"{name}:stable")
    deviation = emitter.node("Sqrt", [stable], f"{name}:deviation")
    return emitter.node("Div", [centred, deviation], f"{name}:normal")
