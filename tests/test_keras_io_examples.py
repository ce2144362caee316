"""The examples of https://keras.io/api/applications/, as users export them: parity holds.

Sizes are smaller, and weights random or trained here: nothing is downloaded. Three formats, but for the deep ones:
Keras takes a minute to trace the SavedModel of one, and does it as for the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.images.seeded import seeded_images
from kexport.sources import build as source
from kexport.specs import Format, ModelSpec, WeightsSpec
from tests.own_models import exported, passed, saved
from tests.places import LAB

RANDOM = WeightsSpec(kind="random", seed=0)
SIDE = 128
DEEP = (Format.ONNX, Format.TFLITE)


def application(name: str, side: int = 64, **options: Any) -> ModelSpec:
    return ModelSpec(application=name, weights=RANDOM, input_shape=(side, side, 3), **options)


@pytest.mark.long
def test_classify_with_resnet50(tmp_path: Path) -> None:
    records = exported(application("ResNet50"), tmp_path, DEEP)
    passed(records)
    assert records[0].source is not None
    assert records[0].source.ends_in_softmax


def test_features_of_vgg16(tmp_path: Path) -> None:
    records = exported(application("VGG16", include_top=False), tmp_path)
    passed(records)
    assert records[0].artifact is not None
    assert records[0].artifact.outputs[0].shape == (None, 2, 2, 512)


@pytest.mark.long
def test_features_of_a_layer_of_vgg19(tmp_path: Path) -> None:
    records = exported(application("VGG19", include_top=False, layers=("block4_pool",)), tmp_path)
    passed(records)
    facts = records[0].source
    assert facts is not None
    assert (facts.outputs[0].name, facts.outputs[0].shape) == ("output", (None, 4, 4, 512))
    assert (facts.ends_in_softmax, facts.options["layers"]) == (False, ["block4_pool"])


def photographs(count: int) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    images = []
    for path in sorted((LAB / "images").glob("*.jpg"))[:count]:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32))
    return np.stack(images) / 127.5 - 1.0, np.arange(count) % 200


def synthetic(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    return seeded_images(count, (side, side, 3), seed=5, low=-1.0, high=1.0), np.arange(count) % 200


def tuned(backbone: Any, images: np.ndarray, classes: np.ndarray) -> Any:
    """The example's new head, trained for some steps, then the last layers of the backbone as well."""
    import keras

    value = keras.layers.GlobalAveragePooling2D()(backbone.output)
    value = keras.layers.Dense(64, activation="relu")(value)
    model = keras.Model(inputs=backbone.input, outputs=keras.layers.Dense(200, activation="softmax")(value))
    for layer in backbone.layers:
        layer.trainable = False
    fit(model, images, classes)
    for layer in backbone.layers[-20:]:
        layer.trainable = True
    before = [weight.numpy() for weight in model.weights]
    fit(model, images, classes)
    moved = {w.name for w, old in zip(model.weights, before, strict=True) if np.abs(w.numpy() - old).max() > 1e-6}
    assert {"kernel", "bias", "moving_mean", "moving_variance"} <= moved, "it was really trained"
    return model


def fit(model: Any, images: np.ndarray, classes: np.ndarray) -> None:
    import keras

    optimizer = keras.optimizers.SGD(1e-2, momentum=0.9)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", jit_compile=False, run_eagerly=True)
    model.fit(images, classes, batch_size=8, epochs=1, verbose=0)


@pytest.mark.lab
@pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs in {LAB}: set KEXPORT_LAB")
def test_inception_fine_tuned_on_photographs(tmp_path: Path) -> None:
    backbone = source.build(application("InceptionV3", SIDE, include_top=False))
    records = exported(saved(tuned(backbone, *photographs(16)), tmp_path), tmp_path, DEEP)
    passed(records)
    facts = records[0].source
    assert facts is not None
    assert facts.preprocessing is not None
    assert facts.preprocessing.mode == "tf"
    assert facts.preprocessing.basis.startswith("its layers are those of inception_v3: ")
    assert (facts.kind, len(facts.source_sha256), facts.labels) == ("file", 64, ())


@pytest.mark.long
def test_a_small_backbone_fine_tuned(tmp_path: Path) -> None:
    backbone = source.build(application("MobileNetV2", 64, include_top=False, alpha=0.35))
    passed(exported(saved(tuned(backbone, *synthetic(16, 64)), tmp_path), tmp_path, DEEP))


@pytest.mark.long
def test_inception_over_a_custom_input_tensor(tmp_path: Path) -> None:
    import keras

    given = keras.Input(shape=(SIDE, SIDE, 3), name="camera")
    model = keras.applications.InceptionV3(input_tensor=given, weights=None, include_top=False, pooling="avg")
    model.set_weights(source.build(application("InceptionV3", SIDE, include_top=False, pooling="avg")).get_weights())
    records = exported(saved(model, tmp_path), tmp_path, DEEP)
    passed(records)
    assert records[0].artifact is not None
    assert records[0].artifact.inputs[0].name == "input"
