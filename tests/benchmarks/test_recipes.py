"""The recipes on real files: which rows there are, in which values time is measured, and what the page says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kexport
from kexport.quantization import recipe_file
from tests.benchmarks.script_modules import script_modules

SCRIPTS = (
    "recipes", "older_cpu", "older_cpu_page", "int8_networks", "pair_sums", "md_text", "turns", "processes",
)  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found.recipes


def row(recipe: str, **more: Any) -> dict[str, Any]:
    return {
        "network": "net", "decides": True, "recipe": recipe, "format": "onnx", "status": "PASS", "photographs": 400,
        "sqnr_db": 16.714, "agreement": 0.96, "drop_points": 1.0, "bytes": 2_723_790,
        "versions": {"onnxruntime": "1", "ai-edge-litert": "2"},
    } | more  # fmt: skip


def test_the_page_has_a_row_for_each_and_no_time_for_the_usual_one(script: SimpleNamespace) -> None:
    timed = row("float-gates", sqnr_db=17.45, ratio=1.034, ratio_low=1.02, ratio_high=1.05)
    apart = row("integer", decides=False, agreement=None, drop_points=None, ratio=0.9, ratio_low=0.8, ratio_high=1.0)
    text = "\n".join(script.lines({"machine": {"processor": "P"}, "rows": [row("none"), timed, apart]}))
    assert "| net | none | onnx | 16.71 | 0.9600 | +1.00 | 2.72 | - | - |" in text
    assert "| net | float-gates | onnx | 17.45 | 0.9600 | +1.00 | 2.72 | 1.03 | 1.02 to 1.05 |" in text
    assert "| net | integer | onnx | 16.71 | - | - | 2.72 | 0.90 | 0.80 to 1.00 |" in text


def test_files_are_made_judged_and_timed(
    script: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network with every recipe, photographs included: those that mean none of its layers have no row."""
    import keras
    from PIL import Image

    keras.utils.set_random_seed(1)
    image = keras.Input((24, 24, 3))
    value = keras.layers.Rescaling(1 / 255)(image)
    value = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(value)
    value = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(value))
    keras.Model(image, value).save(tmp_path / "net.keras")
    folders = []
    for name in ("calibration", "evaluation"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for number in range(6):
            draw = kexport.images.seeded.seeded_images(1, (24, 24, 3), seed=number + 10 * len(folders))
            Image.fromarray(draw[0].clip(0, 255).astype("uint8")).save(folders[-1] / f"{number % 3}_{number}.png")
    monkeypatch.setattr(script, "ROUNDS", 5)
    monkeypatch.setattr(script.turns, "WARM_SECONDS", 0.01)
    monkeypatch.setattr(script.turns, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(script.processes, "run", here(script))
    network = script.older_cpu.Network(name="net", source=str(tmp_path / "net.keras"), options={})
    found = list(script.measured(network, tmp_path / "cache", calibration=folders[0], evaluation=folders[1]))
    assert [(each["recipe"], each["format"]) for each in found] == [
        (name, form) for name in ("none", "integer", "min-max") for form in ("onnx", "tflite")
    ]
    assert "float-gates" in recipe_file.names()
    assert all(("ratio" in each) == (each["recipe"] != "none") for each in found)
    assert all(0.1 < each["ratio"] < 10 for each in found if "ratio" in each)
    assert script.made(network, "float-gates", tmp_path / "cache", calibration=folders[0], evaluation=folders[1]) == {}


def here(script: SimpleNamespace) -> Any:
    """The task of a process of its own in this one, so that it takes no minute."""

    def run(command: list[str], **_: Any) -> tuple[str, str]:
        assert command[1:3] == [script.__file__, "--task"]
        return json.dumps(script.in_turns(*command[3:])), ""

    return run


def test_values_are_those_that_pixels_become(script: SimpleNamespace) -> None:
    contract = SimpleNamespace(scale=1 / 255, mean=(0.5, 0.25, 0.5), std=(0.5, 0.25, 0.5))
    record = SimpleNamespace(source=SimpleNamespace(preprocessing=contract))
    assert script.values(record) == (-1.0, 3.0)
