"""Seeded random weights: the same numbers again, others for another seed, statistics of what really arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kexport.images.seeded import check_count, seeded_images
from kexport.sources import rows
from kexport.sources.weights.random import LOGIT_SPREAD, linear_part, randomize

SHAPE = (32, 32, 3)


def small_model() -> Any:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input(SHAPE)
    y = layers.Rescaling(1 / 127.5, -1.0)(x)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, use_bias=False, name="stem")(y))
    y = layers.SeparableConv2D(12, 3, name="separable")(layers.ReLU()(y))
    y = layers.LayerNormalization(name="layer_norm")(layers.DepthwiseConv2D(3, name="wide")(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 1, activation="gelu", name="mix")(y))
    return keras.Model(x, layers.Dense(50, activation="softmax", name="head")(y), name="small")


def made(seed: int) -> Any:
    model = small_model()
    randomize(model, seed=seed, low=0.0, high=255.0)
    return model


def values(model: Any) -> dict[str, np.ndarray]:
    return {weight.path: np.asarray(weight) for weight in model.weights}


@pytest.fixture(scope="module")
def model() -> Any:
    return made(0)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return seeded_images(check_count(SHAPE), SHAPE, seed=0)


def inner(model: Any, layer: str, images: np.ndarray) -> np.ndarray:
    import keras

    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(images, training=False))


def test_the_same_seed_gives_the_same_weights(model):
    again = values(made(0))
    for path, array in values(model).items():
        np.testing.assert_array_equal(array, again[path], err_msg=path)


def test_another_seed_gives_other_scales_and_shifts(model):
    other = values(made(1))
    changed = {path for path, array in values(model).items() if not np.array_equal(array, other[path])}
    assert {"norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance", "head/bias"} <= changed


def test_nothing_stays_trivial(model):
    """A scale of one, or a shift of zero, could be swapped or dropped unseen."""
    for path, array in values(model).items():
        assert array.std() > 1e-3, path


def test_a_normalisation_has_the_statistics_of_what_reaches_it(model, images):
    norm, arriving = model.get_layer("norm"), inner(model, "stem", images)
    np.testing.assert_allclose(np.asarray(norm.moving_mean), arriving.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(norm.moving_variance), arriving.var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("layer", ["separable", "wide"])
def test_linear_layers_have_unit_spread(model, images, layer):
    assert 0.8 <= inner(model, layer, images).std() <= 1.25


@pytest.mark.parametrize(
    "settings",
    [
        {"filters": 6, "groups": 6, "padding": "same"},
        {"filters": 6, "groups": 6, "strides": 2},
        {"filters": 6, "groups": 6, "dilation_rate": 2},
        {"filters": 6, "groups": 3},  # as Keras computes it: two channels for each kernel
        {"filters": 12, "groups": 6},
        {"filters": 6},
    ],
)
def test_a_kernel_for_each_channel_is_a_depthwise_convolution(settings):
    import keras

    layer = keras.layers.Conv2D(kernel_size=3, use_bias=False, **settings)
    value = np.random.default_rng(0).normal(size=(1, 9, 9, 6)).astype(np.float32)
    expected = np.asarray(layer(value))
    np.testing.assert_allclose(np.asarray(linear_part(layer, value)), expected, rtol=1e-4, atol=1e-6)


def test_logits_differ_between_images_as_stated(model, images):
    logits = np.log(np.asarray(model(images, training=False), np.float64))
    logits -= logits.mean(axis=1, keepdims=True)
    assert 0.5 * LOGIT_SPREAD <= logits.std(axis=0).mean() <= 1.5 * LOGIT_SPREAD


def test_activations_come_back(model):
    assert model.get_layer("mix").activation.__name__ == "gelu"
    assert model.get_layer("head").activation.__name__ == "softmax"


def test_what_keras_says_on_the_way_is_what_it_says_afterwards(images):
    model = small_model()
    found = randomize(model, seed=0, low=0.0, high=255.0)
    assert found is not None
    again = rows.together(model, {"input": images}, rows=len(images), rounding=False)
    assert again is not None
    for ours, theirs in ((found.outputs, again.outputs), (found.logits, again.logits), (found.layers, again.layers)):
        assert ours.keys() == theirs.keys()
        assert ours
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    np.testing.assert_array_equal(found.inputs["input"], images)
    np.testing.assert_allclose(found.outputs["output"], np.asarray(model(images, training=False)), rtol=1e-5)


def shared_model() -> Any:
    import keras

    layers = keras.layers
    x = keras.Input(SHAPE)
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    y = layers.GlobalAveragePooling2D()(twice(twice(x)))
    return keras.Model(x, layers.Dense(5, activation="softmax", name="head")(y))


def softmax_apart() -> Any:
    import keras

    layers = keras.layers
    x = keras.Input(SHAPE)
    y = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="one")(x)))
    return keras.Model(x, layers.Reshape((5,))(layers.Softmax()(y)))


def test_a_layer_that_is_called_twice_may_have_answered_otherwise():
    assert randomize(shared_model(), seed=0, low=0.0, high=255.0) is None


def test_every_layer_has_its_weights_before_it_answers():
    model = softmax_apart()
    found = randomize(model, seed=3, low=0.0, high=255.0)
    assert found is not None
    assert all(array.std() > 0 for array in values(model).values())
    logits, sums = found.logits["output"], np.exp(found.logits["output"])
    np.testing.assert_allclose(found.outputs["output"], sums / sums.sum(-1, keepdims=True), rtol=1e-5)
    assert logits.std(axis=0).mean() == pytest.approx(LOGIT_SPREAD, rel=1e-3)
