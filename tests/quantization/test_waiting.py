"""Large values wait on disk, and nothing but the memory is another."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.quantization import waiting
from kexport.quantization.quantize import quantize
from tests.quantization.networks import RELU, batches_of, compile_, feeds_of, mobile


def test_rows_come_back_as_they_were_written(tmp_path):
    value = waiting.OnDisk((5, 2, 3), np.dtype(np.int8), tmp_path)
    numbers = np.arange(30, dtype=np.int8).reshape(5, 2, 3)
    value[3:5], value[0:3] = numbers[3:], numbers[:3]
    assert len(value) == 5
    for rows in (slice(0, 5), slice(None), slice(1, 4), slice(4, 9), slice(2, 2)):
        np.testing.assert_array_equal(value[rows], numbers[rows])
    assert list(tmp_path.iterdir()) == []  # it has no name: whatever ends the process, nothing is left


def test_rows_that_nobody_wrote_are_no_numbers(tmp_path):
    value = waiting.OnDisk((2, 4), np.dtype(np.float32), tmp_path)
    value[0:1] = np.ones((1, 4))
    with pytest.raises(AssertionError, match="rows 1 to 2 have not been written"):
        value[1:2]
    with pytest.raises(AssertionError, match=r"\(1, 3\) for rows 0 to 1"):
        value[0:1] = np.ones((1, 3))


def test_only_large_values_and_only_where_there_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "MOST_BYTES", 12)
    assert isinstance(waiting.room((3, 4), np.int8, tmp_path), np.ndarray)
    assert isinstance(waiting.room((13,), np.int8, tmp_path), waiting.OnDisk)
    assert isinstance(waiting.room((4,), np.float32, tmp_path), waiting.OnDisk)
    assert isinstance(waiting.room((4,), np.float32, None), np.ndarray)


def test_a_plan_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    graph = mobile(RELU)
    feeds = feeds_of(graph, count=24)
    expected = quantize(graph, batches_of(feeds), compile_)
    made, room = [], waiting.OnDisk.__init__
    monkeypatch.setattr(waiting, "MOST_BYTES", 0)
    monkeypatch.setattr(waiting.OnDisk, "__init__", lambda self, *told: made.append(told) or room(self, *told))
    found = quantize(graph, batches_of(feeds), compile_, folder=tmp_path)
    assert len(made) > 4
    assert found.values == expected.values
    for name, kernel in expected.kernels.items():
        np.testing.assert_array_equal(found.kernels[name].numbers, kernel.numbers)
        np.testing.assert_array_equal(found.kernels[name].scales, kernel.scales)
    for ours, theirs in zip(found.graph, expected.graph, strict=True):
        bias = getattr(theirs.operation, "bias", None)
        np.testing.assert_array_equal(getattr(ours.operation, "bias", None), bias)
