"""Seeded random weights: the same numbers again, others for another seed, statistics of what really arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kexport.images.seeded import check_count, seeded_images
from kexport.sources.weights.random import LOGIT_SPREAD, randomize

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


def test_logits_differ_between_images_as_stated(model, images):
    logits = np.log(np.asarray(model(images, training=False), np.float64))
    logits -= logits.mean(axis=1, keepdims=True)
    assert 0.5 * LOGIT_SPREAD <= logits.std(axis=0).mean() <= 1.5 * LOGIT_SPREAD


def test_activations_come_back(model):
    assert model.get_layer("mix").activation.__name__ == "gelu"
    assert model.get_layer("head").activation.__name__ == "softmax"
