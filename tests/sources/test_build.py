"""The source step: options reach Keras, mistakes are told word for word, seeds mean the same everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import UnknownNameError, UsageError
from kexport.sources import build as source
from kexport.specs import ModelSpec, WeightsSpec
from tests.places import LAB

SMALL: dict[str, Any] = {"alpha": 0.25, "input_shape": (32, 32, 3), "classes": 7}
DIGEST = """
import hashlib, sys
from kexport.sources import build as source
from kexport.specs import ModelSpec, WeightsSpec
spec = ModelSpec(application="MobileNet", weights=WeightsSpec.parse(sys.argv[1]), alpha=0.25,
                 input_shape=(32, 32, 3), classes=7)
print(hashlib.sha256(b"".join(bytes(value.numpy().data) for value in source.build(spec).weights)).hexdigest())
"""


def spec(weights: str = "random:0", *, application: str = "MobileNet", **options: Any) -> ModelSpec:
    return ModelSpec(application=application, weights=WeightsSpec.parse(weights), **options)


def lab() -> Path:
    if not LAB.is_dir():
        pytest.skip(f"no lab data at {LAB}: set KEXPORT_LAB")
    return LAB


def refused(request: ModelSpec) -> str:
    with pytest.raises(UsageError) as caught:
        source.build(request)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    source.build(spec("random:4", **SMALL)).save_weights(path)
    return path


def test_options_reach_the_constructor() -> None:
    model = source.build(spec(**SMALL))
    assert model.inputs[0].shape == (None, 32, 32, 3)
    assert model.outputs[0].shape == (None, 7)
    assert model.get_layer("conv1").kernel.shape == (3, 3, 3, 8)


@pytest.mark.parametrize(("pooling", "shape"), [(None, (None, 1, 1, 256)), ("avg", (None, 256)), ("max", (None, 256))])
def test_without_the_classifier(pooling: str | None, shape: tuple[int | None, ...]) -> None:
    options = {"alpha": 0.25, "input_shape": (32, 32, 3), "include_top": False, "pooling": pooling}
    assert source.build(spec(**options)).outputs[0].shape == shape


def test_the_minimalistic_variant() -> None:
    options = {"input_shape": (32, 32, 3), "classes": 7}
    plain, minimal = (
        source.build(spec(application="MobileNetV3Small", minimalistic=value, **options)) for value in (False, True)
    )
    assert minimal.count_params() < plain.count_params()


def test_the_default_size_is_static() -> None:
    """MobileNetV3 itself takes (None, None, 3); an artifact needs numbers."""
    assert source.build(spec(application="MobileNetV3Small")).inputs[0].shape == (None, 224, 224, 3)


def test_random_weights_say_something() -> None:
    from kexport.images.seeded import seeded_images

    images = seeded_images(4, (32, 32, 3), seed=9, low=-1.0, high=1.0)
    output = np.asarray(source.build(spec(**SMALL))(images))
    assert np.isfinite(output).all()
    assert output.std(axis=0).max() > 0.01


def test_a_file_gives_its_weights(saved: Path) -> None:
    ours, theirs = source.build(spec(str(saved), **SMALL)), source.build(spec("random:4", **SMALL))
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_an_application_that_does_not_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean ResNet50\?"):
        source.build(spec(application="Resnet50"))


def test_an_image_below_the_minimum() -> None:
    assert refused(spec(application="ResNet50", input_shape=(17, 17, 3))) == (
        "--input-shape 17,17,3: ResNet50 takes images of at least 32x32 pixels\nhint: --input-shape 224,224,3"
    )


def test_alpha_where_there_is_none() -> None:
    assert refused(spec(application="ResNet50", alpha=0.5)) == (
        "ResNet50 has no width multiplier: --alpha 0.5 does not apply\n"
        "hint: --alpha is for MobileNet, MobileNetV2 and MobileNetV3"
    )


def test_minimalistic_where_there_is_none() -> None:
    assert refused(spec(minimalistic=True)) == (
        "MobileNet has no minimalistic variant\nhint: --minimalistic is for MobileNetV3Small and -Large"
    )


def test_classes_of_imagenet_weights() -> None:
    assert refused(spec("imagenet", classes=10)) == (
        "--classes 10 with ImageNet weights: their classifier has 1000 classes\n"
        "hint: --weights random:0, --weights FILE, or --no-top"
    )


def test_what_keras_refuses_is_told_in_its_words() -> None:
    message = refused(spec("imagenet", alpha=0.3))
    assert message.startswith("Keras refuses MobileNet with input_shape=(224, 224, 3), include_top=True, classes=1000")
    assert "alpha" in message
    assert message.endswith("hint: kexport list models --json shows what MobileNet takes")


def test_missing_weights_are_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_construct", lambda *arguments: pytest.fail("built for nothing"))
    assert refused(spec("missing.h5")) == (
        "weights missing.h5 does not exist; expected a .weights.h5 or .h5 file\nhint: --weights FILE"
    )


def test_truncated_weights(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cut.weights.h5"
    path.write_bytes(saved.read_bytes()[:200_000])
    monkeypatch.setattr(source, "_construct", lambda *arguments: pytest.fail("built for nothing"))
    message = refused(spec(str(path), **SMALL))
    assert message.startswith(f"{path} is damaged: ")
    assert "truncated file" in message


def test_weights_of_another_model(saved: Path) -> None:
    assert refused(spec(str(saved), **{**SMALL, "alpha": 0.5})) == (
        f"weights {saved} are not of this MobileNet: layer 'conv1', kernel: the model has shape (3, 3, 3, 16), "
        "the file has (3, 3, 3, 8) (conv2d)\n"
        "hint: the options must be those of the saved model: --alpha, --classes, --no-top, --minimalistic"
    )


def test_nan_weights(saved: Path, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "nan.weights.h5"
    path.write_bytes(saved.read_bytes())
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, :2] = np.nan
    assert refused(spec(str(path), **SMALL)).startswith(
        f"weights {path}: layer 'conv1', kernel: 2 of 216 values are NaN or infinite\n"
    )


@pytest.mark.long
def test_a_seed_means_the_same_in_every_process() -> None:
    def here(weights: str) -> str:
        values = source.build(spec(weights, **SMALL)).weights
        return hashlib.sha256(b"".join(bytes(value.numpy().data) for value in values)).hexdigest()

    environment = {**os.environ, "PYTHONHASHSEED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", DIGEST, "random:4"]
    other = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    assert other.stdout.strip() == here("random:4")
    assert here("random:4") != here("random:5")


@pytest.mark.lab
def test_lab_weights_load() -> None:
    path = lab() / "mobilenetv3small_1.0_224.weights.h5"
    model = source.build(spec(str(path), application="MobileNetV3Small"))
    assert model.count_params() == 2_554_968
    assert float(np.abs(np.asarray(model.get_layer("conv").kernel)).max()) > 0.1
