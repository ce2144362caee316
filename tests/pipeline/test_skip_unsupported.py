"""``--skip-unsupported``: what is known not to be is left out and told; the run stays green, nothing else is hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport import reports
from kexport.cli import verdict
from kexport.errors import UsageError
from kexport.images.seeded import seeded_images
from kexport.options import ExportOptions
from kexport.pipeline import requests
from kexport.records import Record, Status
from kexport.sources.names import select
from kexport.specs import Format, Scheme

IMAGES = seeded_images(16, (12, 12, 3), seed=5).astype(np.float32)
ONNX, TFLITE, SAVEDMODEL = Format.ONNX, Format.TFLITE, Format.SAVEDMODEL


def model(activation: Any, name: str) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    image = keras.Input((12, 12, 3))
    value = layers.Conv2D(8, 3, name="conv")(image)
    value = layers.Activation(activation, name="act")(value)
    value = layers.Conv2D(8, 3, name="second")(value)
    return keras.Model(image, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D()(value)), name=name)


def export(made: Any, output: Path, *, skip: bool, **more: Any) -> tuple[Record, ...]:
    asked = {"formats": "tflite", "schemes": "int8,int16x8", "calibration": IMAGES, **more}
    return kexport.export(made, output=output, skip_unsupported=skip, **asked)


@pytest.mark.parametrize("activation", ["hard_swish", "hard_sigmoid", "relu"])
def test_int16_of_networks_that_clip_is_known_before_its_work(activation: str, tmp_path: Path) -> None:
    """With and without the option: what the graph tells is what the writer says."""
    made = model(activation, f"net_{activation}")
    first, second = export(made, tmp_path / "red", skip=False)
    assert first.status is Status.PASS
    if activation == "relu":
        assert second.status is Status.PASS
        assert [each.status for each in export(made, tmp_path / "green", skip=True)] == [Status.PASS] * 2
        return
    assert (second.status, second.exit_code, second.skipped) == (Status.UNSUPPORTED, 1, False)
    assert verdict.exit_code((first, second)) == 1
    left = export(made, tmp_path / "green", skip=True)
    assert [each.status for each in left] == [Status.PASS, Status.UNSUPPORTED]
    assert left[1].skipped
    why = "layer 'act': int16 values cannot be clipped at 0 and 1, only at 0 and 6"
    assert left[1].reason == why
    assert verdict.exit_code(left) == 0
    said = verdict.text(left, seconds=1.0)
    assert f"  skipped net_{activation} tflite int16x8: {why}" in said
    assert "UNSUPPORTED net" not in said
    assert 'skipped="1"' in reports.render(left, "junit")
    assert [path.suffix for path in (tmp_path / "green").rglob("*int16x8*")] == [], "no record of what was left out"


@pytest.mark.parametrize(
    ("typed", "made", "told"),
    [
        (
            {"formats": (ONNX, TFLITE), "schemes": (Scheme.FLOAT32, Scheme.INT16X8), "calibration": "synthetic:0"},
            ["onnx float32", "tflite float32", "tflite int16x8"],
            ["skipped onnx int16x8: onnx cannot be int16x8, expected one of float32, float16, dynamic, int8"],
        ),
        (
            {"formats": (TFLITE, SAVEDMODEL), "schemes": (Scheme.FLOAT32, Scheme.FLOAT16)},
            ["tflite float32", "tflite float16", "savedmodel float32"],
            ["skipped savedmodel float16: savedmodel cannot be float16, expected one of float32"],
        ),
        (
            {"formats": (SAVEDMODEL, ONNX), "schemes": (Scheme.FLOAT16,)},
            ["onnx float16"],
            ["skipped savedmodel float16: savedmodel cannot be float16, expected one of float32"],
        ),
        (
            {"formats": (ONNX,), "schemes": (Scheme.FLOAT32, Scheme.FLOAT16), "engine": "tf2onnx"},
            ["onnx float32"],
            ["skipped onnx float16: tf2onnx cannot write onnx float16, expected float32"],
        ),
        ({"formats": (ONNX,)}, ["onnx float32"], []),
    ],
    ids=["scheme", "format", "whole format", "engine", "nothing"],
)
def test_pairs_that_no_file_can_be(typed: dict[str, Any], made: list[str], told: list[str]) -> None:
    options = ExportOptions(skip_unsupported=True, **typed)
    found = requests.cells(select(["MobileNet"]), options)
    assert [f"{cell.format} {cell.scheme}" for cell in found] == made
    assert list(requests.skipped(options)) == told
    assert requests.skipped(ExportOptions(**typed)) == (), "nothing is told where nothing is asked for"


def test_a_request_of_which_nothing_would_be_left_is_refused() -> None:
    options = ExportOptions(skip_unsupported=True, formats=(SAVEDMODEL,), schemes=(Scheme.FLOAT16,))
    with pytest.raises(UsageError, match="savedmodel cannot be float16, expected one of float32"):
        requests.cells(select(["MobileNet"]), options)


def test_what_fails_is_not_hidden(tmp_path: Path) -> None:
    """A cell that a check says no to is red beside one that is left out."""
    made = model("hard_swish", "net_red")
    labels = np.zeros(len(IMAGES), np.int64)
    records = export(made, tmp_path, skip=True, eval=(IMAGES, labels), min_agreement=1.0, schemes="dynamic,int16x8")
    assert records[1].skipped
    failing = (records[0].__class__(**{**records[0].__dict__, "status": Status.FAIL, "reason": "no"}), records[1])
    assert verdict.exit_code(failing) == 1
