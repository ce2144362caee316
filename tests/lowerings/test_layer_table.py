"""The table: Keras against the ONNX file on ORT and the TFLite file on LiteRT, with and without the passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.onnx.engines import tf2onnx as tf2onnx_engine
from kexport.formats.tflite.engines import converter as tflite_converter
from kexport.graph import file as graph_file
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.runtimes import SessionOptions
from kexport.runtimes.litert import LitertSession
from tests.lowerings.layer_table import ACTIVATIONS, CASES, IMAGE, ROW, Case
from tests.lowerings.wide_table import WIDE

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


@pytest.mark.parametrize("name", WIDE)
def test_wide_table_equals_keras(name, run_onnx, run_tflite, seeded, tmp_path):
    """As the plain layers below, the unoptimized graph and the other opsets once for all of them."""
    model = model_of(WIDE[name], seeded)
    values = values_for(model)
    expected = expected_of(model, values)
    graph_file.save(optimize(lower_model(model)), tmp_path)
    graph = graph_file.load(tmp_path)
    found, operators = run_tflite(graph, values)
    assert error(found, expected) <= BOUND, "TFLite"
    assert {operator for operator, delegated in operators if not delegated} == WIDE[name].outside
    assert [one.dtype for one in found] == [one.dtype for one in expected]
    for opset in (13, 18):
        found = run_onnx(graph, values, opset=opset)
        assert error(found, expected) <= BOUND, f"opset {opset}"
        assert [one.dtype for one in found] == [one.dtype for one in expected]


@pytest.mark.filterwarnings("ignore:You passed .rms_scaling=True")
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_keras_in_onnx_and_tflite(name, run_onnx, run_tflite, seeded, tmp_path):
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
    graph_file.save(optimized, tmp_path)
    stored = graph_file.load(tmp_path)
    for opset in OPSETS:
        assert error(run_onnx(stored, values, opset=opset), expected) <= BOUND, f"opset {opset}"
    assert error(run_onnx(plain, values), expected) <= BOUND


HALF_BOUND = 3e-2
"""The same for ONNX in float16, whose numbers have 11 bits."""
HALF_CASES = (
    "activation mish", "activation log_softmax", "ReLU all", "PReLU shared", "LayerNormalization axes",
    "GroupNormalization", "Conv2DTranspose same", "UpSampling2D", "UpSampling2D bilinear", "MultiHeadAttention",
    "EinsumDense heads", "ops power", "ops mean rows", "ops concatenate", "ops slice",
)  # fmt: skip


@pytest.mark.parametrize("name", HALF_CASES)
def test_half_precision_stays_close(name, run_onnx, run_tflite, seeded):
    model = model_of(CASES[name], seeded)
    values = values_for(model)
    expected = expected_of(model, values)
    graph = optimize(lower_model(model))
    assert error(run_onnx(graph, values, scheme="float16"), expected) <= HALF_BOUND
    assert error(run_tflite(graph, values, scheme="float16")[0], expected) <= HALF_BOUND


def test_a_constant_that_float16_loses_is_refused(run_onnx, seeded):
    model = model_of(CASES["UnitNormalization"], seeded)
    with pytest.raises(UnsupportedError, match=r"a constant of layer .*safe' is 1e-24, which float16 rounds to zero"):
        run_onnx(optimize(lower_model(model)), values_for(model), scheme="float16")


def _decoder(k: Any, x: Any) -> Any:
    x = k.layers.LeakyReLU()(k.layers.Conv2D(4, 3, padding="same")(x))
    x = k.layers.GroupNormalization(2)(k.layers.PReLU(shared_axes=[1])(k.layers.UpSampling2D()(x)))
    x = k.layers.Activation("selu")(k.layers.BatchNormalization()(k.layers.Conv2DTranspose(6, 3, strides=2)(x)))
    x = k.ops.maximum(x, np.full((x.shape[2], 1), 0.1, np.float32)) - k.ops.mean(x, axis=(1, 3), keepdims=True)
    x = k.layers.Concatenate(axis=1)([x, k.ops.square(x)[:, 1:3]])
    return k.layers.Dense(3)(k.ops.max(k.layers.Resizing(5, 5)(x), axis=(1, 2)))


def test_images_stay_in_nchw(run_onnx, seeded, tmp_path):
    """One Transpose, behind the input: none of the new operations needs another one."""
    import onnx

    model = model_of(Case(shapes=((8, 6, 3),), make=_decoder), seeded)
    graph, values = optimize(lower_model(model)), values_for(model)
    assert error(run_onnx(graph, values), expected_of(model, values)) <= BOUND
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert kinds.count("Transpose") == 1
    assert "BatchNormalization" not in kinds, "folded into the transposed convolution"


REFUSED_ACTIVATIONS = {
    "sparsemax",  # Keras 3.15 computes something else than the paper: the engine copies it, sort and all
    "glu",  # Keras states the shape of the input for a result that is half as wide; keras.ops.glu is native
    "threshold",  # has arguments without defaults: only keras.ops.threshold can be used
}


ENGINE_BOUND = 1e-4


def _sparse(k: Any, x: Any) -> Any:
    return k.layers.Dense(8, activation="sparsemax")(x)


def _gated(k: Any, x: Any) -> Any:
    return k.layers.Activation("glu", name="gated")(k.layers.Conv2D(6, 3)(x))


@pytest.mark.slow
def test_sparsemax_is_refused_and_goes_through_both_engines(seeded, tmp_path):
    import onnxruntime

    model = model_of(Case(shapes=(ROW,), make=_sparse), seeded)
    with pytest.raises(UnsupportedError, match="activation 'sparsemax' is not supported natively"):
        lower_model(model)
    values = values_for(model)
    expected = expected_of(model, values)
    tf2onnx_engine.convert(model, tmp_path / "m.onnx", opset=18, batch=None)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert error(session.run(None, {session.get_inputs()[0].name: values[0]}), expected) <= ENGINE_BOUND
    tflite_converter.convert(model, tmp_path / "m.tflite", batch=ROWS, scheme="float32")
    lite = LitertSession.open(tmp_path / "m.tflite", options=SessionOptions(threads=1))
    assert error(list(lite.execute({"input": values[0]}).values()), expected) <= ENGINE_BOUND


@pytest.mark.slow
def test_glu_as_an_activation_is_refused_with_both_shapes_by_both(seeded, tmp_path):
    """Keras states the shape of the input; what it computes is half as wide."""
    model = model_of(Case(shapes=(IMAGE,), make=_gated), seeded)
    shapes = r"Keras states the shape \(None, 6, 4, 6\), the native graph gives \(None, 6, 4, 3\)"
    with pytest.raises(UnsupportedError, match=rf"'gated' \(Activation\): {shapes}"):
        lower_model(model)
    with pytest.raises(ArtifactError, match=r"\(None, 6, 4, 3\).*expected .*\(None, 6, 4, 6\)"):
        tf2onnx_engine.convert(model, tmp_path / "m.onnx", opset=18, batch=None)


def test_every_activation_of_keras_is_in_the_table_or_refused():
    from keras.src.activations import ALL_OBJECTS_DICT

    names = {function.__name__ for function in ALL_OBJECTS_DICT.values()}
    assert names - REFUSED_ACTIVATIONS == set(ACTIVATIONS)
