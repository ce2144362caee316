"""Which node computes in which precision."""

from __future__ import annotations

import numpy as np

from kexport.operations import (
    Activation,
    Add,
    Clip,
    Compare,
    Comparison,
    Concat,
    Elementwise,
    Function,
    GlobalPool,
    LayerNorm,
    Multiply,
    Pad,
    Pool,
    PoolKind,
    Reduce,
    ReduceKind,
    Reshape,
    ScaleShift,
    Select,
    Transpose,
)
from kexport.quantization.plan import Precision
from kexport.quantization.prepare.assign import assign
from tests.formats.plans import Sketch
from tests.quantization.networks import AVERAGE, RELU, RELU6, activate, conv, dense, mobile

INT8, WEIGHTS = Precision.INT8, Precision.WEIGHTS
SIGMOID = Activation.SIGMOID


def test_a_convolutional_network_is_int8_but_for_its_logits():
    found = assign(mobile(RELU6))
    assert found["logits"] is WEIGHTS
    assert "softmax" not in found
    assert all(found[name] is INT8 for name in ("expand", "depth", "project", "sum", "last", "pool"))


def test_a_hidden_dense_layer_is_int8_the_last_one_has_int8_weights():
    net = Sketch((7,))
    net("a", dense(7, 8, activation=RELU), "in0")
    net("b", dense(8, 4), "a")
    assert assign(net.graph()) == {"a": INT8, "b": WEIGHTS}


def test_what_shall_stay_float_does():
    found = assign(mobile(RELU6), keep_float=["depth", "logits"])
    assert {"depth", "logits"}.isdisjoint(found)
    assert found["project"] is INT8


def test_what_prepares_the_image_is_float():
    net = Sketch((8, 8, 3))
    net("pad", Pad(padding=((1, 1), (1, 1))), "in0")
    net("a", conv(3, 4, 3), "pad")
    assert assign(net.graph()) == {"a": INT8}


def test_movers_between_float_nodes_stay_float():
    net = Sketch((8, 8, 3))
    net("tanh", activate(Activation.TANH), "in0")
    net("pool", Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), "tanh")
    net("flat", Reshape(shape=(48,)), "pool")
    net("gelu", activate(Activation.GELU), "flat")
    net("a", dense(48, 4), "gelu")
    assert assign(net.graph()) == {"a": WEIGHTS}


def test_a_mover_from_int8_to_float_does_not_move_int8():
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4), "in0")
    net("pool", Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), "a")
    net("tanh", activate(Activation.TANH), "pool")
    assert assign(net.graph()) == {"a": INT8}


def test_generic_operations_and_maxima_over_images_stay_float():
    net = Sketch((8, 8, 4))
    net("a", conv(4, 4), "in0")
    net("turn", Transpose(order=(0, 2, 1, 3)), "a")
    net("absolute", Elementwise(function=Function.ABSOLUTE), "turn")
    net("norm", LayerNorm(gamma=np.ones(4, np.float32), beta=np.zeros(4, np.float32), epsilon=1e-3), "absolute")
    net("b", conv(4, 4), "norm")
    net("most", GlobalPool(kind=PoolKind.MAX), "b")
    net("mean", Reduce(kind=ReduceKind.MEAN, axes=(1, 2)), "b")
    net("sum", Add(), "most", "mean")
    net("c", dense(4, 3), "sum")
    assert assign(net.graph()) == {"a": INT8, "b": INT8, "c": WEIGHTS}


def test_a_sum_of_three_stays_float():
    net = Sketch((8, 8, 3))
    names = [net(f"part{index}", conv(3, 4, seed=index), "in0") for index in range(3)]
    net("sum", Add(), *names)
    net("last", conv(4, 2), "sum")
    assert "sum" not in assign(net.graph())


def test_a_gate_that_shares_no_scale_is_an_int8_sigmoid():
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4), "in0")
    net("gate", activate(SIGMOID), "a")
    net("gated", Multiply(), "a", "gate")
    net("b", conv(4, 4), "gated")
    assert assign(net.graph())["gate"] is INT8


