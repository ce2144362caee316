"""The grid of positions, and what kernels see at them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Conv, Dense
from kexport.quantization.observe import positions
from kexport.quantization.observe.moments import matrices
from kexport.quantization.plan import Affine
from tests.formats.plans import Sketch
from tests.quantization.kernels_and_inputs import OPERATIONS, correlated, inputs, linear, on_grid, size_of
from tests.quantization.networks import compile_, conv, dense, images


def seen(operation: Conv | Dense, read: positions.Inputs, size: tuple[int, int]) -> np.ndarray:
    """All images' windows: ``(groups, images, positions, taps)``."""
    parts = list(positions.windows(operation, read, size))
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    return np.concatenate([rows for _, rows in parts], axis=1)


def by_windows(operation: Conv | Dense, rows: np.ndarray) -> np.ndarray:
    """What the kernel makes of windows: ``(images, positions, outputs)``."""
    made = np.einsum("gnpt,gto->npgo", rows, matrices(operation))
    return made.reshape(*made.shape[:2], -1)


@pytest.mark.parametrize("few", [False, True], ids=["all_positions", "some_positions"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_windows_are_those_of_the_operation(name, few, monkeypatch):
    """Kernel times window is what the operation makes there: order of positions, taps, groups and padding."""
    if few:
        monkeypatch.setattr(positions, "LEAST_ROWS", 40)
        monkeypatch.setattr(positions, "ROWS_PER_TAP", 1)
    operation, shape = OPERATIONS[name]
    data = correlated(*shape, count=7)
    size = size_of(operation, data)
    wanted = on_grid(operation, linear(operation, data), size)
    assert few == (wanted.size < linear(operation, data).size) or len(shape) == 1
    found = by_windows(operation, seen(operation, inputs(data), size))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["padded_strided", "depthwise", "dense_of_images"])
def test_few_images_at_a_time_are_the_same(name, monkeypatch):
    operation, shape = OPERATIONS[name]
    data = correlated(*shape, count=7)
    size = size_of(operation, data)
    whole = seen(operation, inputs(data), size)
    monkeypatch.setattr(positions, "BATCH_NUMBERS", 3 * whole[:, 0].size)
    assert [part for part, _ in positions.windows(operation, inputs(data), size)] == [
        slice(0, 3), slice(3, 6), slice(6, 7),
    ]  # fmt: skip
    np.testing.assert_array_equal(seen(operation, inputs(data), size), whole)


def test_zero_in_the_padding_is_a_real_zero():
    operation, shape = OPERATIONS["padded_strided"]
    affine = Affine(scale=0.06, zero_point=40)
    stored = affine.quantize(correlated(*shape, count=3))
    size = size_of(operation, stored)
    real = seen(operation, positions.Inputs(stored=stored, real=affine.dequantize), size)
    np.testing.assert_array_equal(real, seen(operation, inputs(affine.dequantize(stored)), size))
    assert (real[0, :, 0, :6] == 0.0).all()


@pytest.mark.parametrize("count", [1, 8, 100])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (112, 112), (3000, 1), (1, 500), (30, 200)])
def test_there_are_as_many_windows_as_are_needed(size, count):
    """No more than are asked for, and no fewer than a fifth: a step of two leaves a quarter."""
    for operation in (conv(1, 4, 3, groups=4), conv(128, 4, 3)):
        chosen = positions.grid(operation, size, count)
        rows, columns = (chosen.along(axis, size[axis]) for axis in (0, 1))
        assert min(len(rows), len(columns)) > 0
        most = positions.LEAST_ROWS if operation.groups > 1 else positions.MOST_ROWS
        found, possible = len(rows) * len(columns) * count, size[0] * size[1] * count
        assert found <= 1.2 * max(most, count)
        assert found >= min(possible, most) / 5


def test_the_grid_lies_in_the_middle():
    chosen = positions.grid(conv(1, 4, 3, groups=4), (100, 100), 10)
    assert chosen == positions.Grid(first=(3, 3), step=7)
    assert chosen.along(0, 100)[[0, -1]].tolist() == [3, 94]
    assert positions.grid(conv(1, 4, groups=4), (2, 2), 100_000).along(1, 2).tolist() == [1]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((None, 5), (1, 1)), ((None, 7, 5), (7, 1)), ((None, 7, 3, 5), (7, 3)), ((2, 2, 3, 4, 5), (2, 12))],
)
def test_the_size_of_values_of_any_rank(shape, size):
    assert positions.image_size(SimpleNamespace(shape=shape)) == size


@pytest.mark.parametrize("count", [1, 40])
def test_the_sampler_cuts_where_the_grid_does(count):
    net = Sketch((23, 31, 3))
    net("a", dense(3, 4), net("stem", conv(3, 3), "in0"))
    graph, operation = net.graph(), net.nodes[-1].operation
    nodes = positions.sampler(graph, "a", operation, count)
    made = Graph(
        name="cut", inputs=graph.inputs, nodes=(*graph.nodes, *nodes), outputs={"few": nodes[-1].name, "a": "a"}
    )
    found = compile_(made)({"in0": images(23, 31, 3, count=2)})
    chosen = positions.grid(operation, (23, 31), count)
    assert (chosen.step > 1) == (count > 1)
    np.testing.assert_array_equal(found["few"], chosen.cut(found["a"], (23, 31)))
