"""SavedModel: names, batch, equal outputs, a checked signature, and nothing left after a failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.formats.savedmodel import writer as savedmodel
from kexport.records import Signature
from kexport.specs import Format

SHAPE = (12, 12, 3)


@pytest.fixture(scope="module")
def model() -> Any:
    import keras
    from keras import layers

    image = keras.Input(SHAPE, name="image")
    value = layers.Conv2D(4, 3, activation="relu")(image)
    value = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(value))
    return keras.Model(image, layers.Dense(3, activation="softmax")(value))


@pytest.fixture(scope="module")
def two_by_two() -> Any:
    import keras
    from keras import layers

    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model([left, right], [layers.Dense(2, name="scores")(left), layers.Add(name="total")([left, right])])


def images(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, *SHAPE)).astype(np.float32)


def opened(path: Path) -> runtimes.Session:
    return runtimes.open_session(runtimes.for_format(Format.SAVEDMODEL), path)


def test_names_batch_and_outputs(model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written = savedmodel.write(model, tmp_path / "saved")
    assert capfd.readouterr().out == ""
    assert written.inputs == (Signature(name="input", shape=(None, *SHAPE), dtype="float32"),)
    assert written.outputs == (Signature(name="output", shape=(None, 3), dtype="float32"),)
    session = opened(tmp_path / "saved")
    assert session.signature == (written.inputs, written.outputs)
    expected = np.asarray(model(images(3)))
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert np.abs(session.run({"input": images(3)})["output"] - expected).max() < 1e-6


def test_operations_are_counted_inside_called_functions(model: Any, tmp_path: Path) -> None:
    operations = savedmodel.write(model, tmp_path / "saved").operations
    assert {name: operations.get(name) for name in ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Softmax")} == {
        "Conv2D": 1,
        "DepthwiseConv2dNative": 1,
        "MatMul": 1,
        "Softmax": 1,
    }
    assert not any(name.endswith("PartitionedCall") for name in operations)


def test_a_static_batch(model: Any, tmp_path: Path) -> None:
    assert savedmodel.write(model, tmp_path / "saved", batch=2).outputs[0].shape == (2, 3)
    assert opened(tmp_path / "saved").signature[0][0].shape == (2, *SHAPE)


def test_several_inputs_and_outputs_keep_their_names(two_by_two: Any, tmp_path: Path) -> None:
    written = savedmodel.write(two_by_two, tmp_path / "saved")
    assert [spec.name for spec in written.inputs] == ["left", "right"]
    assert [spec.name for spec in written.outputs] == ["scores", "total"]
    rows = {"left": np.full((1, 4), 2.0, np.float32), "right": np.full((1, 4), 3.0, np.float32)}
    assert opened(tmp_path / "saved").run(rows)["total"].tolist() == [[5.0] * 4]


def test_the_endpoint_is_called_serve(model: Any, tmp_path: Path) -> None:
    savedmodel.write(model, tmp_path / "saved")
    assert {"serve", "serving_default"} <= set(savedmodel._read(tmp_path / "saved").signature_def)


def test_another_signature_is_an_error_and_leaves_nothing(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = savedmodel._signature
    monkeypatch.setattr(savedmodel, "_signature", lambda name, info: replace(original(name, info), dtype="float16"))
    with pytest.raises(ArtifactError) as caught:
        savedmodel.write(model, tmp_path / "saved")
    assert caught.value.message == (
        f"{tmp_path / 'saved'}: the written inputs are input float16[None, 12, 12, 3], "
        "the model's are input float32[None, 12, 12, 3]"
    )
    assert list(tmp_path.iterdir()) == []
