"""``--keep-float`` through the whole run: one plan for both formats, told in the record, and made again from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.errors import UsageError
from kexport.images.seeded import seeded_images
from kexport.options import ExportOptions
from kexport.pipeline import reproduce
from kexport.pipeline.requests import cells
from kexport.records import Record, Status
from kexport.sources.names import select
from kexport.specs import Scheme

IMAGES = seeded_images(24, (12, 12, 3), seed=5).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Any:
    """A stem, a nested body and a head."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    inside = keras.Input((12, 12, 8))
    value = layers.Conv2D(8, 3, padding="same", activation="relu", name="block1_conv")(inside)
    value = layers.Add(name="sum")([inside, layers.Conv2D(8, 3, padding="same", name="block2_conv")(value)])
    body = keras.Model(inside, value, name="body")
    image = keras.Input((12, 12, 3))
    value = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    value = layers.Dropout(0.5, name="drop")(layers.GlobalAveragePooling2D(name="pool")(body(value)))
    return keras.Model(image, layers.Dense(4, name="scores")(value), name="kept")


def export(model: Any, output: Path, **more: Any) -> tuple[Record, ...]:
    return kexport.export(model, formats=("onnx", "tflite"), schemes="int8", calibration=IMAGES, output=output, **more)


def kinds(record: Record) -> dict[str, int]:
    assert record.artifact is not None
    return record.artifact.operations


@pytest.mark.parametrize(
    ("named", "floats"),
    [
        ((), 0),
        ("stem", 1),
        (("block?_conv", "scores"), 3),
        ("body", 2),
    ],
    ids=str,
)
def test_both_formats_keep_the_layers_of_one_plan(model: Any, tmp_path: Path, named: Any, floats: int) -> None:
    onnx, tflite = export(model, tmp_path, keep_float=named)
    said = (named,) if isinstance(named, str) else named
    for record in (onnx, tflite):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.quantization is not None
        assert record.quantization.keep_float == said
        assert len(record.quantization.float_layers) == floats
        assert record.quantization.int8_layers == 4 - floats
        assert reproduce.cell_of(record, built=False).keep_float == said
        assert (f"keep_float={said!r}" in record.reproduce) is bool(said)
    assert onnx.quantization is not None
    assert tflite.quantization is not None
    assert onnx.quantization.float_layers == tflite.quantization.float_layers


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("stm", "unknown layer of --keep-float 'stm': did you mean stem?"),
        ("drop", "unknown layer of --keep-float 'drop': "),
        ("body/stem", "unknown layer of --keep-float 'body/stem': "),
    ],
)
def test_a_layer_that_there_is_not_ends_the_run_before_any_file(
    model: Any, tmp_path: Path, named: str, told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        export(model, tmp_path / "out", keep_float=("stem", named))
    assert caught.value.message.startswith(told)
    assert caught.value.hint == "kexport list layers kept"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("schemes", [(), (Scheme.FLOAT16, Scheme.DYNAMIC), (Scheme.DYNAMIC,)])
def test_schemes_without_layers_to_keep(schemes: tuple[Scheme, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        cells(select(["MobileNet"]), ExportOptions(schemes=schemes or None, keep_float=("conv1",)))
    told = ", ".join(schemes) or "float32"
    assert caught.value.message == (
        f"--keep-float conv1 with {told}: expected scheme int8, all layers of which are quantized unless said"
    )
    assert caught.value.hint == "--schemes int8"
