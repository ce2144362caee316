"""Statistics of float values: those of numpy over all images at once, whatever the batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kexport.errors import SourceError
from kexport.operations import Add, Multiply, Reshape
from kexport.quantization.observe import statistics as observe
from tests.formats.plans import Sketch, float_values
from tests.numpy_reference import compute
from tests.quantization.networks import RELU, batches_of, compile_, conv, dense, feeds_of, images, mobile


def channels(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


@pytest.mark.parametrize("size", [1, 5, 12])
def test_statistics_are_numpys_in_any_batches(size):
    graph = mobile(RELU, excite=True)
    feeds = feeds_of(graph)
    found = observe.observe(graph, batches_of(feeds, size=size), compile_, values=["in0", "sum", "logits", "gated"])
    values = float_values(graph, feeds)
    assert {"in0", "sum", "logits", "gated", "stem"} <= set(found)
    for name, seen in found.items():
        rows = channels(values[name])
        np.testing.assert_allclose(seen.low, rows.min(axis=0), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(seen.high, rows.max(axis=0), atol=1e-5, err_msg=name)
        for fold, (low, high) in enumerate(zip(seen.lows, seen.highs, strict=True)):
            some = channels(values[name][fold :: observe.FOLDS])
            np.testing.assert_allclose(low, some.min(axis=0), atol=1e-5, err_msg=name)
            np.testing.assert_allclose(high, some.max(axis=0), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(seen.mean, rows.mean(axis=0), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(seen.power, np.square(rows).mean(axis=0), rtol=1e-4, atol=1e-6, err_msg=name)
        assert seen.extremes == (float(seen.low.min()), float(seen.high.max()))
        assert seen.samples.shape[1] == rows.shape[1]


def test_the_mean_before_a_fused_activation():
    graph = mobile(RELU)
    feeds = feeds_of(graph)
    found = observe.observe(graph, batches_of(feeds), compile_, values=[])
    unfused = float_values(observe.apart(graph), feeds)
    for name in ("stem", "depth"):
        np.testing.assert_allclose(found[name].linear, channels(unfused[f"{name}:linear"]).mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(found["project"].linear, found["project"].mean)


def test_rows_and_sequences_weigh_every_image_alike():
    net = Sketch((4, 6))
    net("a", dense(6, 5, activation=RELU), "in0")
    net("flat", Reshape(shape=(20,)), "a")
    net("b", dense(20, 3), "flat")
    feeds = {"in0": images(4, 6, count=7)}
    found = observe.observe(net.graph(), batches_of(feeds, size=5), compile_, values=["in0", "flat"])
    values = float_values(net.graph(), feeds)
    for name in ("a", "b", "flat", "in0"):
        np.testing.assert_allclose(found[name].mean, channels(values[name]).mean(axis=0), atol=1e-5)


def test_samples_are_numbers_of_the_value_and_bounded():
    net = Sketch((96, 96, 4))
    net("a", conv(4, 8), "in0")
    feeds = feeds_of(net.graph(), count=3)
    (seen,) = observe.observe(net.graph(), batches_of(feeds), compile_, values=[]).values()
    assert 0.5 * observe.SAMPLED <= seen.samples.size / 3 <= 2 * observe.SAMPLED
    whole = compute(net.nodes[0].operation, feeds["in0"]).reshape(-1, 8)
    assert all(np.abs(whole - row).max(axis=1).min() < 1e-4 for row in seen.samples[::50])


def test_scaling_is_observing_what_was_scaled():
    graph = mobile(None)
    feeds = feeds_of(graph)
    factors = np.linspace(0.5, 4, 3)
    (seen,) = (observe.observe(graph, batches_of(feeds), compile_, values=["in0"])["in0"],)
    moved = observe.observe(
        graph, batches_of({"in0": (feeds["in0"] * factors).astype(np.float32)}), compile_, values=["in0"]
    )
    for name in ("lows", "highs", "mean", "power", "samples", "linear"):
        np.testing.assert_allclose(
            getattr(seen.scaled(factors), name), getattr(moved["in0"], name), rtol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("count", [1, 3, 12])
def test_folds_are_never_more_than_images(count):
    graph = mobile(RELU)
    found = observe.observe(graph, batches_of(feeds_of(graph, count=count)), compile_, values=["in0"])
    assert {(seen.images, len(seen.lows), len(seen.highs)) for seen in found.values()} == {
        (count, min(count, observe.FOLDS), min(count, observe.FOLDS))
    }


@pytest.mark.parametrize("count", [2, 5, 12])
def test_what_is_held_out_stretches_the_numbers_of_its_own_images(count):
    graph = mobile(RELU)
    values = float_values(graph, feeds_of(graph, count=count))
    seen = observe.observe(graph, batches_of(feeds_of(graph, count=count)), compile_, values=["sum"])["sum"]
    assert seen.held_out() is seen
    folds, width = len(seen.lows), len(seen.low)
    stretch = 1.0 + np.arange(folds * width).reshape(folds, width)
    found = dataclasses.replace(seen, stretch=stretch).held_out()
    whole = values["sum"] * stretch[np.arange(count) % folds][:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(found.low, channels(whole).min(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.high, channels(whole).max(axis=0), rtol=1e-4)
    rows = found.samples.reshape(count, -1, width)
    for image, some in zip(whole, rows, strict=True):
        assert all(np.abs(image.reshape(-1, width) - row).max(axis=1).min() < 1e-2 for row in some[::7])
    np.testing.assert_allclose(found.mean, seen.mean)
    assert found.stretch is None
    heard = dataclasses.replace(seen, stretch=stretch).heard().reshape(count, -1, width)
    np.testing.assert_allclose(heard, np.broadcast_to(whole_weights(stretch, count), heard.shape))
    assert (seen.heard() == 1).all()


def whole_weights(stretch: np.ndarray, count: int) -> np.ndarray:
    return stretch[np.arange(count) % len(stretch)][:, np.newaxis] ** -2.0


def test_several_inputs_one_of_them_unread():
    net = Sketch((6, 6, 3), (6, 6, 3), (5,))
    net("sum", Add(), net("a", conv(3, 3), "in0"), net("b", conv(3, 3, seed=2), "in1"))
    feeds = feeds_of(net.graph())
    found = observe.observe(net.graph(), batches_of(feeds), compile_, values=["in0", "in2", "sum"])
    np.testing.assert_allclose(found["in2"].mean, feeds["in2"].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(number):
    net = Sketch((6, 6, 3))
    bad = conv(3, 4, activation=RELU)
    bad.kernel[0, 0, 0, 1] = number
    net("a", bad, "in0")
    net("b", conv(4, 2), "a")
    with pytest.raises(SourceError, match="value 'a' is not finite on the calibration images") as caught:
        observe.observe(net.graph(), batches_of(feeds_of(net.graph())), compile_, values=["a", "b"])
    assert caught.value.hint == "check the weights, and that the images are in the range that the network takes"


def test_what_overflows_only_inside_is_named():
    net = Sketch((6, 6, 3))
    net("a", conv(3, 4), "in0")
    net("huge", Multiply(), "a", "a")
    feeds = {"in0": 1e25 * images(6, 6, 3)}
    with pytest.raises(SourceError, match="not finite"):
        observe.observe(net.graph(), batches_of({"in0": feeds["in0"].astype(np.float32)}), compile_, values=["huge"])
