"""The recipes that come with kexport: found by name, and what each does to the networks that it is for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport import targets
from kexport.errors import UnknownNameError, UsageError
from kexport.images.seeded import seeded_images
from kexport.pipeline.resume import fingerprint
from kexport.quantization import layers, recipe, recipe_file
from kexport.records import Record, Status
from kexport.records.recipe import LayerPrecision, Recipe, Rule
from kexport.registry import Format, Scheme
from kexport.specs import Cell, ModelSpec, WeightsSpec
from tests.quantization.test_layers import network

FLOAT = LayerPrecision.FLOAT
GATED = ("MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0")


def test_each_is_read_and_told_in_a_line() -> None:
    found = {name: recipe_file.read(name) for name in recipe_file.names()}
    assert set(found) == {"float-gates", "integer", "min-max"}
    assert all(each.says_something and 0 < len(each.description) <= 66 for each in found.values())


def test_a_file_of_that_name_is_meant_and_a_folder_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "integer").mkdir()
    (tmp_path / "min-max").write_text('kernels = "portable"')
    assert recipe_file.read("integer").integer_head
    assert recipe_file.read(str(Path("./min-max"))).rules == ()


@pytest.mark.parametrize("there", ["", "folder", "file"])
@pytest.mark.parametrize("place", [".", "sub"])
def test_a_target_takes_the_file_beside_it_or_the_shipped_one(
    there: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    beside = tmp_path / place / "integer"
    if there == "folder":
        beside.mkdir()
    elif there == "file":
        beside.write_text('kernels = "full"')
    target = tmp_path / place / "my.toml"
    target.write_text('description = "x"\nformats = ["tflite"]\nschemes = ["int8"]\nrecipe = "integer"\n')
    said = targets.load(os.path.relpath(target)).values["recipe"]
    assert recipe_file.read(said).integer_head == (there != "file")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("intger", "unknown recipe of --recipe 'intger': did you mean integer?"),
        ("gates", "unknown recipe of --recipe 'gates': did you mean float-gates?"),
        ("", "unknown recipe of --recipe ''"),
        ("x" * 300, "unknown recipe of --recipe 'xxx"),
    ],
)
def test_names_that_there_are_not(said: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError) as caught:
        recipe_file.read(said)
    assert caught.value.message.startswith(told)
    assert caught.value.hint == "kexport list recipes"


@pytest.mark.parametrize("said", ["r.toml", "folder/integer", "."])
def test_what_looks_like_a_file_is_one(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be read: "):
        recipe_file.read(said)


@pytest.mark.parametrize("name", GATED)
def test_float_gates_means_every_gate_and_nothing_else(name: str) -> None:
    """By structure: two convolutions before each product of a value with one that has a single place."""
    import keras

    model = getattr(keras.applications, name)(weights=None)
    gates = sum(isinstance(layer, keras.layers.Multiply) and _gated(layer) for layer in model.layers)
    meant = [layer for layer in model.layers if _meant(layer.name)]
    assert gates >= 8
    assert len(meant) == 2 * gates
    assert {tuple(layer.output.shape[1:3]) for layer in meant} == {(1, 1)}
    assert {type(layer) for layer in meant} == {keras.layers.Conv2D}


def _gated(layer: Any) -> bool:
    return sorted(tuple(each.shape[1:3]) == (1, 1) for each in layer.input) == [False, True]


def _meant(name: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, rule.layer) for rule in recipe_file.read("float-gates").rules) and "relu" not in name


def test_an_optional_rule_may_mean_nothing_where_another_means_a_layer() -> None:
    absent = Rule(layer="*_se_reduce", precision=FLOAT, optional=True)
    there = Rule(layer="stem", precision=FLOAT, optional=True)
    assert recipe.wishes(network(), Recipe(rules=(absent, there)), (), source="net.keras").in_float == {"first"}
    assert [recipe.idle(network(), Recipe(rules=rules)) for rules in ((), (absent,), (absent, there))] == [
        False,
        True,
        False,
    ]
    with pytest.raises(UnknownNameError, match=r"unknown layer of --recipe '\*_se_reduce'"):
        recipe.require(network(), Recipe(rules=(replace(absent, optional=False), there)), (), source="net.keras")


def test_an_optional_rule_about_int8_of_what_is_not_there() -> None:
    found = Recipe(rules=(Rule(layer="stem", precision=FLOAT), Rule(layer="se", kernels="full", optional=True)))  # type: ignore[arg-type]
    assert recipe.wishes(network(), found, (), source="net.keras").other_kernels == frozenset()
    assert layers.meant(network(), "se") == frozenset()


def test_resume_knows_a_shipped_recipe_by_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = ModelSpec(application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0))
    cell = Cell(model=model, format=Format.ONNX, scheme=Scheme.INT8, calibration="synthetic:0", recipe="integer")
    before = fingerprint(cell)
    assert fingerprint(cell) == before
    (tmp_path / "integer.toml").write_text("integer_head = true\n")
    monkeypatch.setattr(recipe_file, "_FOLDER", tmp_path)
    assert fingerprint(cell) != before


def network_of(activation: str, *, size: int, gated: bool = True) -> Any:
    """A first layer with an activation of its own, a squeeze-and-excite gate and a dense head."""
    import keras
    from keras import layers as of

    keras.utils.set_random_seed(3)
    image = keras.Input((size, size, 3))
    value = of.Conv2D(16, 3, strides=2, padding="same", activation=activation, name="stem")(image)
    if gated:
        gate = of.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(value)
        gate = of.Conv2D(8, 1, activation="relu", name="block_squeeze_excite_conv")(gate)
        gate = of.Conv2D(16, 1, activation="hard_sigmoid", name="block_squeeze_excite_conv_1")(gate)
        value = of.Multiply(name="block_squeeze_excite_mul")([value, gate])
    value = of.Conv2D(16, 1, activation="relu", name="project")(value)
    value = of.Dense(5, name="scores")(of.GlobalAveragePooling2D(name="pool")(value))
    return keras.Model(image, value, name="gated")


IMAGES = seeded_images(24, (16, 16, 3), seed=5).astype(np.float32)


def made(model: Any, folder: Path, images: Any = IMAGES, **more: Any) -> tuple[Record, ...]:
    found = kexport.export(model, formats="onnx,tflite", schemes="int8", calibration=images, output=folder, **more)
    assert [each.status for each in found] == [Status.PASS] * 2
    return found


def floats(record: Record) -> tuple[str, ...]:
    assert record.quantization is not None
    return record.quantization.float_layers


def computed_in_float(path: Path) -> list[str]:
    """Operators of a TFLite file, but for its ends, that read or make floats."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    loaded = Interpreter(str(path), experimental_op_resolver_type=plain)
    kinds = {each["index"]: each["dtype"] for each in loaded.get_tensor_details()}
    return [
        each["op_name"]
        for each in loaded._get_ops_details()
        if each["op_name"] not in {"QUANTIZE", "DEQUANTIZE"}
        and np.float32 in {kinds[index] for index in (*each["inputs"], *each["outputs"]) if index >= 0}
    ]


