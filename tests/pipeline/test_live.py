"""Models of a Python program are used where they are: what no file could hold is exported, and nothing is changed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.errors import UsageError
from kexport.pipeline import Request
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks.prepare import PrepareRequest, prepare_live
from kexport.sources.loading import live
from kexport.specs import Cell, Format, ModelSpec
from tests.own_models import OWN, exported, passed

TWO = (Format.ONNX, Format.TFLITE)
STEEPNESS = 1.5
SHAPE = (12, 12, 3)


def named(model: Any) -> ModelSpec:
    return ModelSpec(live=live.name(model), weights=OWN)


def headed(body: Callable[[Any], Any], name: str = "own net") -> Any:
    """A small classifier with ``body`` in the middle."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input(SHAPE)
    value = body(layers.Conv2D(6, 3, name="stem")(image))
    value = layers.GlobalAveragePooling2D()(value)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="scores")(value), name=name)


def of_a_class(value: Any) -> Any:
    """A class that exists in this call alone, without get_config, and counts its calls."""
    from keras import layers, ops

    class Gate(layers.Layer):
        def build(self, shape: Any) -> None:
            self.steepness = self.add_weight(shape=(shape[-1],), initializer="ones")
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, given: Any) -> Any:
            self.calls.assign_add(1.0)
            return given * ops.sigmoid(given * self.steepness)

    return Gate(name="gate")(value)


def of_a_global(value: Any) -> Any:
    from keras import layers

    return layers.Lambda(lambda given: given * STEEPNESS - 0.25)(value)


def of_a_closure(value: Any) -> Any:
    from keras import layers, ops

    def times(factor: float) -> Any:
        return layers.Lambda(lambda given: ops.tanh(given * factor))

    return times(2.5)(times(0.5)(value))


def of_tensorflow(value: Any) -> Any:
    """What the native graph cannot have: code of TensorFlow, and again a global."""
    from keras import layers

    class Sums(layers.Layer):
        def call(self, given: Any) -> Any:
            import tensorflow as tf

            return tf.math.cumsum(given, axis=-1) * STEEPNESS

    return Sums()(value)


@pytest.mark.parametrize("body", [of_a_class, of_a_global, of_a_closure])
def test_what_no_file_could_hold_is_native(tmp_path: Path, body: Callable[[Any], Any]) -> None:
    model = headed(body)
    passed(exported(named(model), tmp_path, TWO, live=model))


def test_a_model_of_an_own_class(tmp_path: Path) -> None:
    import keras
    from keras import layers, ops

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="own_class")
            self.stem, self.scores = layers.Conv2D(6, 3), layers.Dense(3)

        def call(self, given: Any) -> Any:
            return self.scores(ops.mean(self.stem(given), axis=(1, 2)))

    model = Own()
    model(np.zeros((1, *SHAPE), np.float32))
    passed(exported(named(model), tmp_path, TWO, live=model))
    assert (len(model._inbound_nodes), model.name) == (0, "own_class")


def test_engines_get_a_savedmodel(tmp_path: Path) -> None:
    """An engine's process has neither the class nor the global: it converts what the program wrote."""
    model = headed(of_tensorflow)
    onnx, tflite, folder = exported(named(model), tmp_path, live=model)
    passed([folder])
    passed([onnx], engine="tf2onnx")
    passed([tflite], engine="tflite-converter")
    assert onnx.artifact is not None
    assert "call is not made of keras.ops alone" in onnx.artifact.engine_reason


@pytest.mark.long
def test_a_long_sequence_is_a_loop_of_the_converter(tmp_path: Path) -> None:
    """TFLite's own writer unrolls up to 512 steps; ONNX has a loop of its own, and which engine ran is said."""
    import keras

    keras.utils.set_random_seed(3)
    series = keras.Input((520, 3))
    model = keras.Model(series, keras.layers.Dense(4)(keras.layers.GRU(5)(series)), name="series")
    onnx, tflite = exported(named(model), tmp_path, TWO, live=model)
    passed([onnx])
    passed([tflite], engine="tflite-converter")
    assert tflite.artifact is not None
    assert "520 steps, TFLite files are unrolled up to 512" in tflite.artifact.engine_reason


def number_of(layer: Any) -> int:
    """What Keras counts in the names of layers: ``dense``, ``dense_1``."""
    return int(layer.name.partition("_")[2] or 0)


def test_model_and_program_stay_as_they_were(tmp_path: Path) -> None:
    import keras

    model = headed(of_a_class, "plain")
    model.compile(optimizer="sgd", loss="mse")
    model.predict_on_batch(np.zeros((1, *SHAPE), np.float32))

    def state() -> dict[str, Any]:
        layers = list(model._flatten_layers())
        return {
            "variables": [np.asarray(variable).tobytes() for variable in model.variables],
            "calls": [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers],
            "attributes": (model.name, model.predict_function, model.optimizer, model.compiled, model.trainable),
            "environment": dict(os.environ),
            "keras": (keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()),
            "random": (random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002 - that of the program
            "files": sorted(Path.cwd().iterdir()),
        }

    first = number_of(keras.layers.Dense(1))  # its seed is drawn from the program's random numbers
    before = state()
    cells = tuple(Cell(model=named(model), format=form) for form in (Format.ONNX, Format.SAVEDMODEL))
    prepare_live(model, PrepareRequest(model=named(model), folder=str(tmp_path), cells=cells), Clock())
    assert (tmp_path / "served-dynamic").is_dir(), "engines were served as well"
    assert state() == before
    assert number_of(keras.layers.Dense(1)) == first + 1


def test_untouched_puts_back_what_was_changed() -> None:
    """The check above could not fail if nothing ever changed."""
    import keras

    model = headed(of_a_class, "plain")
    gate = model.get_layer("gate")
    before = float(np.asarray(gate.calls)), model.name, random.getstate()
    with live.untouched(model):
        model(np.zeros((1, *SHAPE), np.float32))
        model.predict_on_batch(np.zeros((1, *SHAPE), np.float32))
        keras.layers.Dense(1), random.random()
        model.name = "another"
        assert float(np.asarray(gate.calls)) > before[0]
    assert (float(np.asarray(gate.calls)), model.name, random.getstate()) == before
    assert model.predict_function is None


def test_code_that_raises_is_told(tmp_path: Path) -> None:
    """Through `kexport.export`: nothing is started, and the error says which layer and why."""

    def broken(value: Any) -> Any:
        from keras import layers, ops

        def fails(given: Any) -> Any:
            if hasattr(given, "numpy"):
                raise ValueError("no such luck")
            return ops.tanh(given)

        return layers.Lambda(fails, name="fails")(value)

    with pytest.raises(UsageError, match=r"layer 'fails' \(Lambda\) raised ValueError: "):
        kexport.export(headed(broken), formats="onnx", output=tmp_path)


def test_two_models_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two models are called 'own_net'"):
        kexport.export([headed(of_a_global), headed(of_a_closure)], formats="onnx", output=tmp_path)


def test_a_file_beside_a_live_model_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own model may run; that says nothing about a file."""
    asked: list[Request] = []
    monkeypatch.setattr("kexport.api.run", lambda request, _: asked.append(request) or ())
    model, foreign = headed(of_a_global), tmp_path / "foreign.keras"
    foreign.touch()
    kexport.export([model, foreign], formats="onnx", output=tmp_path)
    assert [(cell.model.kind, cell.model.trust) for cell in asked[0].cells] == [("live", False), ("file", False)]
    assert asked[0].live == {"own_net": model}
