"""A right file is never refused: one output, a sure softmax, a weak signal; and what proves nothing is no PASS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import store
from kexport.errors import UnsupportedError
from kexport.records import Compared, Record, Status
from kexport.specs import Format
from tests.own_models import exported, passed, saved

BOTH = (Format.ONNX, Format.TFLITE)
IMAGE = (24, 24, 3)


def ending(make: Callable[[Any, Any], Any], shape: tuple[int, ...] = IMAGE) -> Any:
    """A small network whose last layers are what ``make`` puts on its features."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    image = keras.Input(shape)
    value = layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    return keras.Model(image, make(layers, value))


def pooled(make: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda layers, value: make(layers, layers.GlobalAveragePooling2D()(value))


def times(factor: float) -> Any:
    import keras

    return keras.initializers.VarianceScaling(factor**2, mode="fan_avg", distribution="uniform", seed=1)


ENDINGS: dict[str, tuple[Callable[[Any, Any], Any], Compared]] = {
    "one sigmoid": (pooled(lambda layers, v: layers.Dense(1, activation="sigmoid")(v)), Compared.VALUES),
    "one number": (pooled(lambda layers, v: layers.Dense(1)(v)), Compared.VALUES),
    "two heads of one": (
        pooled(lambda layers, v: [layers.Dense(1, name="age")(v), layers.Dense(1, "sigmoid", name="cat")(v)]),
        Compared.VALUES,
    ),
    "one of a flat map": (lambda layers, v: layers.Dense(1)(layers.Flatten()(v)), Compared.VALUES),
    "a sure sigmoid": (
        pooled(lambda layers, v: layers.Dense(1, "sigmoid", kernel_initializer=times(900.0))(v)),
        Compared.TAPPED,
    ),
    "large weights before a softmax": (
        pooled(lambda layers, v: layers.Dense(5, "softmax", kernel_initializer=times(9000.0))(v)),
        Compared.TAPPED,
    ),
    "a softmax of low temperature": (
        pooled(lambda layers, v: layers.Softmax()(layers.Rescaling(9000.0)(layers.Dense(5)(v)))),
        Compared.TAPPED,
    ),
    "a sure softmax in every place": (
        lambda layers, v: layers.Reshape((-1, 3))(layers.Softmax()(layers.Rescaling(9000.0)(layers.Conv2D(3, 1)(v)))),
        Compared.TAPPED,
    ),
    "a softmax that hardly moves": (
        pooled(lambda layers, v: layers.Dense(4, "softmax", kernel_initializer=times(1e-6))(v)),
        Compared.TAPPED,
    ),
    "a weak signal on large biases": (
        pooled(lambda layers, v: layers.Dense(3, kernel_initializer=times(3e-3), bias_initializer="random_normal")(v)),
        Compared.VALUES,
    ),
}


MEANS: dict[str, Callable[[Any, Any], Any]] = {
    "global": lambda layers, value: layers.GlobalAveragePooling2D()(value),
    "of a window": lambda layers, value: layers.Flatten()(layers.AveragePooling2D(value.shape[1])(value)),
    "an operation": lambda _, value: _mean(value),
}


def _mean(value: Any) -> Any:
    import keras

    return keras.ops.mean(value, axis=(1, 2))


def averaged(kind: str, *, side: int, deviation: float) -> Any:
    """Features that hardly differ from place to place, averaged over all of them."""
    import keras

    kernel = keras.initializers.RandomNormal(stddev=deviation, seed=1)
    bias = keras.initializers.RandomUniform(0.5, 1, seed=2)
    keras.utils.set_random_seed(5)
    image, layers = keras.Input((side, side, 3)), keras.layers
    value = layers.Conv2D(32, 3, activation="relu", kernel_initializer=kernel, bias_initializer=bias)(image)
    value = MEANS[kind](layers, value)
    return keras.Model(image, [layers.Dense(5, "sigmoid", name="tags")(value), layers.Dense(1, name="age")(value)])


@pytest.mark.parametrize(
    ("kind", "deviation"),
    [("global", 3e-3), ("global", 1e-3), ("an operation", 3e-3), ("an operation", 1e-3), ("of a window", 3e-3)],
)
def test_a_mean_of_many_places_that_hardly_differ(tmp_path: Path, kind: str, deviation: float) -> None:
    """A runtime adds them one after the other: a hundred times the rounding of a sum in pairs, as Keras's is."""
    passed(exported(saved(averaged(kind, side=64, deviation=deviation), tmp_path), tmp_path, BOTH))


def test_a_mean_that_rounding_alone_moves_proves_nothing(tmp_path: Path) -> None:
    """Of 25,000 places, which the runtime adds up: it is off by a hundredth of what images differ by, and not wrong."""
    records = exported(saved(averaged("global", side=160, deviation=1e-3), tmp_path), tmp_path, BOTH)
    assert {record.status for record in records} == {Status.UNPROVEN}
    assert all("by rounding alone" in record.reason for record in records)


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_right_file_passes(tmp_path: Path, kind: str) -> None:
    make, compared = ENDINGS[kind]
    records = exported(saved(ending(make), tmp_path), tmp_path, BOTH)
    passed(records)
    for record in records:
        assert record.parity is not None
        assert {output.compared for output in record.parity.outputs} == {compared}
        assert record.parity.checks


@pytest.mark.parametrize("kind", ["a sure sigmoid", "a softmax of low temperature", "a sure softmax in every place"])
def test_a_saved_model_shows_its_logits(tmp_path: Path, kind: str) -> None:
    """Its copy without the last step proves it, as those of the other formats do."""
    records = exported(saved(ending(ENDINGS[kind][0]), tmp_path), tmp_path, (Format.SAVEDMODEL,))
    passed(records)
    assert records[0].parity is not None
    assert [output.compared for output in records[0].parity.outputs] == [Compared.TAPPED]


CONSTANTS: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": pooled(lambda layers, v: layers.Dense(4, "softmax", kernel_initializer="zeros")(v)),
    "number": pooled(lambda layers, v: layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")(v)),
    "map": lambda layers, v: layers.Rescaling(0.0, 1.0)(v),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_constant_is_made_and_unproven(tmp_path: Path, kind: str) -> None:
    spec = saved(ending(CONSTANTS[kind]), tmp_path)
    (record,) = exported(spec, tmp_path, (Format.ONNX,))
    assert (record.status, record.exit_code) == (Status.UNPROVEN, 1)
    assert "is nearly constant in Keras for all inputs that were tried" in record.reason
    assert "--calibration" in record.hint
    assert record.artifact is not None
    assert (tmp_path / "out" / record.artifact.path).is_file()
    store.write_manifest(tmp_path / "out")
    assert store.verify(tmp_path / "out") == ()


def recurrent(layers: Any, value: Any) -> Any:
    return layers.Dense(3)(layers.GRU(6)(layers.GRU(6, return_sequences=True)(layers.Reshape((11, -1))(value))))


def sequences(layers: Any, value: Any) -> Any:
    both_ways = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    return layers.Dense(3, "softmax")(both_ways(layers.Reshape((11, -1))(value)))


def attention(layers: Any, value: Any) -> Any:
    value = layers.Reshape((121, 8))(value)
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Attention()([value, value])))


