"""What was decided before is found again by its content alone, and is what would be computed, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activation, Conv, Dense
from kexport.quantization import Run, known, sequence
from kexport.quantization.plan import QuantPlan
from kexport.quantization.quantize import quantize
from tests.quantization.networks import RELU, RELU6, batches_of, compile_, feeds_of, mobile


class Kept:
    """A memory that counts what it was asked for and had."""

    def __init__(self) -> None:
        self.entries: dict[str, known.Arrays] = {}
        self.had: list[str] = []

    def get(self, key: str) -> known.Arrays | None:
        if key in self.entries:
            self.had.append(key)
        return self.entries.get(key)

    def put(self, key: str, arrays: known.Arrays) -> None:
        self.entries[key] = {name: array.copy() for name, array in arrays.items()}


def other_weights(graph: Graph, name: str) -> Graph:
    """The network with another kernel in one node."""

    def changed(operation):
        assert isinstance(operation, (Conv, Dense))
        return replace(operation, kernel=operation.kernel[::-1].copy() * np.float32(0.9))

    nodes = [replace(node, operation=changed(node.operation)) if node.name == name else node for node in graph]
    return replace(graph, nodes=tuple(nodes))


def same(ours: QuantPlan, theirs: QuantPlan) -> bool:
    assert ours.values == theirs.values
    for name, kernel in theirs.kernels.items():
        for field in ("numbers", "scales", "bias"):
            np.testing.assert_array_equal(getattr(ours.kernels[name], field), getattr(kernel, field))
    for one, other in zip(ours.graph, theirs.graph, strict=True):
        np.testing.assert_array_equal(getattr(one.operation, "bias", None), getattr(other.operation, "bias", None))
    return True


@pytest.fixture
def fits(monkeypatch):
    """The names of nodes whose kernels were rounded anew."""
    names: list[int] = []
    for name in ("round_kernel", "nearest"):
        decide = getattr(sequence, name)
        monkeypatch.setattr(sequence, name, lambda *told, decide=decide: names.append(1) or decide(*told))
    return names


@pytest.mark.parametrize("smallest", [0, known.MOST_KEPT_BYTES])
def test_a_new_head_needs_a_new_head_alone(fits, monkeypatch, smallest):
    """Values that are too large to be kept are made again from the kernels that are known."""
    monkeypatch.setattr(known, "MOST_KEPT_BYTES", smallest)
    graph, memory = mobile(RELU), Kept()
    feeds = feeds_of(graph, count=24)
    first = quantize(graph, batches_of(feeds), compile_, memory=memory)
    assert same(first, quantize(graph, batches_of(feeds), compile_))
    fits.clear()
    assert same(quantize(graph, batches_of(feeds), compile_, memory=memory), first)
    assert fits == []
    tuned = other_weights(graph, "last")
    expected = quantize(tuned, batches_of(feeds), compile_)
    fits.clear()
    assert same(quantize(tuned, batches_of(feeds), compile_, memory=memory), expected)
    assert 1 <= len(fits) < len(expected.kernels)


@pytest.mark.parametrize("held", [0, known.MOST_HELD_BYTES])
@pytest.mark.parametrize("function", [RELU, RELU6, Activation.HARD_SWISH])
def test_what_stands_before_a_new_head_is_not_observed_again(function, held, monkeypatch):
    """Neither for its statistics nor for what the head should make of it; larger sets of images are not held."""
    monkeypatch.setattr(known, "MOST_HELD_BYTES", held)
    graph, memory, made = mobile(function), Kept(), []
    feeds = feeds_of(graph, count=24)
    batches = batches_of(feeds)

    def watching(part: Graph) -> Run:
        made.append(part)
        return compile_(part)

    quantize(graph, batches, watching, memory=memory)
    assert any(spec.name == "in0" for part in made for spec in part.inputs)
    made.clear()
    tuned = other_weights(graph, "logits")
    found = quantize(tuned, batches, watching, memory=memory)
    assert [part for part in made for spec in part.inputs if spec.name == "in0"] == []
    assert same(found, quantize(tuned, batches, compile_))


def test_a_run_that_is_needed_asks_for_what_is_known_too():
    """Another question could be answered with another rounding."""
    graph, memory = mobile(RELU), Kept()
    batches = batches_of(feeds_of(graph, count=24))
    asked: set[frozenset[str]] = set()

    def watching(part: Graph) -> Run:
        if len(part.nodes) > 2 and part.inputs[0].name == "in0":
            asked.add(frozenset(part.outputs))
        return compile_(part)

    quantize(graph, batches, watching, memory=memory)
    first = set(asked)
    for key in [key for key, arrays in memory.entries.items() if known.NUMBERS not in arrays]:
        del memory.entries[key]
    del memory.entries[next(iter(memory.entries))]
    asked.clear()
    quantize(graph, batches, watching, memory=memory)
    assert len(asked) == 2, "for the statistics and for the targets"
    assert asked == first


@pytest.mark.parametrize("name", ["depth"])
def test_what_comes_before_a_change_is_found_and_what_follows_is_not(name):
    graph, memory = mobile(RELU), Kept()
    feeds = feeds_of(graph, count=24)
    quantize(graph, batches_of(feeds), compile_, memory=memory)
    tuned = other_weights(graph, name)
    memory.had.clear()
    assert same(
        quantize(tuned, batches_of(feeds), compile_, memory=memory), quantize(tuned, batches_of(feeds), compile_)
    )


@pytest.mark.parametrize("more", [{"fit": False}, {"portable": False}, {"keep_float": ["depth"]}])
def test_another_question_has_another_answer(more):
    graph, memory = mobile(RELU), Kept()
    feeds = feeds_of(graph, count=24)
    quantize(graph, batches_of(feeds), compile_, memory=memory)
    found = quantize(graph, batches_of(feeds), compile_, memory=memory, **more)
    assert same(found, quantize(graph, batches_of(feeds), compile_, **more))


def test_other_images_find_nothing():
    graph, memory = mobile(RELU), Kept()
    quantize(graph, batches_of(feeds_of(graph, count=24)), compile_, memory=memory)
    memory.had.clear()
    quantize(graph, batches_of(feeds_of(graph, count=24, seed=6)), compile_, memory=memory)
    assert memory.had == []


def test_a_key_is_made_of_content_and_of_nothing_that_hides_it():
    one, other = np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float64)
    told = {
        known.digest(value) for value in (one, other, (1, 2), (1, (2,)), "12", 12, None, 12.0, {"a": 1}, {"a": "1"})
    }
    assert len(told) == 10
    assert known.digest(one) == known.digest(one.copy())
    with pytest.raises(TypeError, match="object cannot be part of a key"):
        known.digest(object())
