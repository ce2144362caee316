"""The table: Keras against the ONNX file on ORT and the TFLite file on LiteRT, with and without the passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kexport.lower import lower_model
from kexport.optimize import optimize
from tests.lowerings.layer_table import ACTIVATIONS, CASES, Case

OPSETS = (13, 18, 22)
BOUND = 2e-5
"""Largest error over the output's standard deviation: a few units in the last place of float32 sums."""
ROWS = 2


def model_of(case: Case, seeded: Callable[..., Any]) -> Any:
    import keras

    inputs = [keras.Input(shape, name=f"input_{number}") for number, shape in enumerate(case.shapes)]
    return seeded(keras.Model(inputs if len(inputs) > 1 else inputs[0], case.make(keras, *inputs)))


def values_for(model: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [(1.5 * rng.normal(size=(ROWS, *x.shape[1:]))).astype(np.float32) for x in model.inputs]


def expected_of(model: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    results = model(values if len(values) > 1 else values[0], training=False)
    return [np.asarray(one) for one in (results if isinstance(results, (list, tuple)) else [results])]


def error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert all(one.std() > 1e-3 for one in expected), "the reference carries no signal"
    return max(float(np.abs(f - e).max() / e.std()) for f, e in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore:You passed .rms_scaling=True")
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_keras_in_onnx_and_tflite(name, run_onnx, run_tflite, seeded):
    model = model_of(CASES[name], seeded)
    values = values_for(model)
    expected = expected_of(model, values)
    plain = lower_model(model)
    optimized = optimize(plain)
    for graph in (plain, optimized):
        found, operators = run_tflite(graph, values)
        assert error(found, expected) <= BOUND, "TFLite"
        outside = {operator for operator, delegated in operators if not delegated}
        assert outside == CASES[name].outside, "the operators that XNNPACK does not take"
    for opset in OPSETS:
        assert error(run_onnx(optimized, values, opset=opset), expected) <= BOUND, f"opset {opset}"
    assert error(run_onnx(plain, values), expected) <= BOUND


REFUSED_ACTIVATIONS = {
    "sparsemax",  # Keras 3.15 computes something else than the paper: the engine copies it, sort and all
    "glu",  # Keras states the shape of the input for a result that is half as wide; keras.ops.glu is native
    "threshold",  # has arguments without defaults: only keras.ops.threshold can be used
}


def test_every_activation_of_keras_is_in_the_table_or_refused():
    from keras.src.activations import ALL_OBJECTS_DICT

    names = {function.__name__ for function in ALL_OBJECTS_DICT.values()}
    assert names - REFUSED_ACTIVATIONS == set(ACTIVATIONS)
