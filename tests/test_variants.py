"""Names of variants: what makes another network, batch or type of inputs is in the name, and nothing else is."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from kexport.errors import UsageError
from kexport.files import STAGING
from kexport.options import ExportOptions, ModelOptions, variants
from kexport.pipeline import requests
from kexport.sources.catalog import APPLICATIONS
from kexport.sources.names import select
from kexport.specs import Boundary, Cell, Format, ModelSpec, Scheme, WeightsSpec
from kexport.store import manifest, signature
from kexport.store.lock import HOLDER, LOCK

SEEDED = WeightsSpec(kind="random", seed=0)
NET = ModelSpec(application="MobileNet", weights=SEEDED)
OTHERS: dict[str, object] = {
    "alpha": 0.25, "minimalistic": True, "input_shape": (64, 96, 3), "pooling": "avg", "layers": ("conv1",),
    "embed_preprocessing": True, "classes": 10, "include_top": False,
}  # fmt: skip
SAME: dict[str, object] = {
    "labels": "names.txt", "preprocessing": "tf", "resize": "squash", "trust": True,
    "weights": WeightsSpec(kind="imagenet"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "MobileNet"),
        ({"alpha": 1.0}, "MobileNet"),
        ({"alpha": 0.25}, "MobileNet-a0.25"),
        ({"alpha": 2.0}, "MobileNet-a2"),
        ({"input_shape": (192, 192, 3), "classes": 10}, "MobileNet-192x192-10classes"),
        ({"input_shape": (64, 96, 1)}, "MobileNet-64x96x1"),
        ({"alpha": 0.5, "minimalistic": True}, "MobileNet-a0.5-minimalistic"),
        ({"include_top": False, "pooling": "max"}, "MobileNet-notop-max"),
        ({"include_top": False, "layers": ("conv1", "conv_pw_2")}, "MobileNet-notop-at-conv1+conv_pw_2"),
        ({"layers": ("block/add",)}, "MobileNet-at-block_add-44918ff5"),
        ({"embed_preprocessing": True, "alpha": 0.25}, "MobileNet-a0.25-embedded"),
        ({"alpha": 0.25, "embed_preprocessing": True, "called": "Small"}, "Small"),
    ],
    ids=str,
)
def test_names(options: dict[str, object], name: str) -> None:
    assert replace(NET, **options).name == name  # type: ignore[arg-type]


def test_every_option_of_a_network_is_in_its_name_or_leaves_it_as_it_is() -> None:
    known = {each.name for each in fields(ModelOptions)} | {"classes", "include_top", "weights"}
    assert {*OTHERS, *SAME, "called"} == known
    names = [replace(NET, **{word: value}).name for word, value in OTHERS.items()]  # type: ignore[arg-type]
    assert len({*names, NET.name}) == len(OTHERS) + 1
    for word, value in SAME.items():
        assert replace(NET, **{word: value}).name == NET.name, word  # type: ignore[arg-type]


def test_the_forty_have_their_own_names_also_at_the_size_that_they_have() -> None:
    for application in APPLICATIONS:
        own = (application.default_size, application.default_size, 3)
        for options in (ExportOptions(weights="random:0"), ExportOptions(weights="random:0", input_shape=own)):
            made = requests.cells((application,), options)
            assert {cell.file_name for cell in made} == {
                f"{application.name}-float32{cell.format.suffix}" for cell in made
            }


@pytest.mark.parametrize(
    ("form", "options", "end"),
    [
        (Format.ONNX, {"batch": 8}, "float32-batch8.onnx"),
        (Format.ONNX, {"batch": 1}, "float32-batch1.onnx"),
        (Format.TFLITE, {"batch": 1}, "float32.tflite"),
        (Format.TFLITE, {"batch": 4}, "float32-batch4.tflite"),
        (Format.TFLITE, {"scheme": Scheme.INT8, "io": Boundary.UINT8}, "int8-io-uint8.tflite"),
        (Format.TFLITE, {"scheme": Scheme.INT8, "io": Boundary.INT8, "batch": 2}, "int8-io-int8-batch2.tflite"),
        (Format.SAVEDMODEL, {"batch": 2}, "float32-batch2-savedmodel"),
        (Format.ONNX, {"opset": 17, "engine": "native"}, "float32.onnx"),
    ],
    ids=str,
)
def test_file_names(form: Format, options: dict[str, object], end: str) -> None:
    cell = Cell(model=NET, format=form, calibration="synthetic:0", **options)  # type: ignore[arg-type]
    assert cell.file_name == f"MobileNet-{end}"
    assert cell.label == f"MobileNet {form} {end.removesuffix(form.suffix)}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".a", "-a", "a\nb", "a\\b"])
def test_what_cannot_name_a_folder(name: str) -> None:
    with pytest.raises(UsageError, match=r"--name .*: expected a plain name") as caught:
        replace(NET, called=name)
    assert caught.value.hint == "--name Small"


@pytest.mark.parametrize("name", ["manifest.json", "Manifest.JSON", "bom.cdx.json", "kexport.sig", ".kexport-1-x"])
def test_the_directory_has_files_of_its_own(name: str) -> None:
    own = WeightsSpec(kind="model")
    asked: list[dict[str, Any]] = [
        {"file": f"models/{name}.keras", "weights": own}, {"factory": "mine:a", "called": name, "weights": own},
        {"live": name, "weights": own}, {"application": "MobileNet", "called": name},
    ]  # fmt: skip
    for what in asked:
        with pytest.raises(UsageError, match=r"a (file of the artifact directory|plain name)"):
            ModelSpec(**what)


def test_the_directory_s_own_files_are_all_known() -> None:
    for name in (manifest.MANIFEST, signature.BOM, signature.SIGNATURE, LOCK, HOLDER, f"{STAGING}1-x"):
        with pytest.raises(UsageError, match="a file of the artifact directory"):
            variants.check_free(name)


def test_one_name_is_for_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.keras").touch()
    for source in ("MobileNet", "a.keras", "mine:build"):
        made = requests.cells(select([source]), ExportOptions(called="Mine"))
        assert [cell.file_name for cell in made] == ["Mine-float32.onnx", "Mine-float32.tflite"]
    with pytest.raises(UsageError, match="--name Mine: one name for 2 models, expected one model"):
        requests.cells(select(["MobileNet", "a.keras"]), ExportOptions(called="Mine"))
