"""The page's own preprocessing in Node, and what the bundle brings; tests/consumers/web.py drives it in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kexport.bundles import web
from kexport.bundles.write import bundle
from kexport.errors import UsageError
from kexport.images import photographs
from kexport.records import Preprocessing, Resize
from tests.bundles.conftest import Made, photograph
from tests.evidence.small_files import contract

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { asInput, fitted, nearest, ofCanvas } from "./preprocess.mjs";
const contract = JSON.parse(readFileSync("contract.json")), [width, height] = process.argv.slice(2).map(Number);
const image = ofCanvas({ width, height, data: readFileSync("rgba.bin") }, 3);
const pixels = fitted(image, contract.preprocessing);
writeFileSync("pixels.bin", pixels);
writeFileSync("input.bin", new Uint8Array(asInput(pixels, contract).buffer));
if ([0.5, 1.5, 2.5, -0.5, -1.5].map(nearest).map(Number).join() !== "0,2,2,0,-2") process.exit(3);
"""


@needs_node
@pytest.mark.parametrize(("name", "mode"), [("a.onnx", "caffe"), ("uint8.tflite", "tf")])
def test_pixels_are_those_of_kexport(
    name: str, mode: str, small: Callable[..., Path], made: Made, tmp_path: Path
) -> None:
    folder = made(small(name, mode), "web")
    image = photograph(tmp_path / "photo.png", size=(97, 150))
    (folder / "rgba.bin").write_bytes(Image.open(image).convert("RGBA").tobytes())
    shutil.copyfile(folder / "preprocess.js", folder / "preprocess.mjs")
    (folder / "run.mjs").write_text(SCRIPT)
    document = folder / "contract.json"
    before = document.read_text()
    for resize in Resize:
        document.write_text(before.replace('"resize": "crop"', f'"resize": "{resize}"'))
        words = ["node", "run.mjs", "97", "150"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        compare(folder, image, name, replace(contract(mode), resize=resize))


def compare(folder: Path, image: Path, name: str, rule: Preprocessing) -> None:
    expected = photographs.read(image, rule)[1]
    pixels = np.fromfile(folder / "pixels.bin", np.uint8).reshape(expected.shape)
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert (pixels == expected).mean() > 0.97
    wanted = photographs.prepare(pixels, rule)
    if name == "uint8.tflite":
        spec = json.loads((folder / "contract.json").read_text())["input"]
        steps = np.rint(wanted / np.float32(spec["scale"])) + spec["zero_point"]
        wanted = np.clip(steps, 0, 255).astype(np.uint8)
    ours = np.fromfile(folder / "input.bin", wanted.dtype).reshape(expected.shape)
    np.testing.assert_array_equal(ours, wanted)


def test_runtime_files_come_along(small: Callable[..., Path], tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    for name in web.RUNTIME["onnx"]:
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_text(name)
    artifact = small("a.onnx")
    folder = bundle(artifact, "web", tmp_path / "x", runtime_files=modules)
    assert {path.name for path in (folder / "runtime").iterdir()} == set(web.RUNTIME["onnx"].values())
    assert "npm install" not in (folder / "README.md").read_text()
    assert "npm install" in (bundle(artifact, "web", tmp_path / "y") / "README.md").read_text()
    with pytest.raises(UsageError, match=r"there is no @litertjs/core/dist/index\.js, expected the node_modules of"):
        bundle(small("a.tflite"), "web", tmp_path / "z", runtime_files=modules)


@needs_node
def test_an_installation_fills_the_runtime(small: Callable[..., Path], made: Made) -> None:
    """What ``npm install`` runs at its end."""
    folder = made(small("a.tflite"), "web")
    for name in web.RUNTIME["tflite"]:
        (folder / "node_modules" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "node_modules" / name).write_text(name)
    assert json.loads((folder / "package.json").read_text())["scripts"]["postinstall"] == "node runtime.mjs"
    subprocess.run(["node", "runtime.mjs"], cwd=folder, check=True, timeout=60)
    wasm = folder / "runtime" / "wasm" / "litert_wasm_internal.js"
    assert wasm.read_text() == "@litertjs/core/wasm/litert_wasm_internal.js"
    imports = json.loads((folder / "index.html").read_text().partition('"importmap">')[2].partition("</script>")[0])
    assert all((folder / place).is_file() for place in imports["imports"].values())


def test_what_the_page_cannot_run_is_told(small: Callable[..., Path], made: Made) -> None:
    with pytest.raises(UsageError, match="int8: the page runs tflite files with float32, uint8"):
        made(small("int8.tflite"), "web")
