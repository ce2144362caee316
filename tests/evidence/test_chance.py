"""Keras at chance is said before any number, with the contract that it should have been fed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.evidence import chance, scoring
from kexport.images import evaluation
from kexport.images.photographs import prepare
from kexport.records import Preprocessing
from kexport.sources import reference
from kexport.specs import ModelSpec, WeightsSpec

SIDE = 12
COLOURS = {"tulip": (220, 60, 60), "rose": (60, 220, 60), "daisy": (60, 60, 220)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for index in range(8):
            pixels = np.clip(np.array(colour) + rng.integers(-50, 35, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n")
    return folder


def trained(expects: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], order: tuple[int, ...] = (0, 1, 2)) -> Any:
    """A model that knows the three colours, as ``expects`` makes them of pixels, and nothing that is far from them."""
    import keras

    means = np.stack([expects(np.array(list(COLOURS.values())[place], np.float32) - 7) for place in order])
    image = keras.Input((SIDE, SIDE, 3))
    colour = keras.layers.Reshape((1, 3))(keras.layers.GlobalAveragePooling2D()(image))
    span = float(np.ptp(means)) / 160 * 255
    distance = keras.ops.sum(keras.ops.square((colour - means[None].astype("float32")) / span), axis=-1)
    return keras.Model(image, keras.ops.exp(-400.0 * distance), name="flowers")


def caveats(model: Any, photographs: Path, folder: Path, **said: str) -> tuple[str, ...]:
    spec = ModelSpec(
        file="flowers.keras", weights=WeightsSpec(kind="model"), labels=str(photographs / "labels.txt"), **said
    )  # type: ignore[arg-type]
    facts = reference.facts(model, replace(spec, file=None, factory="a:b"))
    scoring.prepare(model, facts, folder, images=str(photographs), calibration=None, calibrated=False)
    stored = evaluation.load(folder)
    assert stored is not None
    assert stored[0].images.labels == tuple([2] * 8 + [1] * 8 + [0] * 8)  # daisy, rose, tulip: their labels decide
    return stored[0].caveats


RESIZE = "the resize is assumed (the centre of 0.857 of the shorter side): --resize states it"
AT_CHANCE = "Keras itself is right on 8 of 24 photographs, which cannot be told from chance (3 classes): "


def test_a_model_that_is_fed_rightly(photographs: Path, tmp_path: Path) -> None:
    model = trained(lambda pixels: pixels)
    assert caveats(model, photographs, tmp_path, preprocessing="raw") == (RESIZE,)
    assert caveats(model, photographs, tmp_path, preprocessing="raw", resize="squash") == ()


@pytest.mark.parametrize(
    ("expects", "stated", "told"),
    [
        ("raw", "tf", "pixels in [0, 255] (--preprocessing raw)"),
        ("tf", "raw", "[-1, 1] (--preprocessing tf)"),
        ("torch", "raw", "ImageNet's mean and deviation (--preprocessing torch)"),
        ("twice", "unit", "the same scaling twice"),
        ("bgr", "raw", 'BGR, pixels in [0, 255] (--preprocessing FILE with channel_order = "BGR")'),
    ],
)
def test_the_likely_cause(photographs: Path, tmp_path: Path, expects: str, stated: str, told: str) -> None:
    contract = Preprocessing(
        mode=stated, size=(SIDE, SIDE), channel_order="RGB", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3,
        resize_shorter_side=SIDE,
    )  # fmt: skip
    others = {
        "raw": contract,
        "tf": replace(contract, scale=1 / 127.5, mean=(1.0,) * 3),
        "torch": replace(contract, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        "twice": replace(contract, scale=1 / 255**2),
        "bgr": replace(contract, channel_order="BGR"),
    }
    model = trained(lambda pixels: prepare(pixels, others[expects]))
    first, resize = caveats(model, photographs, tmp_path, preprocessing=stated)
    assert first.startswith("Keras itself is right on ")
    assert told in first, first
    assert resize == RESIZE


def test_weights_that_know_nothing(photographs: Path, tmp_path: Path) -> None:
    first, _ = caveats(trained(lambda pixels: pixels * 7 + 3000), photographs, tmp_path, preprocessing="raw")
    assert first == (
        f"{AT_CHANCE}what follows says nothing about accuracy; no better with [0, 1], [-1, 1], ImageNet's mean and "
        "deviation, BGR less ImageNet's mean, BGR, pixels in [0, 255], BGR, [0, 1], BGR, [-1, 1], BGR, ImageNet's mean "
        "and deviation: are the weights trained, and do the labels belong to them?"
    )


def test_classes_in_another_order(photographs: Path, tmp_path: Path) -> None:
    first, _ = caveats(trained(lambda pixels: pixels, (1, 2, 0)), photographs, tmp_path, preprocessing="raw")
    assert "the classes are in another order than the labels (--labels FILE)" in first


@pytest.mark.parametrize(
    ("right", "images", "classes", "expected"), [(0, 9, 2, 1.0), (9, 9, 2, 2.0**-9), (2, 3, 2, 0.5), (1, 1, 4, 0.25)]
)
def test_the_tail_of_the_binomial(right: int, images: int, classes: int, expected: float) -> None:
    assert chance.tail(right, images, classes) == pytest.approx(expected)
    assert chance.tail(60, 400, 1000) < 1e-60
