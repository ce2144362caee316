"""The runtimes run tiny models, check their inputs, and refuse what they would otherwise do silently."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import ArtifactError, DeviceError, MissingDependencyError, UnknownNameError, UsageError
from kexport.records import Signature
from kexport.runtimes import SessionOptions, litert, ort
from kexport.specs import Format

IMAGE = (8, 8, 3)


def images(rows: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, *IMAGE)).astype(np.float32)


def write_onnx(path: Path, *, batch: int | str = "batch") -> Path:
    """``image`` (batch, 8, 8, 3) -> Abs -> ReduceMean -> ``mean`` (batch, 3)."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Abs", ["image"], ["absolute"], name="abs"),
            helper.make_node("ReduceMean", ["absolute", "axes"], ["mean"], name="mean", keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *IMAGE])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, Path]:
    """Batch (``None``: open) -> a SavedModel of a convolution and a softmax, with its TFLite file beside it."""
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
    folders: dict[int | None, Path] = {}
    for batch in (1, None):
        module = tf.Module()
        module.kernel = tf.Variable(kernel)

        @tf.function(input_signature=[tf.TensorSpec([batch, *IMAGE], tf.float32, name="image")])
        def serve(image: Any, module: Any = module) -> dict[str, Any]:
            features = tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "SAME"))
            return {"probabilities": tf.nn.softmax(tf.reduce_mean(features, [1, 2]))}

        folders[batch] = tmp_path_factory.mktemp(f"saved-{batch}")
        tf.saved_model.save(module, str(folders[batch]), signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folders[batch]))
        (folders[batch] / "model.tflite").write_bytes(converter.convert())
    return folders


@pytest.fixture
def onnx_session(tmp_path: Path) -> runtimes.Session:
    return runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "tiny.onnx"), options=SessionOptions(threads=1))


def test_every_module_registers_itself() -> None:
    assert list(runtimes.registry()) == ["keras", "litert", "null", "onnxruntime", "savedmodel"]


def test_every_format_has_its_runtime() -> None:
    assert {f: runtimes.for_format(f).name for f in Format} == {
        Format.ONNX: "onnxruntime",
        Format.TFLITE: "litert",
        Format.SAVEDMODEL: "savedmodel",
    }


def test_an_unknown_runtime_gets_an_offer() -> None:
    with pytest.raises(UnknownNameError, match="did you mean onnxruntime"):
        runtimes.find("onnxruntim")


def test_null_hands_its_input_back() -> None:
    session = runtimes.open_session(runtimes.find("null"), None)
    np.testing.assert_array_equal(session.run({"x": np.ones((3, 1), np.float32)})["y"], np.ones((3, 1)))


def test_onnx_runs_and_tells_where(onnx_session: runtimes.Session) -> None:
    x = images(3)
    np.testing.assert_allclose(onnx_session.run({"image": x})["mean"], np.abs(x).mean((1, 2)), rtol=1e-5)
    assert onnx_session.signature == (
        (Signature(name="image", shape=(None, *IMAGE), dtype="float32"),),
        (Signature(name="mean", shape=(None, 3), dtype="float32"),),
    )
    assert "CPUExecutionProvider (" in onnx_session.effective
    assert " nodes on CPUExecutionProvider" in onnx_session.effective


def test_nan_is_not_hidden(onnx_session: runtimes.Session) -> None:
    x = images(2)
    x[1] = np.nan
    mean = onnx_session.run({"image": x})["mean"]
    assert np.isfinite(mean[0]).all()
    assert np.isnan(mean[1]).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"picture": images(1)}, r"inputs \['picture'\] were given, expected \['image'\]"),
        ({}, r"inputs \[\] were given, expected \['image'\]"),
        ({"image": images(1)[:, :7]}, r"input 'image': got shape \(1, 7, 8, 3\), expected \(batch, 8, 8, 3\)"),
        ({"image": images(1)[0]}, r"input 'image': got shape \(8, 8, 3\), expected \(batch, 8, 8, 3\)"),
        ({"image": images(1).astype("float64")}, "input 'image': got dtype float64, expected float32"),
        ({"image": images(0)}, r"got shape \(0, 8, 8, 3\)"),
    ],
)
def test_wrong_inputs_are_named(onnx_session: runtimes.Session, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        onnx_session.run(inputs)


def test_a_static_batch_is_run_in_parts(tmp_path: Path) -> None:
    session = runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "static.onnx", batch=2))
    x = images(6)
    np.testing.assert_allclose(session.run({"image": x})["mean"], np.abs(x).mean((1, 2)), rtol=1e-5)
    with pytest.raises(UsageError, match="3 rows for a file with a static batch of 2: expected a multiple of 2"):
        session.run({"image": x[:3]})


@pytest.mark.parametrize("content", [b"", b"not a model" * 9, None], ids=["empty", "garbage", "truncated"])
def test_a_damaged_onnx_file_does_not_load(tmp_path: Path, content: bytes | None) -> None:
    path = write_onnx(tmp_path / "tiny.onnx")
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(ArtifactError, match=r"tiny\.onnx does not load in onnxruntime"):
        runtimes.open_session(ort.OrtSession, path)


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "savedmodel"])
def test_an_absent_file_is_named(tmp_path: Path, runtime: str) -> None:
    with pytest.raises(ArtifactError, match="nowhere does not exist"):
        runtimes.open_session(runtimes.find(runtime), tmp_path / "nowhere")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_an_absent_provider_is_refused(tmp_path: Path, device: str) -> None:
    import onnxruntime

    if ort.PROVIDERS[device] in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the provider")
    with pytest.raises(DeviceError, match=f"device {device}: onnxruntime .* has no ") as caught:
        runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "a.onnx"), options=SessionOptions(device=device))
    assert caught.value.exit_code == 3
    assert "pip install 'kexport[cuda]'" in str(caught.value.hint)