@pytest.mark.parametrize("activation", ["hard_swish", "silu", "relu6"])
def test_integer_leaves_nothing_in_float(activation: str, tmp_path: Path) -> None:
    model = network_of(activation, size=64)
    images = seeded_images(8, (64, 64, 3), seed=5).astype(np.float32)
    usual = made(model, tmp_path / "usual", images)
    ruled = made(model, tmp_path / "integer", images, recipe="integer")
    assert "FULLY_CONNECTED" in computed_in_float(place(usual[1], tmp_path / "usual"))
    assert computed_in_float(place(ruled[1], tmp_path / "integer")) == []
    for record in ruled:
        assert record.quantization is not None
        assert record.quantization.recipe_file == "integer"
        assert record.quantization.recipe == recipe_file.read("integer")


def place(record: Record, folder: Path) -> Path:
    assert record.artifact is not None
    return folder / record.artifact.path


def test_float_gates_and_min_max_change_what_they_say(tmp_path: Path) -> None:
    swish = network_of("hard_swish", size=16)
    usual, gates = made(swish, tmp_path / "usual"), made(swish, tmp_path / "gates", recipe="float-gates")
    for before, after in zip(usual, gates, strict=True):
        assert len(floats(after)) == len(floats(before)) + 2
    wide = made(swish, tmp_path / "wide", recipe="min-max")
    for before, after in zip(usual, wide, strict=True):
        assert floats(before) == floats(after)
        assert (
            max(before.quantization.largest_pair_sums.values())
            <= 128
            < max(  # type: ignore[union-attr]
                after.quantization.largest_pair_sums.values()  # type: ignore[union-attr]
            )
        )


@pytest.mark.parametrize("skip", [False, True])
def test_a_network_without_gates_has_its_other_files(skip: bool, tmp_path: Path) -> None:
    model = network_of("relu", size=16, gated=False)
    found = kexport.export(
        model, formats="onnx,tflite", schemes="float32,int8", calibration=IMAGES, recipe="float-gates", output=tmp_path,
        skip_unsupported=skip,
    )  # fmt: skip
    assert [(each.scheme, each.status) for each in found].count(("float32", Status.PASS)) == 2
    assert {each.status for each in found if each.scheme == "int8"} == {Status.UNSUPPORTED}
    for record in found:
        if record.scheme == "int8":
            assert record.reason.startswith("--recipe float-gates: no rule means a layer of gated")
            assert record.hint == "the same without --recipe, or --skip-unsupported, which leaves such networks out"


def test_a_recipe_of_one_target_is_not_that_of_another(tmp_path: Path) -> None:
    """Both make int8 files of TFLite; only the one whose recipe means no layer is left out, in either order."""
    for name, more in (("gates", 'recipe = "float-gates"'), ("plain", 'io = "int8"')):
        text = f'description = "x"\nformats = ["tflite"]\nschemes = ["int8"]\n{more}\n'
        (tmp_path / f"{name}.toml").write_text(text)
    model = network_of("relu", size=16, gated=False)
    for order in (("gates", "plain"), ("plain", "gates")):
        found = kexport.export(
            model, target=[str(tmp_path / f"{name}.toml") for name in order], calibration=IMAGES,
            output=tmp_path / order[0], skip_unsupported=True,
        )  # fmt: skip
        ends = {order[place]: record.status for place, record in enumerate(found)}
        assert ends == {"gates": Status.UNSUPPORTED, "plain": Status.PASS}
