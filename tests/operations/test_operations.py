"""Shapes that operations infer, and shapes that they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.errors import GraphError
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Binary,
    BinaryKind,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    Elementwise,
    Function,
    GlobalPool,
    GroupNorm,
    Join,
    LayerNorm,
    LeakyRelu,
    MatMul,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reduce,
    ReduceKind,
    Reshape,
    Resize,
    ResizeKind,
    ScaleShift,
    Shape,
    Slice,
    Threshold,
    Transpose,
    TransposedConv,
)

IMAGE: Shape = (None, 9, 7, 4)
ROW: Shape = (None, 4)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


INFERRED: dict[str, tuple[Operation, tuple[Shape, ...], Shape]] = {
    "conv": (Conv(kernel=zeros(3, 3, 4, 6)), (IMAGE,), (None, 7, 5, 6)),
    "conv padded": (Conv(kernel=zeros(3, 2, 4, 6), padding=((1, 2), (0, 1))), (IMAGE,), (None, 10, 7, 6)),
    "conv strided": (Conv(kernel=zeros(3, 3, 4, 6), strides=(2, 3)), (IMAGE,), (None, 4, 2, 6)),
    "conv dilated": (Conv(kernel=zeros(3, 3, 4, 6), dilation=(4, 3)), (IMAGE,), (None, 1, 1, 6)),
    "conv grouped": (Conv(kernel=zeros(1, 1, 2, 6), groups=2), (IMAGE,), (None, 9, 7, 6)),
    "dense": (Dense(kernel=zeros(4, 3)), (ROW,), (None, 3)),
    "dense image": (Dense(kernel=zeros(4, 3)), (IMAGE,), (None, 9, 7, 3)),
    "pool": (Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), (IMAGE,), (None, 4, 3, 4)),
    "global": (GlobalPool(kind=PoolKind.MAX), (IMAGE,), ROW),
    "global keepdims": (GlobalPool(kind=PoolKind.MAX, keepdims=True), (IMAGE,), (None, 1, 1, 4)),
    "pad": (Pad(padding=((1, 2), (3, 4))), (IMAGE,), (None, 12, 14, 4)),
    "crop": (Crop(cropping=((1, 2), (3, 3))), (IMAGE,), (None, 6, 1, 4)),
    "add broadcast": (Add(), (IMAGE, (None, 1, 1, 4), IMAGE), IMAGE),
    "add lower rank": (Add(), (IMAGE, (4,)), IMAGE),
    "multiply": (Multiply(), ((None, 1, 1, 4), IMAGE), IMAGE),
    "concat": (Concat(), (IMAGE, (None, 9, 7, 1)), (None, 9, 7, 5)),
    "scale": (ScaleShift(scale=zeros(4), offset=zeros(4)), (IMAGE,), IMAGE),
    "layer norm": (LayerNorm(gamma=zeros(4), beta=zeros(4), epsilon=1e-6), (ROW,), ROW),
    "activate": (Activate(function=Activation.GELU), (IMAGE,), IMAGE),
    "reshape": (Reshape(shape=(63, 4)), (IMAGE,), (None, 63, 4)),
    "transposed": (TransposedConv(kernel=zeros(3, 2, 4, 6), strides=(2, 3)), (IMAGE,), (None, 19, 20, 6)),
    "transposed cropped": (
        TransposedConv(kernel=zeros(3, 2, 4, 6), strides=(2, 3), cropping=((0, 1), (0, 0)), extra=(0, 1)),
        (IMAGE,),
        (None, 18, 21, 6),
    ),
    "transposed dilated": (TransposedConv(kernel=zeros(3, 3, 4, 6), dilation=(2, 1)), (IMAGE,), (None, 13, 9, 6)),
    "resize": (Resize(kind=ResizeKind.NEAREST, size=(3, 20)), (IMAGE,), (None, 3, 20, 4)),
    "group norm": (GroupNorm(groups=2, gamma=zeros(4), beta=zeros(4), epsilon=1e-3), (IMAGE,), IMAGE),
    "elementwise": (Elementwise(function=Function.ELU), (ROW,), ROW),
    "binary": (Binary(kind=BinaryKind.DIVIDE), (IMAGE, (None, 1, 1, 4)), IMAGE),
    "binary constant": (Binary(kind=BinaryKind.POWER, constant=zeros(7, 1)), (IMAGE,), IMAGE),
    "binary constant that repeats": (Binary(kind=BinaryKind.ADD, constant=zeros(5, 1)), ((None, 1, 4),), (None, 5, 4)),
    "leaky relu": (LeakyRelu(slope=zeros(9, 1, 4)), (IMAGE,), IMAGE),
    "threshold": (Threshold(threshold=0.5, otherwise=0.0), (IMAGE,), IMAGE),
    "reduce": (Reduce(kind=ReduceKind.SUM, axes=(1, 3)), (IMAGE,), (None, 7)),
    "reduce keepdims": (Reduce(kind=ReduceKind.MEAN, axes=(1, 3), keepdims=True), (IMAGE,), (None, 1, 7, 1)),
    "transpose": (Transpose(order=(0, 3, 1, 2)), (IMAGE,), (None, 4, 9, 7)),
    "slice": (Slice(starts=(1, 0, 3), sizes=(8, 7, 1)), (IMAGE,), (None, 8, 7, 1)),
    "join": (Join(axis=1), (IMAGE, (None, 2, 7, 4)), (None, 11, 7, 4)),
    "matmul": (MatMul(), ((None, 2, 5, 3), (None, 2, 3, 7)), (None, 2, 5, 7)),
}


@pytest.mark.parametrize("name", INFERRED)
def test_shape(name):
    operation, inputs, expected = INFERRED[name]
    assert operation.infer(*inputs) == expected


REFUSED: dict[str, tuple[Operation, tuple[Shape, ...], str]] = {
    "conv of a row": (Conv(kernel=zeros(1, 1, 4, 6)), (ROW,), "takes images"),
    "conv channels": (Conv(kernel=zeros(1, 1, 3, 6)), (IMAGE,), "4 channels, kernel wants 3"),
    "conv groups": (Conv(kernel=zeros(1, 1, 2, 5), groups=2), (IMAGE,), "5 outputs do not divide into 2 groups"),
    "conv bias": (Conv(kernel=zeros(1, 1, 4, 6), bias=zeros(5)), (IMAGE,), "bias and kernel differ"),
    "conv window": (Conv(kernel=zeros(10, 1, 4, 6)), (IMAGE,), "larger than the padded image"),
    "open size": (Conv(kernel=zeros(1, 1, 4, 6)), ((None, None, 7, 4),), "only the batch axis may be symbolic"),
    "dense": (Dense(kernel=zeros(5, 3)), (ROW,), "4 features, kernel wants 5"),
    "crop": (Crop(cropping=((5, 4), (0, 0))), (IMAGE,), "nothing would be left"),
    "add one": (Add(), (IMAGE,), "a sum needs two inputs, got 1"),
    "add": (Add(), (IMAGE, (None, 9, 7, 3)), "cannot be broadcast"),
    "row to image": (Add(), (IMAGE, ROW), "cannot be broadcast"),
    "multiply three": (Multiply(), (IMAGE, IMAGE, IMAGE), r"takes 2 input\(s\), got 3"),
    "concat": (Concat(), (IMAGE, (None, 8, 7, 4)), "differ before the last axis"),
    "scale": (ScaleShift(scale=zeros(3), offset=zeros(4)), (IMAGE,), r"must be \(4,\)"),
    "layer norm": (LayerNorm(gamma=zeros(4), beta=zeros(3), epsilon=1e-6), (ROW,), r"must be \(4,\)"),
    "clip": (Clip(minimum=1.0, maximum=1.0), (ROW,), "minimum 1.0 is not below maximum 1.0"),
    "reshape": (Reshape(shape=(63, 5)), (IMAGE,), "has 252 numbers"),
    "transposed channels": (TransposedConv(kernel=zeros(1, 1, 3, 6)), (IMAGE,), "4 channels, kernel wants 3"),
    "transposed extra": (TransposedConv(kernel=zeros(1, 1, 4, 6), extra=(1, 0)), (IMAGE,), "not below the strides"),
    "transposed to nothing": (
        TransposedConv(kernel=zeros(1, 1, 4, 6), cropping=((9, 0), (0, 0))),
        (IMAGE,),
        "leaves nothing",
    ),
    "resize": (Resize(kind=ResizeKind.NEAREST, size=(0, 2)), (IMAGE,), "both must be at least 1"),
    "groups": (GroupNorm(groups=3, gamma=zeros(4), beta=zeros(4), epsilon=0.0), (IMAGE,), "divide into 3 groups"),
    "constant of the batch": (Binary(kind=BinaryKind.ADD, constant=zeros(2, 4)), (ROW,), "does not broadcast"),
    "constant of higher rank": (Binary(kind=BinaryKind.ADD, constant=zeros(1, 1, 4)), (ROW,), "does not broadcast"),
    "constant of another size": (Binary(kind=BinaryKind.ADD, constant=zeros(3)), (ROW,), "cannot be broadcast"),
    "slope": (LeakyRelu(slope=zeros(3)), (ROW,), "cannot be broadcast"),
    "slope of the batch": (LeakyRelu(slope=zeros(1, 4)), (ROW,), "does not fit"),
    "reduce the batch": (Reduce(kind=ReduceKind.SUM, axes=(0, 1)), (ROW,), r"axes \(0, 1\) of"),
    "reduce unsorted": (Reduce(kind=ReduceKind.SUM, axes=(2, 1)), (IMAGE,), "are not sorted"),
    "transpose the batch": (Transpose(order=(1, 0)), (ROW,), "axes"),
    "transpose some": (Transpose(order=(0, 2)), (IMAGE,), "order"),
    "slice outside": (Slice(starts=(2,), sizes=(3,)), (ROW,), "3 from 2 lies outside of 4"),
    "slice of nothing": (Slice(starts=(2,), sizes=(0,)), (ROW,), "0 from 2 lies outside"),
    "join the last axis": (Join(axis=3), (IMAGE, IMAGE), "axis 3 of"),
    "join other shapes": (Join(axis=1), (IMAGE, (None, 9, 6, 4)), "differ beside axis 1"),
    "matmul rows": (MatMul(), ((None, 5, 3), (None, 4, 7)), "has rows of 3"),
    "matmul batches": (MatMul(), ((None, 2, 5, 3), (None, 4, 3, 7)), "cannot be broadcast"),
    "matmul of rows": (MatMul(), (ROW, ROW), "at least 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    operation, inputs, message = REFUSED[name]
    with pytest.raises(GraphError, match=message):
        operation.infer(*inputs)


def test_non_negative_activations_are_those_whose_results_are():
    found = {function.value for function in Activation if function.non_negative}
    assert found == {"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax"}


@pytest.mark.parametrize(
    ("shape", "groups", "expected"), [((3, 3, 1, 8), 4, True), ((3, 3, 2, 8), 2, False), ((3, 3, 1, 8), 1, False)]
)
def test_depthwise(shape, groups, expected):
    assert Conv(kernel=zeros(*shape), groups=groups).depthwise is expected
