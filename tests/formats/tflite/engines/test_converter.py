"""The TFLiteConverter engine: names, batch, precision, silence, and refusals without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.tflite.engines import converter as tflite_converter
from kexport.records import Signature
from kexport.specs import Format

SHAPE = (16, 16, 3)


def images(rows: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.0, 255.0, size=(rows, *SHAPE)).astype(np.float32)


def difference(model: Any, path: Path) -> float:
    session = runtimes.open_session(runtimes.for_format(Format.TFLITE), path)
    return float(np.abs(session.run({"input": images()})["output"] - np.asarray(model(images()))).max())


def test_float32(normalised_model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.tflite"
    written = tflite_converter.convert(normalised_model, path)
    assert capfd.readouterr() == ("", "")
    assert written.inputs == (Signature(name="input", shape=(1, *SHAPE), dtype="float32"),)
    assert written.outputs == (Signature(name="output", shape=(1, 4), dtype="float32"),)
    assert written.operations["CONV_2D"] >= 1
    assert written.operations["SOFTMAX"] == 1
    assert np.ptp(np.asarray(normalised_model(images())), axis=0).max() > 1e-4
    assert difference(normalised_model, path) < 1e-5
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tflite"]


def test_batch_is_static(normalised_model: Any, tmp_path: Path) -> None:
    written = tflite_converter.convert(normalised_model, tmp_path / "model.tflite", batch=2)
    assert written.inputs[0].shape == (2, *SHAPE)
    assert difference(normalised_model, tmp_path / "model.tflite") < 1e-5


def test_float16_halves_large_weights(tmp_path: Path) -> None:
    import keras

    image = keras.Input((256,))
    model = keras.Model(image, keras.layers.Dense(256)(image))
    sizes = {}
    for scheme in ("float32", "float16"):
        path = tmp_path / f"{scheme}.tflite"
        written = tflite_converter.convert(model, path, scheme=scheme)
        sizes[scheme] = path.stat().st_size
    assert written.operations["DEQUANTIZE"] >= 1
    assert sizes["float16"] < 0.55 * sizes["float32"]


def test_an_unknown_scheme_is_refused(normalised_model: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match="scheme 'int3' of the TFLite converter: expected one of float32, float16"
    ):
        tflite_converter.convert(normalised_model, tmp_path / "model.tflite", scheme="int3")


def test_a_refusal_tells_the_converters_words_and_leaves_nothing(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    model = keras.Model(image, keras.ops.erfinv(image), name="inverse")
    with pytest.raises(UnsupportedError, match="the TFLite converter refuses the model: Custom ops: Erfinv"):
        tflite_converter.convert(model, tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_another_signature_is_an_error(normalised_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    written = tflite_converter.convert(normalised_model, path)
    wanted = (Signature(name="input", shape=(1, 8, 8, 3), dtype="float32"),)
    with pytest.raises(ArtifactError, match="the TFLite converter: the inputs became"):
        tflite_converter._check_interpreter(path, inputs=wanted, outputs=written.outputs)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(64))
    with pytest.raises(ArtifactError, match="the TFLite converter's file does not load in LiteRT"):
        tflite_converter._check_interpreter(path, inputs=(), outputs=())
