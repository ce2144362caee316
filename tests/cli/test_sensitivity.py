"""``kexport sensitivity``: refusals at once, and one real ranking in a worker process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kexport.images.calibration import SYNTHETIC_COUNT
from tests.images.test_calibration import folder, pictures

SMALL = ("MobileNet", "--weights", "random:0", "--alpha", "0.25", "--input-shape", "32,32,3", "--classes", "10")
NO_FILE = (
    "--calibration 'none': there is no such file or folder; expected a folder of images, a .npz file or synthetic:SEED"
)


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (
            ("MobileNetV3Small",),
            "kexport sensitivity needs calibration images: what int8 costs depends on what the network sees",
            "kexport sensitivity MobileNetV3Small --calibration photos",
        ),
        (
            ("mobilenet_v3", "--calibration", "synthetic:0"),
            "'mobilenet_v3' names 2 models: MobileNetV3Small, MobileNetV3Large; expected one",
            "kexport sensitivity MobileNetV3Small",
        ),
        (
            (*SMALL, "--calibration", "none"),
            NO_FILE,
            "--calibration FOLDER, with about 100 photographs like those that the network will meet",
        ),
        (
            (*SMALL, "--calibration", "synthetic:0", "--images", "0"),
            "--images 0: expected 1 to 1000",
            "--images 16",
        ),
        (
            (*SMALL, "--calibration", "synthetic:0", "--format", "hmtl"),
            "unknown report format 'hmtl': did you mean html?",
            "kexport sensitivity SOURCE --format md",
        ),
        (
            (*SMALL, "--calibration", "synthetic:0", "-o", "layers.pdf"),
            "-o 'layers.pdf': expected a name that ends in .html, .md or .json",
            "-o layers.html",
        ),
    ],
)
def test_refused_at_once(call: Any, arguments: tuple[str, ...], said: str, hint: str) -> None:
    ended = call("sensitivity", *arguments)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {said}\nhint: {hint}\n")


def test_ranking_of_a_network(call: Any, tmp_path: Path) -> None:
    page = tmp_path / "of" / "today" / "layers.html"
    ended = call("sensitivity", *SMALL, "--calibration", "synthetic:0", "--images", "4", "--json", "-o", str(page))
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["model"], found["calibration"], found["images"]) == (
        "MobileNet-a0.25-32x32-10classes",
        "synthetic:0",
        4,
    )
    assert found["notes"] == [f"calibrated on {SYNTHETIC_COUNT} synthetic images: not fit to deploy"]
    layers = found["layers"]
    assert [layer["place"] for layer in layers] == list(range(len(layers)))
    assert {layer["kind"] for layer in layers} == {"Conv2D", "DepthwiseConv2D"}
    names = [layer["name"] for layer in layers]
    blocks = [f"conv_{kind}_{block}" for block in range(1, 14) for kind in ("dw", "pw")]
    assert names == ["conv1", *blocks, "conv_preds"]
    assert all(0 < layer["sqnr_db"] < 200 for layer in layers)
    assert "MobileNet-a0.25-32x32-10classes sensitivity: rank layers" in ended.err
    assert all(f">{name}<" in page.read_text() for name in names)


def test_nothing_is_left_where_it_is_typed(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = folder(tmp_path / "photographs", pictures(4))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ended = call("sensitivity", *SMALL, "--calibration", str(photographs), "--images", "2", "--json")
    assert ended.code == 0, ended.err
    assert not list(here.iterdir())
    assert len(list(photographs.iterdir())) == 4


def test_what_a_worker_refuses_is_told(call: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = call("sensitivity", *SMALL, "--calibration", str(tmp_path / "empty"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(
        f"error: {tmp_path / 'empty'}: holds no images (.jpg, .jpeg, .png, .bmp, .webp, .tif, .tiff)\n"
        "hint: --calibration FOLDER, with about 100 photographs like those that the network will meet\n"
    )
