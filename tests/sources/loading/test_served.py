"""A SavedModel folder that Keras wrote, as a source: through the engines, said so, and only if it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import SourceError, UsageError
from kexport.records import Status
from kexport.sources import build
from kexport.sources.names import ModelFile, select
from kexport.specs import Format, Scheme
from tests.own_models import exported, of_file, passed

SHAPE = (12, 12, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `model.export` writes: a softmax, and names of Keras's own."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="photo")
    value = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(4, activation="softmax", name="scores")(value))
    path = tmp_path_factory.mktemp("exports") / "mine"
    model.export(path, verbose=False)
    return path


def test_it_is_told_by_its_graph(folder: Path, tmp_path: Path) -> None:
    assert select([str(folder)]) == (ModelFile(path=str(folder)),)
    with pytest.raises(SourceError, match=r"is a folder; expected .* or the folder of a SavedModel"):
        select([str(tmp_path)])


def test_through_the_engines(folder: Path, tmp_path: Path) -> None:
    onnx, tflite, again = exported(of_file(folder, trust=True), tmp_path)
    passed([onnx], engine="tf2onnx")  # type: ignore[arg-type]
    passed([tflite], engine="tflite-converter")  # type: ignore[arg-type]
    passed([again])
    assert onnx.artifact is not None
    assert onnx.source is not None
    assert onnx.artifact.engine_reason == "not native: a SavedModel holds operations of TensorFlow, not layers of Keras"
    assert [spec.name for spec in (*onnx.artifact.inputs, *onnx.artifact.outputs)] == ["input", "output"]
    assert (onnx.source.kind, onnx.source.parameters, onnx.model) == ("file", 6 * 28 + 4 * 7, "mine")
    assert onnx.source.notes == (build.SERVED,)


def test_int8_says_why_not(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"scheme": Scheme.INT8, "calibration": "synthetic:0"}
    (record,) = exported(of_file(folder, trust=True), tmp_path, (Format.ONNX,), **options)
    assert record.status is Status.UNSUPPORTED
    assert record.reason == (
        "int8 needs the native graph, which cannot: a SavedModel holds operations of TensorFlow, not layers of Keras"
    )


def test_without_trust_nothing_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.saved_model, "load", lambda _: pytest.fail("it was opened"))
    with pytest.raises(SourceError, match="a graph of TensorFlow, which runs as code; expected --trust") as caught:
        build.make(of_file(folder))
    assert str(caught.value.hint).startswith("--trust ")


def test_what_it_cannot_have(folder: Path) -> None:
    with pytest.raises(UsageError, match="is a SavedModel, which has no layers to end at"):
        build.make(of_file(folder, trust=True, layers=("scores",)))
    with pytest.raises(UsageError, match=r"--input-shape 8,8,3: the inputs of .* are input \[None, 12, 12, 3\]"):
        build.make(of_file(folder, trust=True, input_shape=(8, 8, 3)))


def test_folders_that_do_not_serve(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(SourceError, match=r"has the signatures \[\], expected 'serving_default'"):
        build.make(of_file(tmp_path / "empty", trust=True))
    (tmp_path / "empty" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(SourceError, match="TensorFlow cannot load it"):
        build.make(of_file(tmp_path / "empty", trust=True))


def test_open_sizes_are_fixed(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3)])
    model.export(tmp_path / "open", verbose=False)
    with pytest.raises(UsageError, match="open sizes"):
        build.make(of_file(tmp_path / "open", trust=True))
    made = build.make(of_file(tmp_path / "open", trust=True, input_shape=(8, 8, 3))).model
    assert made.outputs[0].shape == (None, 6, 6, 2)
    image = np.ones((1, 8, 8, 3), np.float32)
    assert np.allclose(made(image)["output"], model(image), atol=1e-6)
