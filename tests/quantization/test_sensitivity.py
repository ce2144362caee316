"""Each layer quantized alone: the sensitive one is found, nothing else is touched, names are Keras's."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.operations import Activate, Activation, Add, Conv, Dense, GlobalPool, PoolKind
from kexport.quantization import Run
from kexport.quantization.plan import Precision
from kexport.quantization.prepare.layer_groups import layer_groups
from kexport.quantization.ranking import LayerDamage, Ranking
from kexport.quantization.sensitivity import named, rank
from kexport.runtimes.ort_graph import GraphSession
from tests.formats.plans import Sketch

SENSITIVE = ("first", "second", "third")


def compile_(graph: Graph) -> Run:
    return GraphSession(graph, threads=1).run


def network(sensitive: str = "", *, softmax: bool = True, huge: float = 300.0) -> Graph:
    """Three residual convolutions; one channel of the ``sensitive`` one is huge, and next to nobody reads it.

    A sum keeps the ranges of channels from being equalised away.
    """
    random = np.random.default_rng(7)
    sketch = Sketch((8, 8, 6))

    def normal(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / math.sqrt(math.prod(shape[:-1]))).astype(np.float32)

    value = sketch("stem", Conv(kernel=normal(1, 1, 6, 8), bias=normal(8)), "in0")
    shut = np.ones(8, np.float32)
    for name in SENSITIVE:
        shut = shut.copy()
        kernel = normal(3, 3, 8, 8) * shut[:, np.newaxis]
        if name == sensitive:
            kernel[..., 0] *= huge
            shut[0] = 1 / huge
        conv = Conv(kernel=kernel, bias=normal(8), padding=((1, 1), (1, 1)))
        value = sketch(f"{name} sum", Add(), sketch(name, conv, value), value)
    value = sketch("last", Conv(kernel=normal(1, 1, 8, 8) * shut[:, np.newaxis], bias=normal(8)), value)
    value = sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), value)
    value = sketch("logits", Dense(kernel=normal(8, 5), bias=normal(5)), value)
    if softmax:
        value = sketch("softmax", Activate(function=Activation.SOFTMAX), value)
    return sketch.graph()


def batches() -> Iterator[dict[str, np.ndarray]]:
    for seed in range(3):
        yield {"in0": np.random.default_rng(seed).normal(size=(4, 8, 8, 6)).astype(np.float32)}


@pytest.mark.parametrize("sensitive", SENSITIVE)
@pytest.mark.parametrize("softmax", [True, False])
def test_the_layer_with_a_huge_channel_is_first(sensitive: str, softmax: bool) -> None:
    damages = rank(network(sensitive, softmax=softmax), batches, compile_)
    assert [damage.node for damage in damages] == ["stem", *SENSITIVE, "last", "logits"]
    assert [damage.place for damage in damages] == list(range(6))
    worst, second, *_ = Ranking(model="m", calibration="c", images=12, layers=damages).worst_first
    assert worst.node == sensitive
    assert worst.sqnr_db < second.sqnr_db - 10


def test_without_such_a_channel_no_layer_stands_out() -> None:
    found = [damage.sqnr_db for damage in rank(network(), batches, compile_)]
    assert min(found) > 30
    assert all(math.isfinite(value) for value in found)


def test_layers_without_noise_are_infinitely_good() -> None:
    """Weights and activations that int8 holds exactly: multiples of the scale."""
    sketch = Sketch((1, 1, 4))
    eye = (np.eye(4) * 127).astype(np.float32).reshape(1, 1, 4, 4)
    sketch("conv", Conv(kernel=eye), "in0")
    sketch("out", Dense(kernel=np.eye(4, dtype=np.float32) * 127), "conv")
    whole = np.array([[-128, 127, 3, 5]], np.float32).reshape(1, 1, 1, 4)
    conv, _ = rank(sketch.graph(), lambda: iter([{"in0": whole}]), compile_)
    assert conv.sqnr_db > 100


def test_weights_are_not_fitted_to_the_few_images() -> None:
    """With 4 images and 256 weights per class, rounding by these images would seem 30 dB better."""
    random = np.random.default_rng(1)
    sketch = Sketch((1, 1, 256))
    sketch("conv", Conv(kernel=np.eye(256, dtype=np.float32).reshape(1, 1, 256, 256)), "in0")
    sketch("classes", Dense(kernel=(random.normal(size=(256, 40)) / 16).astype(np.float32)), "conv")
    few, others = (random.normal(size=(count, 1, 1, 256)).astype(np.float32) for count in (4, 400))
    found = [
        rank(sketch.graph(), lambda images=images: iter([{"in0": images}]), compile_)[-1].sqnr_db
        for images in (few, others)
    ]
    assert found[0] == pytest.approx(found[1], abs=3.0)


def test_what_a_layer_costs() -> None:
    stem, first, *_, logits = rank(network(), batches, compile_)
    assert (stem.kind, stem.parameters, stem.multiplications) == ("conv 1x1", 6 * 8 + 8, 64 * 6 * 8)
    assert (first.kind, first.parameters, first.multiplications) == ("conv 3x3", 9 * 64 + 8, 64 * 9 * 64)
    assert (logits.kind, logits.parameters, logits.multiplications) == ("dense", 45, 40)
    assert first.nodes == ("first", "first sum")


def test_groups_hold_every_quantized_node_once() -> None:
    graph = network()
    precisions = {node.name: Precision.INT8 for node in graph if node.name not in ("second", "logits", "softmax")}
    groups = layer_groups(graph, precisions)
    assert groups == (
        ("stem",),
        ("first", "first sum", "second sum"),
        ("third", "third sum"),
        ("last", "pool"),
    )
    assert sorted(name for group in groups for name in group) == sorted(precisions)


def test_names_are_those_of_the_layers_with_weights() -> None:
    damage = LayerDamage(
        place=0, name="pad", kind="conv 3x3", layers=("pad", "conv", "bn", "relu"), node="relu", nodes=("relu",),
        sqnr_db=20.0, parameters=90, multiplications=900,
    )  # fmt: skip
    layers = {"pad": ("ZeroPadding2D", 0), "conv": ("Conv2D", 90), "bn": ("BatchNormalization", 40)}
    (found,) = named([damage], layers)
    assert (found.name, found.kind) == ("conv", "Conv2D")
    assert named([damage], {}) == (damage,)


def test_shares_and_order() -> None:
    def layer(place: int, sqnr_db: float) -> LayerDamage:
        return LayerDamage(
            place=place, name=str(place), kind="Conv2D", layers=(), node=str(place), nodes=(str(place),),
            sqnr_db=sqnr_db, parameters=25, multiplications=1,
        )  # fmt: skip

    ranking = Ranking(model="m", calibration="c", images=1, layers=(layer(0, 20.0), layer(1, 10.0), layer(2, math.inf)))
    assert [each.place for each in ranking.worst_first] == [1, 0, 2]
    assert [round(ranking.noise_share(each), 4) for each in ranking.layers] == [0.0909, 0.9091, 0.0]
    assert [ranking.parameter_share(each) for each in ranking.layers] == [1 / 3] * 3
    broken = Ranking(model="m", calibration="c", images=1, layers=(layer(0, 20.0), layer(1, math.nan)))
    assert [each.place for each in broken.worst_first] == [1, 0]
    assert math.isnan(broken.noise_share(broken.layers[0]))
