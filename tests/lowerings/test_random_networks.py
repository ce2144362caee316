"""Random small networks over the layers that the native graph knows: Keras against ONNX against TFLite.

A network is drawn step by step, each step for the image that it gets. Hypothesis shrinks a failure to few
steps and prints them. The examples are the same in every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from kexport.lowerings.model import lower_model
from kexport.passes import optimize

BOUND = 1e-4
"""Largest error over the output's standard deviation, after up to six layers."""
LEAST_SIGNAL = 1e-3
NOISE = 3e-7
"""A few units in the last place of float32: networks that turn so much into a third of the bound prove nothing."""
BATCH = 2
EXAMPLES = 45 if os.environ.get("KEXPORT_LONG") else 10
"""The long run has three times as many."""
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
Draw = Callable[..., Any]


@dataclass(repr=False)
class Network:
    """A Keras graph under construction, and what it was made of."""

    inputs: list[Any]
    value: Any
    steps: list[str] = field(default_factory=list)

    def apply(self, name: str, *values: Any, **options: Any) -> Any:
        import keras

        self.steps.append(f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})")
        layer = getattr(keras.layers, name)(**options)
        return layer(list(values) if len(values) > 1 else values[0] if values else self.value)

    def __repr__(self) -> str:
        return f"input {self.inputs[0].shape[1:]} " + " ".join(self.steps)


ACTIVATIONS = st.sampled_from(
    ["relu", "relu6", "gelu", "silu", "hard_silu", "elu", "selu", "softplus", "tanh", "leaky_relu", "mish", "linear",
     "softsign", "squareplus", "celu", "hard_tanh", "soft_shrink"]
)  # fmt: skip
PADDINGS = st.sampled_from(["same", "valid"])


def window(draw: Draw, network: Network, *, dilated: bool) -> dict[str, Any]:
    """Kernel, strides or dilation, and padding that fit the image."""
    _, height, width, _ = network.value.shape
    kernel = draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width)))
    options: dict[str, Any] = {"kernel_size": kernel, "padding": draw(PADDINGS)}
    if dilated and draw(st.booleans()):
        options["dilation_rate"] = draw(st.integers(1, 2)), draw(st.integers(1, 2))
        if options["padding"] == "valid":
            reach = [(size - 1) * rate + 1 for size, rate in zip(kernel, options["dilation_rate"], strict=True)]
            options["padding"] = "valid" if reach[0] <= height and reach[1] <= width else "same"
    else:
        options["strides"] = draw(st.integers(1, 3))
    return options


def conv(draw: Draw, network: Network) -> Any:
    channels = network.value.shape[-1]
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    filters = groups * draw(st.integers(1, 4))
    options = window(draw, network, dilated=True)
    return network.apply(
        "Conv2D",
        filters=filters,
        groups=groups,
        use_bias=draw(st.booleans()),
        activation=draw(ACTIVATIONS),
        **options,
    )


def depthwise(draw: Draw, network: Network) -> Any:
    options = window(draw, network, dilated=True)
    if "strides" in options or options["dilation_rate"][0] != options["dilation_rate"][1]:
        options.pop("dilation_rate", None)
    return network.apply("DepthwiseConv2D", depth_multiplier=draw(st.integers(1, 2)), **options)


def separable(draw: Draw, network: Network) -> Any:
    return network.apply("SeparableConv2D", filters=draw(st.integers(1, 5)), **window(draw, network, dilated=False))


def transposed(draw: Draw, network: Network) -> Any:
    assume(max(network.value.shape[1:3]) <= 12)
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(PADDINGS)
    return network.apply(
        "Conv2DTranspose", filters=draw(st.integers(1, 4)), kernel_size=kernel, strides=stride, padding=padding
    )


def pool(draw: Draw, network: Network) -> Any:
    _, height, width, _ = network.value.shape
    name = draw(st.sampled_from(["MaxPooling2D", "AveragePooling2D"]))
    size = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    return network.apply(name, pool_size=size, strides=draw(st.integers(1, 2)), padding=draw(PADDINGS))


def pad(draw: Draw, network: Network) -> Any:
    amounts = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in "hw")
    return network.apply("ZeroPadding2D", padding=amounts)


def crop(draw: Draw, network: Network) -> Any:
    _, height, width, _ = network.value.shape
    assume(min(height, width) >= 4)
    amounts = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 2))) for _ in "hw")
    return network.apply("Cropping2D", cropping=amounts)


def normalise(draw: Draw, network: Network) -> Any:
    channels = network.value.shape[-1]
    name = draw(st.sampled_from(["BatchNormalization", "LayerNormalization", "GroupNormalization", "Rescaling"]))
    assume(channels > 1 or name != "LayerNormalization")
    options: dict[str, Any] = {"Rescaling": {"scale": 0.5, "offset": -0.3}}.get(name, {"epsilon": 1e-2})
    if name == "GroupNormalization":
        options["groups"] = draw(st.sampled_from([g for g in (1, 2, 3, -1) if g == -1 or channels % g == 0]))
    return network.apply(name, **options)


