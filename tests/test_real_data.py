"""Trained weights and photographs: every format decides as Keras does, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kexport
from kexport import runtimes
from kexport.records import Preprocessing, Record, Status
from kexport.runtimes import SessionOptions
from kexport.sources import catalog
from kexport.sources.build import build
from kexport.specs import Format, ModelSpec, WeightsSpec
from tests.places import LAB

MODELS = {
    "MobileNet": ("mobilenet_0.25_224.weights.h5", 0.25),
    "MobileNetV3Small": ("mobilenetv3small_1.0_224.weights.h5", None),
}
BATCH = 50

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs and weights in {LAB}: set KEXPORT_LAB"),
]


def ten(folder: Path) -> list[Path]:
    """Ten photographs of ten classes as cameras, scanners and archives have them; the last one is cut off."""
    from PIL import Image

    chosen = [path for path in sorted((LAB / "images").glob("*.jpg")) if int(path.name[:4]) % 100 == 52]
    assert len(chosen) == 10
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(chosen[0]) as turned:
        turned.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=98, exif=exif)
    for path, mode in ((chosen[1], "L"), (chosen[2], "CMYK")):
        with Image.open(path) as image:
            image.convert(mode).save(folder / f"{mode}.jpg", quality=98)
    (folder / "cut.jpg").write_bytes(chosen[9].read_bytes()[:4000])
    return [folder / "turned.jpg", folder / "L.jpg", folder / "CMYK.jpg", *chosen[3:9], folder / "cut.jpg"]


def keras_top(spec: ModelSpec, paths: list[Path]) -> np.ndarray:
    """(photographs, 5): what Keras sees, by a reading of its own: upright, RGB, shorter side 256, the centre of 224."""
    from PIL import Image, ImageOps

    images = []
    for path in paths:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            scale = 256 / min(upright.size)
            resized = upright.resize([round(side * scale) for side in upright.size], Image.Resampling.BILINEAR)
            left, top = ((side - 224) // 2 for side in resized.size)
            images.append(np.asarray(resized.crop((left, top, left + 224, top + 224))))
    contract = catalog.preprocessing(catalog.application(spec.application))
    found = build(spec).predict(prepare(np.stack(images), contract), verbose=0)
    return np.argsort(-found, axis=-1)[:, :5]


def classified(file: Path, paths: list[Path]) -> tuple[np.ndarray, str]:
    """(photographs, 5): the indices that `kexport.classify` says of those that can be read, and why another cannot."""
    *read, last = kexport.classify(file, paths).images
    return np.array([[guess.index for guess in image.answers[0].guesses] for image in read]), last.problem


@pytest.fixture(scope="module")
def photographs() -> tuple[np.ndarray, np.ndarray]:
    """(400, 224, 224, 3) uint8, the centre of each file, and the class of each; multiples of ten calibrate."""
    from PIL import Image

    paths = [path for path in sorted((LAB / "images").glob("*.jpg")) if int(path.name[:4]) % 10]
    images = []
    for path in paths:
        with Image.open(path) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            images.append(np.asarray(image.convert("RGB").crop((left, top, left + 224, top + 224))))
    return np.stack(images), np.array([int(path.name[:4]) for path in paths])


def prepare(images: np.ndarray, contract: Preprocessing) -> np.ndarray:
    """The contract as a deployer reads it: ``(p * scale - mean) / std`` in the stated channel order."""
    assert contract.size == (224, 224)
    ordered = images if contract.channel_order == "RGB" else images[..., ::-1]
    return ((ordered * contract.scale - np.array(contract.mean)) / np.array(contract.std)).astype(np.float32)


def decisions(record: Record, directory: Path, inputs: np.ndarray) -> np.ndarray:
    assert record.artifact is not None
    fixed = record.artifact.inputs[0].shape[0]
    session = runtimes.open_session(
        runtimes.for_format(Format(record.format)),
        directory / record.artifact.path,
        options=SessionOptions(batch=fixed or BATCH),  # TensorFlow already runs with its own choice of threads
    )
    blocks = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    return np.concatenate([session.run({"input": block})["output"].argmax(axis=-1) for block in blocks])


@pytest.mark.parametrize("name", MODELS)
def test_every_format_decides_as_keras(
    name: str, photographs: tuple[np.ndarray, np.ndarray], tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    images, classes = photographs
    assert len(images) == 400
    file, alpha = MODELS[name]
    spec = ModelSpec(application=name, alpha=alpha, weights=WeightsSpec(kind="file", path=str(LAB / file)))
    inputs = prepare(images, catalog.preprocessing(catalog.application(name)))
    expected = build(spec).predict(inputs, batch_size=BATCH, verbose=0).argmax(axis=-1)
    accuracy = float((expected == classes).mean())
    record_property("keras_top1", accuracy)
    assert accuracy > 0.5, "Keras itself recognises these photographs, so that agreement means something"

    records = kexport.export(
        name, formats=("onnx", "tflite", "savedmodel"), weights=LAB / file, alpha=alpha, directory=tmp_path
    )
    assert [(record.status, record.reason) for record in records] == [(Status.PASS, "")] * 3
    paths = ten(tmp_path)
    for record in records:
        assert record.source is not None
        assert record.source.preprocessing == catalog.preprocessing(catalog.application(name))
        found = decisions(record, tmp_path, inputs)
        np.testing.assert_array_equal(found, expected, err_msg=f"{name} {record.format}")
        if record.format in ("onnx", "tflite"):
            assert record.artifact is not None
            seen, problem = classified(tmp_path / record.artifact.path, paths)
            np.testing.assert_array_equal(seen, keras_top(spec, paths[:-1]), err_msg=f"{name} {record.format}")
            assert "cut.jpg: the image cannot be read" in problem
        print(f"{name} {record.format}: top-1 {(found == classes).mean():.4f}, Keras {accuracy:.4f}, 400 photographs")
