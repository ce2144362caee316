"""``--max-drop`` through the whole run: a network whose decisions hang by a hair, and one where they do not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

import kexport
from kexport import image_sets, reference
from kexport.errors import UsageError
from kexport.images import seeded_images
from kexport.records import Record, Status
from kexport.specs import ModelSpec, WeightsSpec

LAB = Path(os.environ.get("KEXPORT_LAB") or Path(__file__).parents[2] / "shared" / "imagenet")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four convolutions and a classifier with many classes for its few features, so that rounding decides."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((24, 24, 3)),
            layers.Rescaling(1 / 255),
            *(layers.Conv2D(8, 3, activation="relu", name=f"conv{index}") for index in range(4)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(64, activation="softmax", name="classes"),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "hair.keras"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def photographs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, each labelled with the decision of Keras on it; the classes are brought as close as can be."""
    import keras
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    for index, image in enumerate(seeded_images(240, (24, 24, 3), seed=5).round().astype(np.uint8)):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    network = keras.models.load_model(model)
    spec = ModelSpec(file=str(model), weights=WeightsSpec(kind="model"))
    contract = reference.facts(network, spec, notes=()).preprocessing
    assert contract is not None
    paths = sorted(folder.iterdir())
    (images,) = image_sets.image_blocks(paths, contract, len(paths))
    logits = np.log(network.predict(images, verbose=0))
    kernel, bias = network.get_layer("classes").get_weights()
    network.get_layer("classes").set_weights([30 * kernel, 30 * (bias - logits.mean(axis=0))])
    network.save(model)
    decisions = network.predict(images, verbose=0).argmax(axis=1)
    for path, decision in zip(paths, decisions, strict=True):
        path.rename(folder / f"{decision}_{path.name}")
    return folder


def export(model: Path, photographs: Path, directory: Path, bound: float) -> tuple[Record, ...]:
    return kexport.export(
        str(model), formats=("onnx", "tflite"), scheme="int8", calibration=photographs, evaluation=photographs,
        max_drop=bound, directory=directory,
    )  # fmt: skip


def test_a_bound_that_int8_alone_meets(model: Path, photographs: Path, tmp_path: Path) -> None:
    for record in export(model, photographs, tmp_path, 100.0):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.accuracy is not None
        assert record.accuracy.keras_top1 == 1.0
        assert record.quantization is not None
        found = record.quantization.search
        assert found is not None
        assert (found.bound_points, found.met, found.float_layers, found.layers) == (100.0, True, (), 0)
        assert [trial.float_layers for trial in found.trials] == [0]
        assert found.trials[0].low_points <= found.trials[0].drop_points <= found.trials[0].high_points
        assert "is inside --max-drop 100 with every layer in int8" in record.quantization.notes[-1]
        assert "--max-drop 100" in record.reproduce


def test_a_bound_that_no_plan_meets(model: Path, photographs: Path, tmp_path: Path) -> None:
    onnx, tflite = export(model, photographs, tmp_path, 0.0)
    assert onnx.quantization is not None
    found = onnx.quantization.search
    assert found is not None
    assert [trial.float_layers for trial in found.trials] == [0, 1, 2], "at most half of five layers"
    assert all(trial.drop_points > 0 for trial in found.trials), found.trials
    assert not found.met
    assert set(found.float_layers) <= {"conv0", "conv1", "conv2", "conv3", "classes"}
    assert (onnx.status, tflite.status) == (Status.FAIL, Status.FAIL)
    said = (
        r"--max-drop 0 was not met: the least top-1 drop is \d+\.\d\d points "
        r"\(95 % interval -?\d+\.\d\d to \d+\.\d\d\); "
        r"drop in points with float32 layers: \d+\.\d\d with 0, \d+\.\d\d with 1, \d+\.\d\d with 2, of 5"
    )
    assert re.search(said, onnx.reason)
    assert re.search(said, tflite.reason)
    assert not list(tmp_path.rglob("*.onnx")), "an artifact that fails is not published"


def test_a_drop_needs_labels(model: Path, photographs: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in photographs.glob("*.png"):
        (bare / f"photo{path.name.partition('_')[2]}").write_bytes(path.read_bytes())
    with pytest.raises(UsageError) as caught:
        export(model, bare, tmp_path / "out", 1.0)
    assert caught.value.message == f"--max-drop 1: --eval {bare} has no labels, so that no drop can be measured"
    assert caught.value.hint == (
        "one folder per class, files <class index>_*.jpg, or --eval FILE.csv with path,class index"
    )


@pytest.mark.lab
@pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs and weights in {LAB}: set KEXPORT_LAB")
def test_mobilenet_v3_ends_inside_the_bound_or_says_what_was_tried(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Few calibration images, to be quick; the drop is that of all 400 evaluation images."""
    for name, kept in (("eval", range(1, 10)), ("calibration", (0,))):
        (tmp_path / name).mkdir()
        for path in sorted((LAB / "images").glob("*.jpg")):
            if int(path.name[:4]) % 10 in kept:
                (tmp_path / name / path.name).symlink_to(path)
    for path in sorted((tmp_path / "calibration").iterdir())[::2]:
        path.unlink()
    (record,) = kexport.export(
        "MobileNetV3Small", formats="onnx", scheme="int8", max_drop=0.5, directory=tmp_path / "out",
        weights=LAB / "mobilenetv3small_1.0_224.weights.h5",
        calibration=tmp_path / "calibration", evaluation=tmp_path / "eval",
    )  # fmt: skip
    assert record.accuracy is not None
    assert record.quantization is not None
    found = record.quantization.search
    assert found is not None
    for trial in found.trials:
        record_property(f"drop_points_with_{trial.float_layers}_float_layers", trial.drop_points)
    assert (record.accuracy.images, record.accuracy.top1_drop_points) == (400, found.taken.drop_points)
    if found.met:
        assert (record.status, record.reason) == (Status.PASS, "")
        assert found.taken.drop_points <= 0.5
        assert all(not trial.met for trial in found.trials if trial.float_layers < len(found.float_layers))
    else:
        assert record.status is Status.FAIL
        assert "--max-drop 0.5 was not met" in record.reason
        assert max(trial.float_layers for trial in found.trials) == found.layers // 2
