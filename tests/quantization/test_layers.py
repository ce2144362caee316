"""Layers by name: exact, by glob, nested; what a name brings with it, and names that no layer has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kexport.errors import UnknownNameError
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Add
from kexport.quantization import layers
from tests.formats.plans import Sketch
from tests.quantization.networks import AVERAGE, conv, dense, same

LAYERS = {
    "first": ("stem", "stem_bn"), "second": ("body/block1_conv",), "third": ("body/block2_conv",),
    "sum": ("body/add",), "act": ("body/relu",), "mean": ("pool",), "head": ("classes",),
}  # fmt: skip
KNOWN = (*(name for each in LAYERS.values() for name in each), "block1_conv", "block2_conv", "add", "relu")


def network() -> Graph:
    sketch = Sketch((8, 8, 3))
    first = sketch("first", conv(3, 4, 3, padding=same()), "in0")
    second = sketch("second", conv(4, 4, 3, padding=same(), seed=1), first)
    third = sketch("third", conv(4, 4, 3, padding=same(), seed=2), second)
    act = sketch("act", Activate(function=Activation.RELU), sketch("sum", Add(), second, third))
    sketch("head", dense(4, 3), sketch("mean", AVERAGE, act))
    graph = sketch.graph()
    return replace(graph, nodes=tuple(replace(node, layers=LAYERS[node.name]) for node in graph))


def matching(pattern: str) -> set[str]:
    return set(layers.matching(network(), pattern, option="--keep-float", source="net.keras"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("stem", {"stem"}),
        ("stem_bn", {"stem_bn"}),
        ("block1_conv", {"body/block1_conv"}),
        ("body/block1_conv", {"body/block1_conv"}),
        ("body", {"body/block1_conv", "body/block2_conv", "body/add", "body/relu"}),
        ("block?_conv", {"body/block1_conv", "body/block2_conv"}),
        ("*_conv", {"body/block1_conv", "body/block2_conv"}),
        ("body/[ar]*", {"body/add", "body/relu"}),
        ("*", {name for each in LAYERS.values() for name in each}),
    ],
)
def test_names_globs_and_nested_models(pattern: str, found: set[str]) -> None:
    assert matching(pattern) == found


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("clases", "unknown layer of --keep-float 'clases': did you mean classes?"),
        ("block3_conv", "unknown layer of --keep-float 'block3_conv': did you mean block2_conv?"),
        (
            "zzz*",
            f"unknown layer of --keep-float 'zzz*': known: {', '.join(KNOWN)}",
        ),
    ],
)
def test_a_name_that_no_layer_has(pattern: str, told: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        matching(pattern)
    assert (caught.value.message, caught.value.hint) == (told, "kexport list layers net.keras")


@pytest.mark.parametrize(
    ("named", "nodes"),
    [
        ({"stem"}, {"first"}),
        ({"body/block2_conv"}, {"third", "sum", "act", "mean"}),
        ({"body/add"}, {"sum"}),
        ({"classes", "stem_bn"}, {"first", "head"}),
        (set(), set()),
    ],
    ids=lambda names: " ".join(sorted(names)) or "none",  # the order of a set is that of one process
)
def test_a_layer_brings_what_follows_it_up_to_the_next(named: set[str], nodes: set[str]) -> None:
    assert layers.nodes(network(), named) == nodes
