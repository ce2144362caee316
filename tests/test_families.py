"""One network of each family: random weights with signal, the walk, the graph, the structure of the ONNX file."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.evidence import tolerances
from kexport.formats.onnx import writer
from kexport.images.seeded import check_count, seeded_images
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.sources import build as source
from kexport.sources import catalog, keras_walk
from kexport.specs import Format, ModelSpec, Scheme, WeightsSpec

pytestmark = pytest.mark.slow

# The smallest member of each family; the side in pixels is reduced where the network would take long.
MEMBERS: dict[str, tuple[str, int]] = {
    "xception": ("Xception", 128),
    "vgg": ("VGG16", 64),
    "resnet": ("ResNet50", 224),
    "resnet_v2": ("ResNet50V2", 128),
    "inception_v3": ("InceptionV3", 192),
    "inception_resnet_v2": ("InceptionResNetV2", 192),
    "mobilenet": ("MobileNet", 224),
    "mobilenet_v2": ("MobileNetV2", 224),
    "mobilenet_v3": ("MobileNetV3Small", 224),
    "densenet": ("DenseNet121", 128),
    "nasnet": ("NASNetMobile", 224),
    "efficientnet": ("EfficientNetB0", 224),
    "efficientnet_v2": ("EfficientNetV2B0", 224),
    "convnext": ("ConvNeXtTiny", 96),
}
DEEP = {"inception_resnet_v2", "densenet", "nasnet", "convnext", "efficientnet"}
"""The long run has them: they are the slowest to build; the zoo and the table of layers have their operations."""
PARAMS = [pytest.param(family, marks=pytest.mark.long if family in DEEP else ()) for family in MEMBERS]
SMALLEST_SPREAD = 0.5
"""Of the logits, over inputs and over classes: the float tolerance is thousands of times smaller."""
LARGEST_PROBABILITY = 0.95
(LOGIT_BOUND,) = (b.limit for b in tolerances.load(Format.ONNX, Scheme.FLOAT32) if b.name == "logits_error_to_signal")


def test_every_family_has_a_member_here():
    assert MEMBERS.keys() == {application.family for application in catalog.APPLICATIONS}


@dataclass(frozen=True, kw_only=True)
class Member:
    family: str
    model: Any
    images: np.ndarray
    expected: np.ndarray


@pytest.fixture(scope="module", params=PARAMS)
def member(request) -> Iterator[Member]:
    name, side = MEMBERS[request.param]
    application = catalog.application(name)
    shape = (side, side, 3)
    model = source.build(
        ModelSpec(application=name, weights=WeightsSpec(kind="random", seed=0), input_shape=shape, classes=1000)
    )
    low, high = catalog.input_range(application)
    images = seeded_images(check_count(shape), shape, seed=0, low=low, high=high)
    expected = np.asarray(model(images, training=False))
    yield Member(family=request.param, model=model, images=images, expected=expected)
    import keras

    del model
    keras.utils.clear_session(free_memory=True)
    gc.collect()


@pytest.fixture(scope="module")
def written(member: Member, tmp_path_factory) -> tuple[Path, Any]:
    import onnx

    path = tmp_path_factory.mktemp(member.family) / "model.onnx"
    writer.write(optimize(lower_model(member.model)), path)
    onnx.checker.check_model(str(path))
    return path, onnx.load(path, load_external_data=False).graph


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Up to one number per row, which the softmax forgets."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    return logits - logits.mean(axis=1, keepdims=True)


def test_random_weights_carry_signal(member):
    """On the images that parity uses: those of the same seed."""
    probabilities = member.expected.astype(np.float64)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-4)
    logits = logits_of(probabilities)
    assert logits.std(axis=0).mean() >= SMALLEST_SPREAD, "images look alike to the network"
    assert logits.std(axis=1).min() >= SMALLEST_SPREAD, "classes look alike"
    assert probabilities.max() <= LARGEST_PROBABILITY, "the softmax is saturated"
    assert probabilities.max(axis=1).min() >= 2 / probabilities.shape[1], "the softmax is constant"


def test_the_walk_equals_the_model(member):
    (found,) = keras_walk.run(member.model, [member.images], lambda layer, *args, **kwargs: layer(*args, **kwargs))
    np.testing.assert_array_equal(np.asarray(found), member.expected)


def test_the_onnx_file_computes_what_keras_computes(member, written):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(written[0]), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": member.images})
    wanted = logits_of(member.expected)
    error = np.abs(logits_of(found) - wanted).max() / wanted.std(axis=0).mean()
    assert error <= LOGIT_BOUND
    assert (found.argmax(axis=1) == member.expected.argmax(axis=1)).all()


def test_transposes(member, written):
    """One, for the NHWC input. ConvNeXt: two per block, two for the stem, two per downsampling (of three)."""
    nodes = written[1].node
    kinds = Counter(node.op_type for node in nodes)
    if member.family == "convnext":
        blocks = sum(type(layer).__name__ == "LayerScale" for layer in member.model.layers)
        assert blocks == 18
        assert kinds["Transpose"] <= 1 + 2 * blocks + 2 + 2 * 3
    else:
        assert kinds["Transpose"] == 1
        (only,) = (node for node in nodes if node.op_type == "Transpose")
        assert list(only.input) == ["input"]


def test_no_batch_normalization_right_after_a_convolution(written):
    nodes = written[1].node
    makers = {name: node.op_type for node in nodes for name in node.output}
    norms = [node for node in nodes if node.op_type == "BatchNormalization"]
    assert [node.name for node in norms if makers.get(node.input[0]) in ("Conv", "Gemm", "MatMul")] == []
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}


def test_every_convolution_is_a_keras_layer_s(member, written):
    layers = {layer.name for layer in member.model.layers}
    convolutions = [node.name for node in written[1].node if node.op_type == "Conv"]
    assert convolutions
    assert [name for name in convolutions if name.split(":")[0].split("/")[0] not in layers] == []