def test_a_provider_that_is_listed_but_does_not_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like onnxruntime-gpu without a GPU: the provider is available, the session ends up on the CPU."""
    import onnxruntime

    create = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **_: create(path, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(DeviceError, match="but the session runs on CPUExecutionProvider"):
        runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "a.onnx"), options=SessionOptions(device="cuda"))


def test_a_provider_without_nodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "_assignment", lambda session: {"OtherProvider": 2})
    with pytest.raises(DeviceError, match=r"CPUExecutionProvider was given none of the nodes of a\.onnx"):
        runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "a.onnx"))


def test_a_device_that_the_runtime_lacks() -> None:
    with pytest.raises(DeviceError, match="runtime litert has no device 'cuda', it has cpu, cpu-builtin"):
        runtimes.open_session(litert.LitertSession, None, options=SessionOptions(device="cuda"))


def test_an_absent_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="needs the package onnxruntime, which is not installed"):
        runtimes.open_session(ort.OrtSession, write_onnx(tmp_path / "tiny.onnx"))


@pytest.mark.parametrize(("field", "value"), [("threads", 0), ("batch", 0)])
def test_options_are_legal_by_construction(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{field} 0: expected 1 or more"):
        SessionOptions(**{field: value})


@pytest.mark.parametrize("batch", [1, None])
def test_tflite_agrees_with_its_saved_model(saved_models: dict[int | None, Path], batch: int | None) -> None:
    x = images(3)
    folder = saved_models[batch]
    expected = runtimes.open_session(runtimes.find("savedmodel"), folder).run({"image": x})["probabilities"]
    assert expected.shape == (3, 4)
    for device in ("cpu", "cpu-builtin"):
        session = runtimes.open_session(
            litert.LitertSession, folder / "model.tflite", options=SessionOptions(device=device, threads=2, batch=3)
        )
        np.testing.assert_allclose(session.run({"image": x})["probabilities"], expected, atol=1e-6)
        assert [(s.name, s.shape) for s in session.signature[0]] == [("image", (batch, *IMAGE))]


def test_delegation_is_read_back(saved_models: dict[int | None, Path]) -> None:
    path = saved_models[1] / "model.tflite"
    with_delegate = runtimes.open_session(litert.LitertSession, path)
    without = runtimes.open_session(litert.LitertSession, path, options=SessionOptions(device="cpu-builtin"))
    assert with_delegate.operators == (("CONV_2D", True), ("MEAN", True), ("SOFTMAX", True))
    assert "XNNPACK (3 of 3 operators)" in with_delegate.effective
    assert all(not delegated for _, delegated in without.operators)
    assert "3 built-in kernels" in without.effective


def test_a_partial_delegation_names_the_operators_left() -> None:
    operator = {"op_name": "A", "inputs": [0, 9], "outputs": [1]}
    left = {"op_name": "LEFT", "inputs": [1], "outputs": [2]}
    last = {"op_name": "B", "inputs": [2], "outputs": [3]}
    partitions = [
        {"op_name": "DELEGATE", "inputs": [0, 9], "outputs": [1]},
        {"op_name": "DELEGATE", "inputs": [2], "outputs": [3]},
    ]
    assert litert.delegation([operator, left, last, *partitions]) == (("A", True), ("LEFT", False), ("B", True))


@pytest.mark.parametrize("length", [0, 100, 1200])
def test_a_damaged_tflite_file_does_not_load(saved_models: dict[int | None, Path], tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((saved_models[1] / "model.tflite").read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"cut\.tflite does not load in LiteRT"):
        runtimes.open_session(litert.LitertSession, path)


def test_a_damaged_saved_model_does_not_load(saved_models: dict[int | None, Path], tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes((saved_models[1] / "saved_model.pb").read_bytes()[:500])
    with pytest.raises(ArtifactError, match="does not load in TensorFlow"):
        runtimes.open_session(runtimes.find("savedmodel"), tmp_path)


def test_keras_runs_a_live_model_on_the_cpu() -> None:
    import keras

    layer = keras.Input(IMAGE, name="image")
    model = keras.Model(layer, keras.layers.GlobalAveragePooling2D(name="mean")(layer))
    session = runtimes.open_session(runtimes.find("keras"), model)
    x = images(5)
    [output] = session.run({"image": x}).values()
    np.testing.assert_allclose(output, x.mean((1, 2)), atol=1e-6)
    assert session.signature[0] == (Signature(name="image", shape=(None, *IMAGE), dtype="float32"),)
    assert "CPU:0" in session.effective


def test_threads_that_tensorflow_no_longer_accepts_are_refused() -> None:
    import tensorflow as tf

    from kexport.runtimes.tensorflow_ import limit_threads

    tf.constant(1)  # from now on the number of threads is fixed
    with pytest.raises(DeviceError, match="61 threads were asked for, but TensorFlow already runs with"):
        limit_threads(61)
