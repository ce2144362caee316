"""A photograph becomes an input as the contract says, and as Keras's own preprocessing has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import SourceError, UsageError
from kexport.images import photographs
from kexport.records import Preprocessing, Resize
from kexport.sources import catalog

CONTRACT = catalog.preprocessing(catalog.application("MobileNet"), (224, 224))


def small(mode: str = "MobileNetV3Small", size: tuple[int, int] = (28, 28), *, channels: int = 3) -> Preprocessing:
    return catalog.preprocessing(catalog.application(mode), size, channels=channels)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def ramp(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


def test_a_fitting_image_is_only_cropped(tmp_path: Path) -> None:
    pixels = ramp(32, 47)
    _, fitted = photographs.read(save(tmp_path / "a.png", pixels), small())
    np.testing.assert_array_equal(fitted, pixels[2:30, 9:37])


def test_the_shorter_side_is_resized_bilinear(tmp_path: Path) -> None:
    from PIL import Image

    path = save(tmp_path / "a.png", ramp(64, 101))
    _, fitted = photographs.read(path, small())
    expected = np.asarray(Image.open(path).resize((50, 32), Image.Resampling.BILINEAR))  # 101 / 2 rounded to even
    np.testing.assert_array_equal(fitted, expected[2:30, 11:39])


def test_grey_palette_and_transparent_files_become_rgb(tmp_path: Path) -> None:
    from PIL import Image

    pixels = ramp(32, 32)
    for mode in ("L", "P", "RGBA", "CMYK"):
        path = tmp_path / f"{mode}.tif"
        Image.fromarray(pixels).convert(mode).save(path)
        assert photographs.read(path, small())[1].shape == (28, 28, 3)


def test_one_channel_and_too_many(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(32, 32))
    assert photographs.read(path, small(channels=1))[1].shape == (28, 28, 1)
    with pytest.raises(UsageError, match="the network takes 6 channels, photographs have 3 or 1"):
        photographs.read(path, small(channels=6))


KERAS = {"MobileNet": "mobilenet", "ResNet50": "resnet", "DenseNet121": "densenet", "MobileNetV3Small": "mobilenet_v3"}


@pytest.mark.parametrize(("model", "module"), KERAS.items())
def test_preparing_is_what_keras_does(model: str, module: str) -> None:
    import importlib

    keras = importlib.import_module(f"keras.applications.{module}")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    ours = photographs.prepare(pixels, catalog.preprocessing(catalog.application(model)))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, keras.preprocess_input(pixels.astype(np.float32)), rtol=0, atol=2e-5)


def test_the_listing_is_in_order_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/10.JPG", "a.png", ".hidden.jpg", ".cache/x.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = photographs.listing(tmp_path)
    assert [found.name(path) for path in found.images] == ["a.png", "b/10.JPG", "b/2.jpg"]
    assert found.left_out == ("notes.txt",)


def test_damaged_and_unusable_files_are_named(tmp_path: Path) -> None:
    from PIL import Image

    whole = save(tmp_path / "whole.jpg", ramp(64, 64), quality=95).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    save(tmp_path / "strip.png", ramp(8, 400))
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "deep.png")
    for name, said in (
        ("half.jpg", "the image cannot be read: .*[Tt]runcated"),
        ("text.jpg", "the image cannot be read: it holds no picture, expected .jpg, .jpeg, .png"),
        ("strip.png", "400x8 pixels; expected at most 100 million, and sides of at most 20 to 1"),
        ("deep.png", "pixels of mode I;16; expected 8 bits per channel"),
    ):
        with pytest.raises(SourceError, match=said) as caught:
            photographs.read(tmp_path / name, small())
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.hint


def test_a_contract_of_another_size(tmp_path: Path) -> None:
    contract = replace(CONTRACT, size=(96, 64), resize_shorter_side=110)
    assert photographs.read(save(tmp_path / "a.png", ramp(300, 200)), contract)[1].shape == (96, 64, 3)


@pytest.mark.parametrize(("size", "inside"), [((200, 100), (32, 64)), ((100, 200), (64, 32)), ((64, 64), (64, 64))])
def test_padding_keeps_the_shape_and_squashing_does_not(
    tmp_path: Path, size: tuple[int, int], inside: tuple[int, int]
) -> None:
    from PIL import Image

    Image.new("RGB", size, (250, 250, 250)).save(tmp_path / "white.png")
    contract = replace(catalog.preprocessing(catalog.application("EfficientNetB0"), (64, 64)), resize=Resize.PAD)
    _, padded = photographs.read(tmp_path / "white.png", contract)
    rows, columns = np.flatnonzero(padded.max(axis=(1, 2))), np.flatnonzero(padded.max(axis=(0, 2)))
    assert padded.shape == (64, 64, 3)
    assert (len(rows), len(columns)) == inside
    assert (rows[0], columns[0]) == ((64 - inside[0]) // 2, (64 - inside[1]) // 2)
    _, squashed = photographs.read(tmp_path / "white.png", replace(contract, resize=Resize.SQUASH))
    assert squashed.shape == (64, 64, 3)
    assert squashed.min() == 250


def test_a_program_is_no_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would give PostScript to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    for name in ("a.jpg", "a.eps"):
        path = tmp_path / name
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(x) (w) file\n")
        with pytest.raises(SourceError, match="the image cannot be read: "):
            photographs.read(path, small())


def test_a_gif_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(ramp(32, 32)).save(tmp_path / "a.jpg", format="GIF")
    assert photographs.read(tmp_path / "a.jpg", small())[1].shape == (28, 28, 3)
