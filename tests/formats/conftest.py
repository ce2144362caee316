"""Small Keras models that hold what the independent converters trip over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SHAPE = (16, 16, 3)


def spread_weights(model: Any) -> Any:
    """Weights of which every one matters, so that outputs differ between images and classes."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        values = rng.uniform(0.5, 1.5, variable.shape) if "variance" in variable.name else None
        variable.assign(rng.normal(0.0, 0.3, variable.shape) if values is None else values)
    return model


@pytest.fixture(scope="session")
def normalised_model() -> Any:
    """Normalization, convolution with BatchNormalization, squeeze and excite, softmax."""
    import keras
    from keras import layers

    image = keras.Input(SHAPE, name="image")
    value = layers.Normalization(mean=[110.0, 120.0, 130.0], variance=[3000.0, 3100.0, 3200.0])(image)
    value = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(value)
    value = layers.ReLU(6.0)(layers.BatchNormalization()(value))
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(value))
    value = layers.GlobalAveragePooling2D()(layers.Multiply()([value, gate]))
    return spread_weights(keras.Model(image, layers.Dense(4, activation="softmax")(value), name="normalised"))


@pytest.fixture(scope="session")
def grouped_model() -> Any:
    """A grouped convolution, which TensorFlow runs only through XLA on a CPU."""
    import keras
    from keras import layers

    image = keras.Input(SHAPE)
    value = layers.Conv2D(8, 3, groups=4)(layers.Conv2D(8, 1)(image))
    return keras.Model(image, layers.GlobalAveragePooling2D()(value), name="grouped")


@pytest.fixture(scope="session")
def gelu_model() -> Any:
    import keras
    from keras import layers

    image = keras.Input(SHAPE)
    return keras.Model(image, layers.Conv2D(4, 3, activation="gelu")(image), name="exact_gelu")
