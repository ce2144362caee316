"""Where a network's head begins, and that both parts together are observed as the whole is."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Add, Conv, Dense, Reshape
from kexport.quantization.observe import sections, statistics
from kexport.quantization.observe.parts import parts
from kexport.quantization.observe.sections import joined, packed, unjoined, unpacked
from tests.formats.plans import Sketch
from tests.quantization.networks import (
    AVERAGE,
    AVERAGE_IMAGE,
    RELU,
    activate,
    batches_of,
    compile_,
    conv,
    dense,
    feeds_of,
    mobile,
)
from tests.quantization.test_known import Kept, other_weights


def flattened() -> Graph:
    net = Sketch((4, 4, 3))
    net("image", conv(3, 2, activation=RELU), "in0")
    net("flat", Reshape(shape=(32,)), "image")
    net("last", dense(32, 4, seed=2), net("first", dense(32, 32, activation=RELU), "flat"))
    return net.graph()


def of_single_pixels() -> Graph:
    net = Sketch((4, 4, 3))
    net("pool", AVERAGE_IMAGE, net("image", conv(3, 8, activation=RELU), "in0"))
    net("last", activate(Activation.SOFTMAX), net("top", conv(8, 4, seed=2), "pool"))
    return net.graph()


def around_the_pool() -> Graph:
    """Two ways from the image to the head."""
    net = Sketch((4, 4, 3))
    net("image", conv(3, 8, activation=RELU), "in0")
    net("one", dense(8, 8), net("pool", AVERAGE, "image"))
    net("two", dense(8, 8, seed=3), net("other", AVERAGE, "image"))
    net("sum", Add(), "one", "two")
    return net.graph()


def image_to_image() -> Graph:
    net = Sketch((4, 4, 3))
    net("b", conv(8, 3, seed=2), net("a", conv(3, 8), "in0"))
    return net.graph()


def of_numbers() -> Graph:
    net = Sketch((6,))
    net("b", dense(8, 4, seed=2), net("a", dense(6, 8, activation=RELU), "in0"))
    return net.graph()


HEADS = [(mobile(RELU, excite=True), "pool"), (flattened(), "flat"), (of_single_pixels(), "pool")]


@pytest.mark.parametrize(("graph", "crossing"), HEADS)
def test_the_head_begins_behind_the_last_image(graph, crossing):
    found = parts(graph)
    assert found is not None
    assert found.crossing == crossing
    assert (*found.front.nodes, *found.back.nodes) == graph.nodes
    assert found.back.outputs == graph.outputs
    assert list(found.front.outputs) == [spec.name for spec in found.back.inputs] == [crossing]


@pytest.mark.parametrize("graph", [around_the_pool(), image_to_image(), of_numbers()])
def test_what_has_no_head_stays_whole(graph):
    assert parts(graph) is None


@pytest.mark.parametrize("graph", [each for each, _ in HEADS] + [image_to_image()])
def test_parts_are_observed_as_the_whole_and_found_again(graph):
    batches, memory = batches_of(feeds_of(graph)), Kept()
    values = list(graph.shapes)
    whole = statistics.observe(graph, batches, compile_, values=values)
    plain = sections.observe(graph, batches, compile_, values=values)
    first = sections.observe(graph, batches, compile_, values=values, memory=memory)
    again = sections.observe(graph, batches, compile_, values=values, memory=memory)
    assert len(memory.had) == 1
    assert list(plain) == list(first) == list(again) == list(whole)
    for name, seen in plain.items():
        for field in fields(seen):
            ours = getattr(seen, field.name)
            for other in (first, again):
                np.testing.assert_array_equal(getattr(other[name], field.name), ours, strict=True)
            if ours is not None:
                np.testing.assert_allclose(ours, getattr(whole[name], field.name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graph", [each for each, _ in HEADS] + [image_to_image()])
def test_other_weights_anywhere_are_observed_anew(graph):
    """What is remembered goes by content: a node keeps its name when its kernel changes."""
    batches, memory, values = batches_of(feeds_of(graph)), Kept(), list(graph.shapes)
    sections.observe(graph, batches, compile_, values=values, memory=memory)
    for node in [node for node in graph if isinstance(node.operation, (Conv, Dense))]:
        tuned = other_weights(graph, node.name)
        found = sections.observe(tuned, batches, compile_, values=values, memory=memory)
        for name, seen in sections.observe(tuned, batches, compile_, values=values).items():
            np.testing.assert_array_equal(found[name].low, seen.low, err_msg=f"{name} after {node.name}")
            np.testing.assert_array_equal(found[name].samples, seen.samples)


@pytest.mark.parametrize(("name", "value"), [("FOLDS", 3), ("SAMPLED", 64)])
def test_what_was_observed_in_another_way_is_observed_anew(name, value, monkeypatch):
    graph, memory = mobile(RELU), Kept()
    batches, values = batches_of(feeds_of(graph)), list(graph.shapes)
    sections.observe(graph, batches, compile_, values=values, memory=memory)
    monkeypatch.setattr(statistics, name, value)
    found = sections.observe(graph, batches, compile_, values=values, memory=memory)
    assert not memory.had
    for each, seen in sections.observe(graph, batches, compile_, values=values).items():
        np.testing.assert_array_equal(found[each].lows, seen.lows, err_msg=each, strict=True)
        np.testing.assert_array_equal(found[each].samples, seen.samples, err_msg=each, strict=True)


def test_what_is_kept_is_what_was_observed():
    graph = mobile(RELU)
    seen = statistics.observe(graph, batches_of(feeds_of(graph)), compile_, values=list(graph.shapes))
    found = unpacked(packed(seen), list(seen))
    for name, one in seen.items():
        for field in fields(one):
            np.testing.assert_array_equal(getattr(found[name], field.name), getattr(one, field.name), strict=True)
    rows = [np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((1, 2), np.float32)]
    for one, other in zip(unjoined(joined(rows)), rows, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
