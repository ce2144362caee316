"""What TFLite wants rewritten computes the same, and only where it may."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.formats.tflite.prepare import FEW_CHANNELS, prepare
from kexport.formats.tflite.writer import program
from kexport.graph import Graph
from kexport.operations import Activation, Conv, ScaleShift
from tests.formats.plans import Sketch, float_values
from tests.quantization.networks import activate, conv, feeds_of, kinds


def image(channels: int, scale: list[float] | None = None, offset: list[float] | None = None) -> Graph:
    net = Sketch((6, 5, channels))
    ones = np.ones(channels, np.float32)
    line = ScaleShift(
        scale=ones if scale is None else np.float32(scale), offset=0 * ones if offset is None else np.float32(offset)
    )
    net("scaled", line, "in0")
    net("read", conv(channels, 4, 3), "scaled")
    return net.graph()


@pytest.mark.parametrize(
    "graph",
    [
        image(3, [0.017, 0.018, 0.0175], [-2.1, -2.0, -1.8]),
        image(3, None, [-103.9, -116.8, -123.7]),
        image(2, [1.0, 2.0]),
        image(FEW_CHANNELS, list(range(1, FEW_CHANNELS + 1))),
    ],
    ids=["torch", "caffe", "two", "fifteen"],
)
def test_an_image_is_scaled_by_a_convolution(graph: Graph) -> None:
    after = prepare(graph)
    assert kinds(after) == ["Conv", "Conv"]
    first = after.producers["scaled"].operation
    assert isinstance(first, Conv)
    assert first.kernel.shape[:2] == (1, 1)
    feeds = feeds_of(graph)
    np.testing.assert_allclose(
        float_values(after, feeds)["read"], float_values(graph, feeds)["read"], rtol=1e-5, atol=1e-4
    )


def test_what_scales_pixels_keeps_its_digits_in_float16() -> None:
    code = program(image(3, [0.017, 0.018, 0.0175], [-2.1, -2.0, -1.8]), scheme="float16")
    kernels = {code.tensors[each.inputs[1]].name: each for each in code.instructions if each.builtin == "CONV_2D"}
    (scales, reads), halved = kernels, [each.output for each in code.instructions if each.builtin == "DEQUANTIZE"]
    assert (scales, reads) == ("scaled/kernel", "read/kernel")
    assert [kernels[name].inputs[1] in halved for name in (scales, reads)] == [False, True]


@pytest.mark.parametrize("graph", [image(3), image(3, [2.0] * 3, [-1.0] * 3), image(16, list(range(1, 17)))])
def test_one_number_for_all_and_long_rows_stay(graph: Graph) -> None:
    assert prepare(graph) is graph


def test_rows_of_features_stay() -> None:
    net = Sketch((3,))
    net("scaled", ScaleShift(scale=np.float32([1, 2, 3]), offset=np.zeros(3, np.float32)), "in0")
    assert kinds(prepare(net.graph())) == ["ScaleShift"]


def test_a_hard_sigmoid_takes_one_multiplication() -> None:
    net = Sketch((6, 5, 3))
    net("wide", conv(3, 4), "in0")
    net("gate", activate(Activation.HARD_SIGMOID), "wide")
    after = prepare(net.graph())
    assert kinds(after) == ["Conv", "ScaleShift"]
    feeds = feeds_of(after)
    np.testing.assert_allclose(float_values(after, feeds)["gate"], float_values(net.graph(), feeds)["gate"], atol=1e-6)
