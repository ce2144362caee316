"""Native TFLite against TFLiteConverter: one network of each family, the same inputs, both on XNNPACK.

The converter is the referee: it shares nothing with the graph, the passes or the writer. Its time grows with
the number of operators, not with the image, so that the deepest networks are cut at a layer in their
middle, behind at least one of each of their kinds of block.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import runtimes
from kexport.evidence import tolerances
from kexport.formats.tflite import writer as tflite
from kexport.formats.tflite.engines import converter as tflite_converter
from kexport.images.seeded import seeded_images
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.runtimes import SessionOptions
from kexport.sources import build as source
from kexport.sources import catalog
from kexport.specs import Format, ModelSpec, Scheme, WeightsSpec

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Member:
    """The smallest application of a family, the side of its images in pixels, and where it is cut, if it is."""

    application: str
    side: int
    until: str | None = None


MEMBERS: dict[str, Member] = {
    "xception": Member(application="Xception", side=96, until="block5_sepconv1_act"),
    "vgg": Member(application="VGG16", side=32, until="block5_pool"),
    "resnet": Member(application="ResNet50", side=64, until="conv4_block2_out"),
    "resnet_v2": Member(application="ResNet50V2", side=64, until="conv4_block2_out"),
    "inception_v3": Member(application="InceptionV3", side=192, until="mixed9"),
    "inception_resnet_v2": Member(application="InceptionResNetV2", side=96, until="block17_2_ac"),
    "mobilenet": Member(application="MobileNet", side=96),
    "mobilenet_v2": Member(application="MobileNetV2", side=96),
    "mobilenet_v3": Member(application="MobileNetV3Small", side=96),
    "densenet": Member(application="DenseNet121", side=64, until="pool3_pool"),
    "nasnet": Member(application="NASNetMobile", side=96, until="normal_concat_0"),
    "efficientnet": Member(application="EfficientNetB0", side=64),
    "efficientnet_v2": Member(application="EfficientNetV2B0", side=64),
    "convnext": Member(application="ConvNeXtTiny", side=64, until="convnext_tiny_stage_2_block_1_layer_scale"),
}
GATE = {"vgg", "mobilenet_v3"}
"""Plain, residual with squeeze and excite: the long run has the other families too."""
PARAMS = [pytest.param(name, marks=() if name in GATE else pytest.mark.long) for name in MEMBERS]
IMAGES = 2
(BOUND,) = (b.limit for b in tolerances.load(Format.TFLITE, Scheme.FLOAT32) if b.name == "logits_error_to_signal")


def test_every_family_has_a_member_here() -> None:
    assert MEMBERS.keys() == {application.family for application in catalog.APPLICATIONS}


@dataclass(frozen=True, kw_only=True)
class Pair:
    native: dict[str, np.ndarray]
    converted: dict[str, np.ndarray]
    operators: tuple[tuple[str, bool], ...]


@pytest.fixture(scope="module", params=PARAMS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """What both files of a member compute."""
    import keras

    member = MEMBERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    model = built(member)
    low, high = catalog.input_range(catalog.application(member.application))
    images = seeded_images(IMAGES, (member.side, member.side, 3), seed=0, low=low, high=high)
    tflite.write(optimize(lower_model(model)), folder / "native.tflite")
    tflite_converter.convert(model, folder / "converted.tflite")
    native, operators = run(folder / "native.tflite", images)
    converted, _ = run(folder / "converted.tflite", images)
    yield Pair(native=native, converted=converted, operators=operators)
    del model
    keras.utils.clear_session(free_memory=True)
    gc.collect()


def built(member: Member) -> Any:
    """With seeded weights; a network that is cut ends in the average over the image, and so has one vector."""
    import keras

    shape = (member.side, member.side, 3)
    weights = WeightsSpec(kind="random", seed=0)
    whole = member.until is None
    model = source.build(
        ModelSpec(application=member.application, weights=weights, input_shape=shape, include_top=whole)
    )
    if member.until is None:
        return model
    pooled = keras.layers.GlobalAveragePooling2D(name="average")(model.get_layer(member.until).output)
    return keras.Model(model.inputs, pooled, name=member.application)


def run(path: Path, images: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[tuple[str, bool], ...]]:
    tflite.verify_structure(path)
    runtime = runtimes.for_format(Format.TFLITE)
    session = runtimes.open_session(runtime, path, options=SessionOptions(threads=2))
    assert "XNNPACK" in session.effective, "the delegate runs both"
    return session.run({"input": images}), session.operators  # type: ignore[attr-defined]


def logarithms(values: np.ndarray) -> np.ndarray:
    """What goes into a softmax, up to one number per row; other outputs as they are."""
    exact = values.astype(np.float64)
    if not np.allclose(exact.sum(axis=-1), 1.0, atol=1e-3) or exact.min() <= 0:
        return exact
    logs = np.log(exact)
    return logs - logs.mean(axis=-1, keepdims=True)


def test_native_equals_the_converter(pair: Pair) -> None:
    assert pair.native.keys() == pair.converted.keys()
    for name, expected in pair.converted.items():
        wanted, found = logarithms(expected), logarithms(pair.native[name])
        signal = wanted.std(axis=0).mean()
        assert signal > 1e-3 * np.abs(wanted).mean(), "images look alike: comparing proves nothing"
        assert np.abs(found - wanted).max() / signal <= BOUND


def test_every_native_operator_is_delegated(pair: Pair) -> None:
    assert [name for name, delegated in pair.operators if not delegated] == []
