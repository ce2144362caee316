"""Graphs in memory: any value out, in NHWC, as plain numpy computes it."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.errors import GraphError
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, Add, Conv, Dense, GlobalPool, PoolKind
from kexport.runtimes.ort_graph import GraphSession, run_graph


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng([7, *shape]).normal(size=shape).astype(np.float32)


def branching() -> Graph:
    """Two inputs; ``sum`` reads both, ``head`` only the image."""
    layers = [
        ("stem", Conv(kernel=numbers(3, 3, 3, 4), activation=Activation.RELU), ("image",)),
        ("sum", Add(), ("stem", "other")),
        ("pool", GlobalPool(kind=PoolKind.AVERAGE), ("stem",)),
        ("head", Dense(kernel=numbers(4, 5), bias=numbers(5)), ("pool",)),
        ("softmax", Activate(function=Activation.SOFTMAX), ("head",)),
    ]
    inputs = (TensorSpec(name="image", shape=(1, 8, 8, 3)), TensorSpec(name="other", shape=(1, 6, 6, 4)))
    shapes = {spec.name: spec.shape for spec in inputs}
    nodes = []
    for name, operation, sources in layers:
        shapes[name] = operation.infer(*(shapes[source] for source in sources))
        nodes.append(Node(name=name, operation=operation, inputs=sources, shape=shapes[name]))
    return Graph(name="g", inputs=inputs, nodes=tuple(nodes), outputs={"stem": "softmax", "sums": "sum"})


FEEDS = {"image": numbers(3, 8, 8, 3), "other": numbers(3, 6, 6, 4)}


def test_every_value_as_numpy_computes_it(interpret):
    graph = branching()
    expected = interpret(graph, FEEDS)
    found = run_graph(graph, FEEDS, list(graph.shapes), threads=1)
    assert set(found) == set(graph.shapes)
    for value, array in found.items():
        if value != "stem":  # the interpreter gives the public name "stem" to the softmax
            np.testing.assert_allclose(array, expected[value], atol=1e-5, err_msg=value)
    assert found["stem"].shape == (3, 6, 6, 4)
    assert found["stem"].min() == 0


def test_by_default_the_outputs_by_their_public_names(interpret):
    found = run_graph(branching(), FEEDS)
    assert set(found) == {"stem", "sums"}
    np.testing.assert_allclose(found["stem"], interpret(branching(), FEEDS)["softmax"], atol=1e-5)


def test_only_what_is_needed_is_read_and_run():
    session = GraphSession(branching(), ["head"])
    assert session.inputs == ("image",)
    first = session.run({"image": FEEDS["image"][:1]})
    np.testing.assert_allclose(first["head"], session.run(FEEDS)["head"][:1], atol=1e-6)


def test_an_input_is_its_own_value():
    assert run_graph(branching(), FEEDS, ["other"])["other"] is FEEDS["other"]


def test_unknown_values_and_missing_inputs_are_named():
    with pytest.raises(GraphError, match="graph g has no value 'nothing'"):
        GraphSession(branching(), ["nothing"])
    with pytest.raises(GraphError, match="input 'image' is not fed; this graph reads image, other"):
        run_graph(branching(), {"other": FEEDS["other"]})
