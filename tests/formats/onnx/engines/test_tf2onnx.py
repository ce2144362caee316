"""The tf2onnx engine: right files, repaired defects, refused ones, and nothing left behind."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.onnx.engines import tf2onnx as tf2onnx_engine
from kexport.records import Signature

SHAPE = (16, 16, 3)


def images(rows: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.0, 255.0, size=(rows, *SHAPE)).astype(np.float32)


def run(path: Path, values: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    return np.asarray(
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": values})[0]
    )


def keras_output(model: Any, values: np.ndarray) -> np.ndarray:
    return np.asarray(model(values, training=False))


def test_a_normalization_layer_needs_no_extra_input(normalised_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = tf2onnx_engine.convert(normalised_model, path)
    assert written.inputs == (Signature(name="input", shape=(None, *SHAPE), dtype="float32"),)
    assert written.outputs == (Signature(name="output", shape=(None, 4), dtype="float32"),)
    expected = keras_output(normalised_model, images())
    assert np.ptp(expected, axis=0).max() > 1e-4, "without signal the comparison proves nothing"
    assert np.abs(run(path, images()) - expected).max() < 1e-5
    assert written.operations["Conv"] >= 1
    assert written.operations["Softmax"] == 1


def test_batch_and_opset_are_those_asked_for(normalised_model: Any, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    written = tf2onnx_engine.convert(normalised_model, path, opset=15, batch=2)
    assert written.inputs[0].shape == (2, *SHAPE)
    assert [item.version for item in onnx.load(path).opset_import if not item.domain] == [15]
    assert np.abs(run(path, images()) - keras_output(normalised_model, images())).max() < 1e-5


def test_the_symbolic_axis_is_called_batch(normalised_model: Any, tmp_path: Path) -> None:
    import onnx

    tf2onnx_engine.convert(normalised_model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)] == ["batch"] * 2


def test_a_grouped_convolution_is_refused(grouped_model: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"conv2d.* is a function compiled with XLA \(a grouped convolution\)"):
        tf2onnx_engine.convert(grouped_model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_exact_gelu_is_refused(gelu_model: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"tf2onnx cannot convert exact_gelu: .* is Erfc \(an exact GELU\)"):
        tf2onnx_engine.convert(gelu_model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_graph_is_refused_and_removed(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", ["nowhere"], ["output"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "broken", [], [output]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="tf2onnx wrote an invalid ONNX file"):
        tf2onnx_engine._check_file(path)


def graph_with_extra_input() -> Any:
    from onnx import TensorProto, helper

    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "extra", "output")
    }
    node = helper.make_node("Add", ["input", "extra"], ["output"])
    return helper.make_model(helper.make_graph([node], "g", [values["input"], values["extra"]], [values["output"]]))


def test_a_captured_constant_is_bound() -> None:
    proto = graph_with_extra_input()
    tf2onnx_engine._bind_captured(proto, {"extra": np.float32([7.0])}, public={"input"})
    assert [value.name for value in proto.graph.input] == ["input"]
    assert [(item.name, list(item.dims)) for item in proto.graph.initializer] == [("extra", [1])]


def test_an_input_that_is_no_constant_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="made 'extra' an input of the file, and it is no constant of the model"):
        tf2onnx_engine._bind_captured(graph_with_extra_input(), {}, public={"input"})


def test_an_operation_of_no_known_domain_is_an_error() -> None:
    proto = graph_with_extra_input()
    proto.graph.node[0].op_type = "StatefulPartitionedCall"
    with pytest.raises(UnsupportedError, match="operations of m that ONNX does not have: 1 StatefulPartitionedCall"):
        tf2onnx_engine._check_operations(proto, "m")


def test_another_signature_is_an_error() -> None:
    wanted = (Signature(name="input", shape=(2,), dtype="float32"),)
    with pytest.raises(ArtifactError, match=r"the inputs of m became .*shape=\(1,\)"):
        tf2onnx_engine._check_signature(graph_with_extra_input(), "m", inputs=wanted, outputs=())


def test_logging_and_environment_are_put_back(
    normalised_model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ), logging.getLogger("tensorflow").level, logging.getLogger().level
    tf2onnx_engine.convert(normalised_model, tmp_path / "model.onnx")
    assert (dict(os.environ), logging.getLogger("tensorflow").level, logging.getLogger().level) == before
    assert capfd.readouterr().out == ""


def test_the_copying_optimizer_runs_where_a_step_raises(
    normalised_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    original = tf2onnx_engine._run

    def run_once(function: Any, specs: list[Any], *, opset: int, go_back: str) -> Any:
        tried.append(go_back)
        if go_back == "FALSE":
            raise ValueError("max() arg is an empty sequence")
        return original(function, specs, opset=opset, go_back=go_back)

    monkeypatch.setattr(tf2onnx_engine, "_run", run_once)
    path = tmp_path / "model.onnx"
    tf2onnx_engine.convert(normalised_model, path)
    assert tried == ["FALSE", "TRUE"]
    assert np.abs(run(path, images()) - keras_output(normalised_model, images())).max() < 1e-5


def test_the_module_does_not_hide_the_package() -> None:
    spec = importlib.util.find_spec("tf2onnx")
    assert spec is not None
    assert spec.origin is not None
    assert "kexport" not in Path(spec.origin).parts[-3:]