def test_a_sigmoid_joined_with_wider_values_is_float():
    """Its scale would be theirs too, and everything above one would be lost."""
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4), "in0")
    net("gate", activate(SIGMOID), net("b", conv(3, 4, seed=3), "in0"))
    net("joined", Concat(), "a", "gate")
    net("c", conv(8, 4), "joined")
    found = assign(net.graph())
    assert "gate" not in found
    assert found["joined"] is INT8


def test_sigmoids_joined_with_what_lies_in_the_unit_interval_are_int8():
    net = Sketch((8, 8, 3))
    net("left", activate(SIGMOID), net("a", conv(3, 4), "in0"))
    net("right", Clip(minimum=0.0, maximum=1.0), net("b", conv(3, 4, seed=3), "in0"))
    net("joined", Concat(), "left", "right")
    net("pool", AVERAGE, "joined")
    net("c", dense(8, 4), "pool")
    found = assign(net.graph())
    assert {found[name] for name in ("left", "right", "joined")} == {INT8}


def zeros(value: float = 0.0) -> np.ndarray:
    return np.full(1, value, np.float32)


def compared(kind: Comparison, *, activation: Activation | None = None) -> Sketch:
    """Two convolutions, and a question about what the second gives."""
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4, 3, activation=RELU), "in0")
    net("b", conv(4, 4, 1, activation=activation), "a")
    net("asked", Compare(kind=kind, constant=zeros()), "b")
    return net


def test_what_is_compared_keeps_its_resolution():
    net = compared(Comparison.GREATER)
    net("mask", Select(chosen=zeros(1), otherwise=zeros()), "asked")
    assert assign(net.graph()) == {"a": INT8}


def test_what_a_question_chooses_of_other_numbers_too():
    net = compared(Comparison.GREATER)
    net("image", conv(4, 4, 1), "a")
    net("cut out", Select(otherwise=zeros()), "asked", "image")
    assert "b" not in assign(net.graph())


def test_peaks_are_where_a_number_is_the_largest_around_it():
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4, 3, activation=RELU), "in0")
    net("b", conv(4, 4, 1), "a")
    net("around", Pool(kind=PoolKind.MAX, size=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1))), "b")
    net("asked", Compare(kind=Comparison.EQUAL), "b", "around")
    net("peaks", Select(otherwise=zeros()), "asked", "b")
    assert assign(net.graph()) == {"a": INT8}


def pooled() -> Sketch:
    """A dense layer over pooled features, and a question about what it gives."""
    net = Sketch((8, 8, 3))
    net("a", conv(3, 4, 3, activation=RELU), "in0")
    net("pool", AVERAGE, "a")
    net("score", dense(4, 2), "pool")
    net("asked", Compare(kind=Comparison.GREATER, constant=zeros()), "score")
    return net


def test_a_dense_layer_that_is_compared_is_as_the_last_one_is():
    net = pooled()
    net("yes", Select(chosen=zeros(1), otherwise=zeros()), "asked")
    assert assign(net.graph())["score"] is WEIGHTS
    assert "score" not in assign(net.graph(), keep_float={"score"})
    assert "score" not in assign(net.graph(), integer_head=True)


def test_a_dense_layer_that_int8_reads_too_stays_float_where_it_is_compared():
    net = pooled()
    net("more", dense(2, 2), "score")
    net("mask", Select(chosen=zeros(1), otherwise=zeros()), "asked")
    net("shown", Multiply(), "mask", "more")
    assert "score" not in assign(net.graph())


def test_a_rectifier_written_by_hand_is_no_step():
    net = compared(Comparison.GREATER)
    net("small", ScaleShift(scale=np.full(4, 0.1, np.float32), offset=np.zeros(4, np.float32)), "b")
    net("leaky", Select(), "asked", "b", "small")
    found = assign(net.graph())
    assert (found["a"], found["b"]) == (INT8, INT8)
