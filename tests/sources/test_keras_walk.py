"""The walk computes what the model computes, and holds each tensor no longer than somebody reads it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from kexport.sources.keras_walk import functional, ordered_calls, run


def infer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def models() -> dict[str, Any]:
    import keras

    layers = keras.layers
    x, row = keras.Input((8, 8, 3)), keras.Input((4,))
    shared = layers.Conv2D(3, 3, padding="same")
    branches = layers.Add()([shared(layers.ReLU()(shared(x))), x * 2.0 + 1.0])
    backbone = keras.Model(x, layers.BatchNormalization()(layers.Conv2D(4, 3)(x)), name="backbone")
    return {
        "branches": keras.Model(x, branches),
        "nested": keras.Model(x, layers.Dropout(0.5)(layers.Flatten()(backbone(branches)))),
        "sequential": keras.Sequential([keras.Input((8, 8, 3)), backbone, layers.GlobalMaxPooling2D()]),
        "two inputs": keras.Model([x, row], layers.Concatenate()([layers.GlobalMaxPooling2D()(x), row])),
        "two outputs": keras.Model(x, [branches, layers.ReLU()(branches), x]),
    }


@pytest.mark.parametrize("name", ["branches", "nested", "sequential", "two inputs", "two outputs"])
def test_the_walk_equals_the_model(name):
    model = models()[name]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    expected = model(values if len(values) > 1 else values[0], training=False)
    found = run(model, values, infer)
    wanted = list(expected) if isinstance(expected, (list, tuple)) else [expected]
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(have), np.asarray(want))


def test_a_call_meets_no_inner_model():
    met: list[str] = []

    def remember(layer: Any, *args: Any, **kwargs: Any) -> Any:
        met.append(type(layer).__name__)
        return layer(*args, **kwargs)

    run(models()["nested"], [np.ones((1, 8, 8, 3), np.float32)], remember)
    assert "Functional" not in met
    assert met.count("Conv2D") == 3, "the shared one twice, that of the backbone once"


def test_tensors_are_forgotten_after_their_last_reader():
    import keras

    x = y = keras.Input((4,))
    for _ in range(6):
        y = keras.layers.Dense(4)(y)
    alive: list[weakref.ref[Any]] = []
    most = 0

    def count(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        result = layer(*args, **kwargs)
        alive.append(weakref.ref(result))
        return result

    run(keras.Model(x, y), [np.ones((1, 4), np.float32)], count)
    assert len(alive) == 6
    assert most <= 2, "only what the current layer reads, and what the one before read"


def test_a_subclass_with_its_own_call_is_no_graph_of_layers():
    import keras

    class Own(keras.Model):
        def call(self, x, training=None, mask=None):
            return super().call(x) * 2

    x = keras.Input((3,))
    assert functional(Own(x, keras.layers.ReLU()(x))) is None
    plain = keras.Model(x, keras.layers.ReLU()(x))
    assert functional(plain) is plain
    assert [type(node.operation).__name__ for node in ordered_calls(plain)] == ["ReLU"]
