"""A graph on disk is the graph that was saved: every operation, every weight, every None."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import GraphError, StoreError
from kexport.graph import Graph, Node, TensorSpec
from kexport.graph import file as graph_file
from kexport.operations import Activate, Activation, Add, Conv, Dense, GlobalPool, Pool, PoolKind

RNG = np.random.default_rng(0)


def kernel(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def graph() -> Graph:
    """Convolution with and without bias and activation, pool, a value read twice, dense with softmax."""
    conv = Conv(kernel=kernel(3, 3, 3, 5), bias=kernel(5), padding=((1, 1), (1, 1)), activation=Activation.RELU6)
    plain = Conv(kernel=kernel(1, 1, 5, 5), bias=None)
    pool = Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2))
    steps = (
        ("conv", conv, ("input",), (None, 8, 8, 5), ("conv", "conv_bn")),
        ("plain", plain, ("conv",), (None, 8, 8, 5), ()),
        ("add", Add(), ("conv", "plain"), (None, 8, 8, 5), ("add",)),
        ("act", Activate(function=Activation.HARD_SWISH), ("add",), (None, 8, 8, 5), ("ünïcode/name",)),
        ("pool", pool, ("act",), (None, 4, 4, 5), ()),
        ("gap", GlobalPool(kind=PoolKind.AVERAGE, keepdims=False), ("pool",), (None, 5), ()),
        ("dense", Dense(kernel=kernel(5, 7), bias=kernel(7)), ("gap",), (None, 7), ()),
    )
    nodes = tuple(Node(name=n, operation=o, inputs=i, shape=s, layers=layers) for n, o, i, s, layers in steps)
    inputs = (TensorSpec(name="input", shape=(None, 8, 8, 3)),)
    return Graph(name="small", inputs=inputs, nodes=nodes, outputs={"output": "dense"})


def test_round_trip(graph: Graph, tmp_path: Path) -> None:
    graph_file.save(graph, tmp_path)
    loaded = graph_file.load(tmp_path)
    assert (loaded.name, loaded.inputs, dict(loaded.outputs)) == (graph.name, graph.inputs, dict(graph.outputs))
    for ours, theirs in zip(loaded, graph, strict=True):
        assert replace(ours, operation=theirs.operation) == theirs
        assert type(ours.operation) is type(theirs.operation)
        for item in fields(theirs.operation):
            mine, other = getattr(ours.operation, item.name), getattr(theirs.operation, item.name)
            assert type(mine) is type(other) or isinstance(other, np.ndarray), item.name
            np.testing.assert_array_equal(mine, other)


def test_weights_are_aligned_views_that_cannot_be_written(graph: Graph, tmp_path: Path) -> None:
    graph_file.save(graph, tmp_path)
    weights = graph_file.load(tmp_path).producers["dense"].operation.kernel  # type: ignore[attr-defined]
    assert weights.ctypes.data % graph_file.ALIGNMENT == 0
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1.0


def test_a_graph_without_weights(tmp_path: Path) -> None:
    node = Node(name="act", operation=Activate(function=Activation.RELU), inputs=("input",), shape=(None, 4))
    graph = Graph(
        name="none", inputs=(TensorSpec(name="input", shape=(None, 4)),), nodes=(node,), outputs={"output": "act"}
    )
    graph_file.save(graph, tmp_path)
    (loaded,) = graph_file.load(tmp_path)
    assert isinstance(loaded.operation, Activate)
    assert (loaded.name, loaded.operation.function, loaded.shape) == ("act", Activation.RELU, (None, 4))
    assert (tmp_path / "weights.bin").stat().st_size == 0


def test_another_version_is_refused(graph: Graph, tmp_path: Path) -> None:
    graph_file.save(graph, tmp_path)
    path = tmp_path / "graph.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(GraphError, match="graph file version 2, expected 1"):
        graph_file.load(tmp_path)


def test_a_graph_that_was_changed_is_checked_again(graph: Graph, tmp_path: Path) -> None:
    graph_file.save(graph, tmp_path)
    path = tmp_path / "graph.json"
    path.write_text(path.read_text().replace('"plain"]', '"plane"]'))
    with pytest.raises(GraphError, match="node 'add' reads 'plane' before anything makes it"):
        graph_file.load(tmp_path)


def test_every_mistake_of_a_damaged_graph_is_told_with_its_path(graph: Graph, tmp_path: Path) -> None:
    graph_file.save(graph, tmp_path)
    path = tmp_path / "graph.json"
    text = path.read_text().replace('"operation": "Dense"', '"operation": 7').replace('"name": "small"', '"name": null')
    path.write_text(text)
    with pytest.raises(StoreError) as caught:
        graph_file.load(tmp_path)
    assert caught.value.message.splitlines() == [
        f"graph {path} is damaged:", "name: expected str, got None", "nodes.6.operation: expected str, got 7",
    ]  # fmt: skip
    path.write_text(text[:-9])
    with pytest.raises(StoreError, match="is not JSON"):
        graph_file.load(tmp_path)


@pytest.mark.parametrize("name", ["Graph", "np", "Operation", "system"])
def test_only_operations_can_be_named(graph: Graph, tmp_path: Path, name: str) -> None:
    graph_file.save(graph, tmp_path)
    path = tmp_path / "graph.json"
    path.write_text(path.read_text().replace('"operation": "Dense"', f'"operation": "{name}"'))
    with pytest.raises(GraphError, match=f"node 'dense' is a {name}, which is no operation"):
        graph_file.load(tmp_path)
