"""A graph that exists is legal; what is derived from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.errors import GraphError
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, Add, Conv, Dense, Operation, Reshape, Shape

IMAGE: Shape = (None, 4, 4, 2)
RELU = Activate(function=Activation.RELU)


def node(name: str, *inputs: str, operation: Operation = RELU, shape: Shape = IMAGE) -> Node:
    return Node(name=name, operation=operation, inputs=inputs, shape=shape, layers=(name,))


def graph(*nodes: Node, **outputs: str) -> Graph:
    spec = TensorSpec(name="input", shape=IMAGE)
    return Graph(name="g", inputs=(spec,), nodes=nodes, outputs=outputs or {"output": nodes[-1].name})


DIAMOND = graph(
    node("a", "input"), node("b", "a"), node("c", "a", "a", operation=Add()), node("d", "b", "c", operation=Add())
)


def test_shapes_producers_and_readers():
    assert DIAMOND.shapes == dict.fromkeys(("input", "a", "b", "c", "d"), IMAGE)
    assert set(DIAMOND.producers) == {"a", "b", "c", "d"}
    assert [reader.name for reader in DIAMOND.consumers["a"]] == ["b", "c"], "a reader counts once"
    assert DIAMOND.consumers["d"] == ()
    assert [step.name for step in DIAMOND] == ["a", "b", "c", "d"]


def test_only_reader():
    found = DIAMOND.only_reader("b")
    assert found is not None
    assert found.name == "d"
    assert DIAMOND.only_reader("a") is None, "two read it"
    assert DIAMOND.only_reader("d") is None, "nobody reads it"
    assert replace(DIAMOND, outputs={"output": "d", "inner": "b"}).only_reader("b") is None, "it is shown"


def test_output_specs_have_public_names_in_order():
    specs = replace(DIAMOND, outputs={"second": "d", "first": "a"}).output_specs
    assert [(spec.name, spec.shape) for spec in specs] == [("second", IMAGE), ("first", IMAGE)]


def test_with_batch_reaches_every_value():
    assert {shape[0] for shape in DIAMOND.with_batch(3).shapes.values()} == {3}
    assert DIAMOND.with_batch(3).with_batch(None).shapes == DIAMOND.shapes


ILLEGAL = {
    "twice": ((node("a", "input"), node("a", "input")), "two values are named 'a'"),
    "named like the input": ((node("input", "input"),), "two values are named 'input'"),
    "before use": ((node("a", "b"), node("b", "input")), "node 'a' reads 'b' before anything makes it"),
    "itself": ((node("a", "a"),), "node 'a' reads 'a'"),
    "wrong shape": ((node("a", "input", shape=(None, 4, 4, 3)),), r"'a' \(Activate\): states shape .*4, 4, 3.*4, 4, 2"),
    "channels": (
        (node("a", "input", operation=Conv(kernel=np.zeros((1, 1, 3, 5), np.float32)), shape=(None, 4, 4, 5)),),
        r"'a' \(Conv\): 2 channels, kernel wants 3",
    ),
    "arity": ((node("a", "input", "input"),), r"'a' \(Activate\): takes 1 input\(s\), got 2"),
    "numbers": (
        (node("a", "input", operation=Reshape(shape=(5,)), shape=(None, 5)),),
        r"'a' \(Reshape\): .* has 32 numbers, \(5,\) wants 5",
    ),
    "kernel of another rank": (
        (node("a", "input", operation=Dense(kernel=np.zeros(2, np.float32)), shape=IMAGE),),
        r"'a' \(Dense\)",
    ),
    "convolution kernel of another rank": (
        (node("a", "input", operation=Conv(kernel=np.zeros((2, 2), np.float32)), shape=IMAGE),),
        r"'a' \(Conv\)",
    ),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_graph_cannot_be_made(name):
    nodes, message = ILLEGAL[name]
    with pytest.raises(GraphError, match=message):
        graph(*nodes)


def test_an_output_must_exist():
    with pytest.raises(GraphError, match="output 'top' of g shows unknown value 'nobody'"):
        graph(node("a", "input"), top="nobody")
