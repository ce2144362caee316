"""What the float network makes before activation, on the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Conv, Dense
from kexport.quantization.observe import positions
from kexport.quantization.observe.parts import parts
from kexport.quantization.observe.targets import Target, targets
from tests.formats.plans import Sketch, float_values
from tests.numpy_reference import compute
from tests.quantization.networks import AVERAGE, RELU, RELU6, batches_of, compile_, dense, feeds_of, mobile
from tests.quantization.test_known import Kept, other_weights


def with_rows() -> Graph:
    """Dense layers on images, on rows and on single numbers."""
    net = Sketch((9, 11, 3))
    net("image", dense(3, 6, activation=RELU), "in0")
    net("pooled", dense(6, 5, seed=2), net("pool", AVERAGE, "image"))
    return net.graph()


def of_rows() -> Graph:
    net = Sketch((50, 6))
    net("b", dense(8, 4, seed=2), net("a", dense(6, 8, activation=RELU), "in0"))
    return net.graph()


def wanted(graph: Graph, feeds: dict[str, np.ndarray], name: str) -> np.ndarray:
    node = graph.producers[name]
    plain = replace(node.operation, activation=None)
    made = compute(plain, float_values(graph, feeds)[node.inputs[0]])
    size = positions.image_size(node)
    return positions.grid(plain, size, len(made)).cut(made, size)


@pytest.mark.parametrize("rows", [2048, 60])
@pytest.mark.parametrize("graph", [mobile(RELU6), mobile(Activation.SILU, excite=True), with_rows(), of_rows()])
def test_targets_are_what_the_float_network_makes(graph, rows, monkeypatch):
    monkeypatch.setattr(positions, "LEAST_ROWS", rows)
    monkeypatch.setattr(positions, "ROWS_PER_TAP", 1)
    feeds = feeds_of(graph, count=12)
    names = [node.name for node in graph if isinstance(node.operation, (Conv, Dense))]
    found = targets(graph, batches_of(feeds), compile_, names=names, images=12)
    assert list(found) == names
    for name in names:
        expected, whole = wanted(graph, feeds, name), found[name].whole
        assert whole.dtype == np.float32
        assert whole.shape == expected.shape
        np.testing.assert_allclose(whole, expected, atol=6e-4 * np.abs(expected).max(), err_msg=name)
    smaller = [
        name
        for name in names
        if found[name].whole[0, ..., 0].size < np.prod(positions.image_size(graph.producers[name]))
    ]
    assert bool(smaller) == (rows == 60)


def test_only_what_is_asked_for():
    graph = mobile(RELU)
    batches = batches_of(feeds_of(graph))
    assert list(targets(graph, batches, compile_, names=["project"], images=12)) == ["project"]
    assert targets(graph, batches, lambda graph: pytest.fail("nothing to run"), names=[], images=12) == {}


def test_a_fixed_batch():
    graph = mobile(RELU)
    feeds = feeds_of(graph, count=4)
    (found,) = targets(graph.with_batch(1), batches_of(feeds, size=1), compile_, names=["depth"], images=4).values()
    np.testing.assert_allclose(found.whole, wanted(graph, feeds, "depth"), atol=2e-3)


def test_small_channels_beside_large_ones():
    """Eight digits between channels: each keeps its own three."""
    rng = np.random.default_rng(1)
    sizes = np.array([1e-30, 1e-8, 1.0, 1e8, 1e30], np.float32)
    batches = [(rng.normal(size=(3, 4, 4, 5)) * sizes * factor).astype(np.float32) for factor in (1.0, 100.0)]
    target = Target()
    for batch in batches:
        target.add(batch)
    whole = np.concatenate(batches)
    largest = np.abs(whole).max(axis=(0, 1, 2))
    assert (np.abs(target.whole - whole) <= 2.0**-11 * largest).all()


def test_channels_of_zeros_stay_zeros():
    target = Target()
    target.add(np.zeros((2, 1, 1, 3), np.float32))
    np.testing.assert_array_equal(target.whole, np.zeros((2, 1, 1, 3)))


@pytest.mark.parametrize("changed", ["stem", "depth", "expand"])
def test_a_head_behind_another_front_has_targets_of_its_own(changed):
    """What crosses goes by content: the names are the same, and all of the front counts as known."""
    graph, memory = mobile(RELU), Kept()
    batches, linear = (
        batches_of(feeds_of(graph)),
        [node.name for node in graph if isinstance(node.operation, (Conv, Dense))],
    )
    images = sum(len(feeds["in0"]) for feeds in batches())
    two = parts(graph)
    assert two is not None
    front = [name for name in linear if name in two.front.producers]
    targets(graph, batches, compile_, names=linear, images=images, memory=memory)
    tuned = other_weights(graph, changed)
    found = targets(tuned, batches, compile_, names=linear, images=images, known=front, memory=memory)
    expected = targets(tuned, batches, compile_, names=linear, images=images, known=front)
    assert found
    for name, target in expected.items():
        np.testing.assert_array_equal(found[name].whole, target.whole)
