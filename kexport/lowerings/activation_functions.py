"""The functions of `keras.activations` and of `keras.ops.nn`, each as operations of the graph.

What no runtime has as one operator is put together from what all of them have. Definitions:
keras/src/backend/tensorflow/nn.py of Keras 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kexport.lowerings import Builder, Value
from kexport.lowerings.primitives import (
    binary,
    positive,
    reduce,
    relu,
    scale_shift,
    sizes,
    softmax,
    unary,
)
from kexport.operations import (
    Activate,
    Activation,
    BinaryKind,
    Clip,
    Function,
    LeakyRelu,
    ReduceKind,
    Slice,
    Threshold,
)

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
Lower = Callable[..., Value]


def builtin(function: Activation) -> Lower:
    """A function that every format has as one operator."""
    return lambda build, value: build.emit(Activate(function=function), value)


def elementary(function: Function) -> Lower:
    """A function of one number."""
    return lambda build, value: unary(build, function, value)


def rectified(
    build: Builder,
    value: Value,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Value:
    """`keras.activations.relu` with all of its arguments."""
    if not threshold and max_value is None and negative_slope:
        return leaky_relu(build, value, negative_slope)
    if not negative_slope:
        return _upper(build, value, max_value, threshold, part="")
    positive_part = _upper(build, value, max_value, threshold, part="positive")
    below = relu(build, scale_shift(build, value, -1.0, threshold, part="below"), part="negative")
    sloped = scale_shift(build, below, -negative_slope, 0.0, part="sloped")
    return binary(build, BinaryKind.ADD, positive_part, sloped)


def _upper(build: Builder, value: Value, max_value: float | None, threshold: float, part: str) -> Value:
    if threshold:
        kept = "kept" if max_value is not None else part
        value = build.emit(Threshold(threshold=float(threshold), otherwise=0.0), value, part=kept)
        return value if max_value is None else build.emit(Clip(minimum=0.0, maximum=float(max_value)), value, part=part)
    if max_value is None:
        return relu(build, value, part=part)
    if max_value == 6:
        return build.emit(Activate(function=Activation.RELU6), value, part=part)
    return build.emit(Clip(minimum=0.0, maximum=float(max_value)), value, part=part)


def leaky_relu(build: Builder, value: Value, negative_slope: float = 0.2) -> Value:
    """``x``, below zero ``negative_slope * x``."""
    return build.emit(LeakyRelu(slope=np.full(1, negative_slope, np.float32)), value)


def elu(build: Builder, value: Value, alpha: float = 1.0) -> Value:
    """``x``, below zero ``alpha * (exp(x) - 1)``."""
    if alpha == 1:
        return unary(build, Function.ELU, value)
    return _bent(build, value, slope=1.0, height=alpha, width=1.0)


def selu(build: Builder, value: Value) -> Value:
    """A scaled ELU that keeps mean 0 and variance 1."""
    return _bent(build, value, slope=SELU_SCALE, height=SELU_SCALE * SELU_ALPHA, width=1.0)


def celu(build: Builder, value: Value, alpha: float = 1.0) -> Value:
    """``max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)``."""
    if alpha == 1:
        return unary(build, Function.ELU, value)
    return _bent(build, value, slope=1.0, height=alpha, width=alpha)


def _bent(build: Builder, value: Value, *, slope: float, height: float, width: float) -> Value:
    """``slope * max(x, 0) + height * (exp(min(x, 0) / width) - 1)``."""
    above = relu(build, value, part="positive")
    if slope != 1:
        above = scale_shift(build, above, slope, 0.0, part="sloped")
    below = binary(build, BinaryKind.MINIMUM, value, 0.0, part="negative")
    if width != 1:
        below = scale_shift(build, below, 1.0 / width, 0.0, part="wide")
    power = unary(build, Function.ELU, below, part="exponential")
    return binary(build, BinaryKind.ADD, above, scale_shift(build, power, height, 0.0, part="bent"))


def gelu(build: Builder, value: Value, approximate: bool = False) -> Value:
    """Exact by default in `keras.activations`, approximate by default in `keras.ops`."""
    if approximate:
        return unary(build, Function.GELU_TANH, value)
    return build.emit(Activate(function=Activation.GELU), value)


def soft_shrink(build: Builder, value: Value, threshold: float = 0.5) -> Value:
    """``max(x - t, 0) - max(-x - t, 0)``."""
    above = relu(build, scale_shift(build, value, 1.0, -threshold, part="above"), part="positive")
    below = relu(build, scale_shift(build, value, -1.0, -threshold, part="below"), part="negative")
    return binary(build, BinaryKind.SUBTRACT, above, below)


def hard_shrink(build: Builder, value: Value, threshold: float = 0.5) -> Value:
    """``x`` where its size is above the threshold, else 0."""
    cut = Threshold(threshold=float(threshold), otherwise=0.0)
    above = build.emit(cut, value, part="positive")
    below = build.emit(cut, scale_shift(build, value, -1.0, 0.0, part="mirrored"), part="negative")
    return binary(build, BinaryKind.SUBTRACT, above, below)


def tanh_shrink(build: Builder, value: Value) -> Value:
    """``x - tanh(x)``."""
    return binary(build, BinaryKind.SUBTRACT, value, _tanh(build, value))


def hard_tanh(build: Builder, value: Value) -> Value:
    """Between -1 and 1."""
    return build.emit(Clip(minimum=-1.0, maximum=1.0), value)


def threshold(build: Builder, value: Value, threshold: float, default_value: float) -> Value:
    """``x`` above the threshold, else the default."""
    return build.emit(Threshold(threshold=float(threshold), otherwise=float(default_value)), value)


def sparse_plus(build: Builder, value: Value) -> Value:
    """0, then ``(x + 1)^2 / 4`` between -1 and 1, then ``x``: ``(clip(x) + 1)^2 / 4 + max(x - 1, 0)``."""
    middle = build.emit(Clip(minimum=-1.0, maximum=1.0), value, part="middle")
    square = unary(build, Function.SQUARE, scale_shift(build, middle, 0.5, 0.5, part="half"), part="square")
    above = relu(build, scale_shift(build, value, 1.0, -1.0, part="above"), part="positive")
    return binary(build, BinaryKind.ADD, square, above)


def sparse_sigmoid(build: Builder, value: Value) -> Value:
    """``(x + 1) / 2`` between 0 and 1."""
    return build.emit(Clip(minimum=0.0, maximum=1.0), scale_shift(build, value, 0.5, 0.5, part="half"))


def squareplus(build: Builder, value: Value, b: float = 4) -> Value:
    """``(x + sqrt(x^2 + b)) / 2``."""
    square = unary(build, Function.SQUARE, value, part="square")
    root = unary(build, Function.SQUARE_ROOT, scale_shift(build, square, 1.0, b, part="raised"), part="root")
    return scale_shift(build, binary(build, BinaryKind.ADD, value, root, part="sum"), 0.5, 0.0)


def mish(build: Builder, value: Value) -> Value:
    """``x * tanh(softplus(x))``."""
    return binary(build, BinaryKind.MULTIPLY, value, _tanh(build, unary(build, Function.SOFTPLUS, value, "softplus")))


def _tanh(build: Builder, value: Value) -> Value:
    return build.emit(Activate(function=Activation.TANH), value, part="tanh")


def log_sigmoid(build: Builder, value: Value) -> Value:
    """``-softplus(-x)``."""
    mirrored = unary(build, Function.NEGATIVE, value, part="mirrored")
    return unary(build, Function.NEGATIVE, unary(build, Function.SOFTPLUS, mirrored, part="softplus"))


def glu(build: Builder, value: Value, axis: int = -1) -> Value:
    """The first half of an axis times the sigmoid of its second half (Dauphin et al. 2017)."""
    place = positive(axis, value) - 1
    whole = sizes(value)
    half = tuple(length // 2 if axis == place else length for axis, length in enumerate(whole))
    starts = tuple(whole[place] // 2 if axis == place else 0 for axis in range(len(whole)))
    first = build.emit(Slice(starts=(0,) * len(whole), sizes=half), value, part="first")
    second = build.emit(Slice(starts=starts, sizes=half), value, part="second")
    gate = build.emit(Activate(function=Activation.SIGMOID), second, part="gate")
    return binary(build, BinaryKind.MULTIPLY, first, gate)


def softmax_over(build: Builder, value: Value, axis: int | Sequence[int] = -1) -> Value:
    """Softmax over one axis, or over several together."""
    return softmax(build, value, [axis] if isinstance(axis, int) else axis)


def log_softmax(build: Builder, value: Value, axis: int = -1) -> Value:
    """``c - log(sum(exp(c)))`` with ``c = x - max(x)``."""
    largest = reduce(build, ReduceKind.MAXIMUM, value, [axis], part="maximum")
    centred = binary(build, BinaryKind.SUBTRACT, value, largest, part="centred")
    powers = unary(build, Function.EXPONENTIAL, centred, part="powers")
    total = reduce(build, ReduceKind.SUM, powers, [axis], part="total")
    return binary(build, BinaryKind.SUBTRACT, centred, unary(build, Function.LOGARITHM, total, part="logarithm"))


def unchanged(build: Builder, value: Value) -> Value:
    """The identity."""
    del build
    return value


FUNCTIONS: dict[str, Lower] = {
    "linear": unchanged,
    "relu": rectified,
    "relu6": builtin(Activation.RELU6),
    "sigmoid": builtin(Activation.SIGMOID),
    "hard_sigmoid": builtin(Activation.HARD_SIGMOID),
    "hard_silu": builtin(Activation.HARD_SWISH),
    "silu": builtin(Activation.SILU),
    "tanh": builtin(Activation.TANH),
    "softmax": softmax_over,
    "log_softmax": log_softmax,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "gelu": gelu,
    "glu": glu,
    "softplus": elementary(Function.SOFTPLUS),
    "softsign": elementary(Function.SOFTSIGN),
    "exponential": elementary(Function.EXPONENTIAL),
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "tanh_shrink": tanh_shrink,
    "hard_tanh": hard_tanh,
    "threshold": threshold,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus,
    "mish": mish,
    "log_sigmoid": log_sigmoid,
}
"""By the name in `keras.activations`; called with the builder, the value and the function's own arguments."""