@pytest.mark.parametrize(
    ("make", "form", "engine"),
    [
        (recurrent, Format.TFLITE, "tflite-converter"),
        (sequences, Format.ONNX, "tf2onnx"),
        (attention, Format.TFLITE, "tflite-converter"),
    ],
)
def test_files_of_other_engines_are_judged_by_what_they_compute(
    tmp_path: Path, make: Any, form: Format, engine: str
) -> None:
    """Loops, computed shapes and sizes that a converter leaves open are no faults."""
    passed(exported(saved(ending(make), tmp_path), tmp_path, (form,), engine=engine), engine=engine)


QUANTIZED: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "Dense": ("int8", pooled(lambda layers, v: layers.Dense(4)(v))),
    "Dense of four bits": ("int4", pooled(lambda layers, v: layers.Dense(4, activation="softmax")(v))),
    "EinsumDense": ("int8", lambda layers, v: layers.EinsumDense("bhwc,cd->bhwd", (11, 11, 5), bias_axes="d")(v)),
}


def quantized(model: Any, mode: str) -> Any:
    """As `keras.Model.quantize`, which warns of every layer that it leaves."""
    for layer in model.layers:
        if type(layer).__name__.endswith("Dense"):
            layer.quantize(mode)
    return model


@pytest.mark.parametrize("kind", QUANTIZED)
def test_layers_that_keras_has_quantized_round_as_it_does(tmp_path: Path, kind: str) -> None:
    mode, make = QUANTIZED[kind]
    model = quantized(ending(make), mode)
    passed(exported(saved(model, tmp_path), tmp_path, BOTH))


def test_a_quantization_that_is_not_known_is_named(tmp_path: Path) -> None:
    from kexport.lowerings.model import lower_model

    model = quantized(ending(QUANTIZED["Dense"][1]), "float8")
    with pytest.raises(
        UnsupportedError, match=r"layer '\w+' \(Dense\) is quantized by Keras to float8, which"
    ) as caught:
        lower_model(model)
    assert "--schemes int8" in str(caught.value.hint)


def test_integers_are_equal_or_not(tmp_path: Path) -> None:
    from keras import ops

    records: list[Record] = exported(
        saved(ending(lambda layers, v: ops.cast(layers.Conv2D(2, 1)(v) > 0, "int32")), tmp_path), tmp_path, BOTH
    )
    for record in records:
        assert record.status is Status.PASS, record.reason
        assert record.parity is not None
        assert [check.name for check in record.parity.checks] == ["equal_share"]
        assert np.isfinite(record.parity.checks[0].value)
