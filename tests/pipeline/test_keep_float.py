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
from kexport.quantization import recipe_file
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


RECIPE = """
description = "the body in float, wide ranges at the stem"
[[rules]]
layer = "body/*"
precision = "float"
[[rules]]
layer = "stem"
range = "extremes"
kernels = "full"
"""


def sha256(records: tuple[Record, ...]) -> list[str]:
    return [record.artifact.sha256 for record in records if record.artifact is not None]


def test_what_was_used_makes_the_same_bytes_again(model: Any, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    usual = sha256(export(model, tmp_path / "usual"))
    made = export(model, tmp_path / "one", recipe=tmp_path / "r.toml", keep_float="scores")
    found = made[0].quantization
    assert found is not None
    assert found.recipe is not None
    assert found.recipe_file == str(tmp_path / "r.toml")
    assert len(found.float_layers) == 3
    assert [rule.layer for rule in found.recipe.rules] == ["body/*", "stem", "scores"]
    (tmp_path / "written.toml").write_text(recipe_file.written(found.recipe))
    again = export(model, tmp_path / "two", recipe=tmp_path / "written.toml")
    assert [record.status for record in (*made, *again)] == [Status.PASS] * 4
    assert sha256(made) == sha256(again)
    assert set(sha256(made)).isdisjoint(usual)


@pytest.mark.parametrize(
    "rule",
    ['layer = "stem"\nrange = "extremes"', 'layer = "*"\nkernels = "full"', 'layer = "pool"\nprecision = "float"'],
)
def test_every_kind_of_rule_changes_the_file(model: Any, tmp_path: Path, rule: str) -> None:
    (tmp_path / "r.toml").write_text(f"[[rules]]\n{rule}\n")
    usual, other = export(model, tmp_path / "a"), export(model, tmp_path / "b", recipe=str(tmp_path / "r.toml"))
    assert [record.status for record in other] == [Status.PASS] * 2
    assert set(sha256(usual)).isdisjoint(sha256(other))


def test_kernels_of_a_rule_for_all_are_those_of_the_option(model: Any, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[rules]]\nlayer = "*"\nkernels = "full"\n')
    ruled = export(model, tmp_path / "a", recipe=str(tmp_path / "r.toml"))
    assert sha256(ruled) == sha256(export(model, tmp_path / "b", kernels="full"))


@pytest.mark.parametrize(
    "said",
    [
        {"schemes": "int8", "kernels": "full"},
        {"schemes": "int8", "integer_head": True, "io": "uint8"},
        {"schemes": "int8", "keep_float": ("stem", "scores")},
        {"schemes": "int8", "recipe": "min-max", "batch": 3},
        {"schemes": "float16", "float16_biases": True},
        {"schemes": "float32", "engine": "tflite-converter"},
        {"schemes": "float32", "layer": ("stem", "pool"), "name": "taps"},
        {"schemes": "float32", "resize": "squash", "preprocessing": "tf", "embed_preprocessing": True},
        {"formats": "onnx", "schemes": "float32", "opset": 20, "batch": 2, "max_size": "1MB"},
    ],
    ids="-".join,
)
def test_the_call_of_the_record_makes_the_same_bytes(
    model: Any, said: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model and the data of the program under the names that it says, and nothing else."""
    monkeypatch.chdir(tmp_path)
    given = {"calibration": IMAGES} if said["schemes"] == "int8" else {}
    (made,) = kexport.export(model, output="first", **{"formats": "tflite"} | said, **given)
    assert made.artifact is not None
    (again,) = eval(made.reproduce, {"kexport": kexport, "model": model, **given})
    assert sha256((made,)) == sha256((again,)) != []
    assert again.artifact.path == made.artifact.path
    assert again.reproduce == made.reproduce


def test_the_call_of_an_application_with_data_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = seeded_images(2, (32, 32, 3), seed=5, low=-1.0, high=1.0).astype(np.float32)
    small = {"alpha": 0.30078125, "input_shape": (32, 32, 3), "classes": 4, "weights": "random:3", "formats": "onnx"}
    (made,) = kexport.export("MobileNet", output="first", schemes="int8", calibration=images, kernels="full", **small)
    (again,) = eval(made.reproduce, {"kexport": kexport, "calibration": images})
    assert made.status is again.status is Status.PASS
    assert sha256((made,)) == sha256((again,))