def activate(draw: Draw, network: Network) -> Any:
    name = draw(st.sampled_from(["Activation", "PReLU", "LeakyReLU", "ReLU", "ELU"]))
    if name == "Activation":
        return network.apply(name, activation=draw(ACTIVATIONS))
    if name == "PReLU":
        return network.apply(name, shared_axes=draw(st.sampled_from([None, [1, 2], [1], [3]])))
    options = {"ReLU": {"max_value": draw(st.sampled_from([None, 6.0, 1.0]))}}.get(name, {})
    return network.apply(name, **options)


def enlarge(draw: Draw, network: Network) -> Any:
    assume(max(network.value.shape[1:3]) <= 12)
    kind = draw(st.sampled_from(["nearest", "bilinear"]))
    if draw(st.booleans()):
        size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        return network.apply("UpSampling2D", size=size, interpolation=kind)
    return network.apply(
        "Resizing", height=draw(st.integers(2, 15)), width=draw(st.integers(2, 15)), interpolation=kind
    )


def merge(draw: Draw, network: Network) -> Any:
    name = draw(st.sampled_from(["Add", "Multiply", "Subtract", "Average", "Maximum", "Minimum", "Concatenate"]))
    before = network.value
    branch = network.apply("Conv2D", filters=before.shape[-1], kernel_size=3, padding="same")
    return network.apply(name, branch, before)


def squeeze_excite(draw: Draw, network: Network) -> Any:
    del draw
    before, channels = network.value, network.value.shape[-1]
    pooled = network.apply("GlobalAveragePooling2D", keepdims=True)
    gate = network.apply("Conv2D", pooled, filters=channels, kernel_size=1, activation="sigmoid")
    return network.apply("Multiply", before, gate)


def arithmetic(draw: Draw, network: Network) -> Any:
    import keras

    name = draw(st.sampled_from(["abs", "square", "negative", "multiply", "subtract", "maximum", "mean"]))
    network.steps.append(f"ops.{name}")
    value = network.value
    if name in ("multiply", "subtract", "maximum"):
        _, height, width, channels = value.shape
        shapes = [(), (channels,), (width, 1), (height, 1, channels), (1, height, width, 1)]
        constant = np.random.default_rng(3).uniform(0.5, 1.5, draw(st.sampled_from(shapes))).astype(np.float32)
        sides = (value, constant) if draw(st.booleans()) else (constant, value)
        return getattr(keras.ops, name)(*sides)
    if name == "mean":
        return value - keras.ops.mean(value, axis=draw(st.sampled_from([1, (1, 2), (1, 2, 3)])), keepdims=True)
    return getattr(keras.ops, name)(value)


STEPS = (conv, conv, depthwise, separable, transposed, pool, pad, crop, normalise, activate, enlarge, merge,
         squeeze_excite, arithmetic)  # fmt: skip


def head(draw: Draw, network: Network) -> Any:
    kind = draw(st.sampled_from(["image", "flat", "average", "maximum", "rows"]))
    if kind == "image":
        return network.value
    if kind == "rows":
        _, height, width, channels = network.value.shape
        network.value = network.apply("Reshape", target_shape=(height * width, channels))
        network.value = network.apply("Dense", units=6, activation=draw(ACTIVATIONS))
        return network.apply("LayerNormalization", epsilon=1e-2)
    name = {"flat": "Flatten", "average": "GlobalAveragePooling2D", "maximum": "GlobalMaxPooling2D"}[kind]
    network.value = network.apply(name)
    return network.apply("Dense", units=5, activation=draw(st.sampled_from(["linear", "softmax", "sigmoid"])))


def draw_network(draw: Draw) -> Network:
    import keras

    shape = draw(st.integers(3, 12)), draw(st.integers(3, 12)), draw(st.integers(1, 6))
    start = keras.Input(shape)
    network = Network(inputs=[start], value=start)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5)):
        network.value = step(draw, network)
    network.value = head(draw, network)
    return network


@pytest.mark.slow
@SETTINGS
@given(data=st.data())
def test_random_networks_equal_keras_in_both_formats(data, run_onnx, run_tflite, seeded):
    import keras

    network = draw_network(data.draw)
    note(repr(network))
    model = seeded(keras.Model(network.inputs[0], network.value))
    images = np.random.default_rng(11).normal(size=(BATCH, *network.inputs[0].shape[1:])).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    shaken = images * np.random.default_rng(12).uniform(1 - NOISE, 1 + NOISE, images.shape).astype(np.float32)
    drift = np.abs(np.asarray(model(shaken, training=False)) - expected).max()
    assume(expected.std() > LEAST_SIGNAL and drift < BOUND / 3 * expected.std())
    graph = optimize(lower_model(model))
    (onnx,), (tflite,) = run_onnx(graph, [images]), run_tflite(graph, [images])[0]
    for found in (onnx, tflite):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= BOUND * expected.std()
    keras.utils.clear_session()
