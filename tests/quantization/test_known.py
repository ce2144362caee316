"""What was decided before is found again by its content alone, and is what would be computed, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Conv, Dense
from kexport.quantization import known, sequence
from kexport.quantization.plan import QuantPlan
from kexport.quantization.quantize import quantize
from tests.quantization.networks import RELU, batches_of, compile_, feeds_of, mobile


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
        known._digest(value) for value in (one, other, (1, 2), (1, (2,)), "12", 12, None, 12.0, {"a": 1}, {"a": "1"})
    }
    assert len(told) == 10
    assert known._digest(one) == known._digest(one.copy())
    with pytest.raises(TypeError, match="object cannot be part of a key"):
        known._digest(object())
