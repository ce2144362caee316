"""The operations of any rank, and those that enlarge images: both formats against plain numpy, in every layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from kexport import operations
from kexport.errors import UnsupportedError
from kexport.formats.onnx.qdq import writer as onnx_qdq
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import (
    Add,
    Binary,
    BinaryKind,
    Conv,
    Elementwise,
    Function,
    GroupNorm,
    Join,
    LeakyRelu,
    MatMul,
    Operation,
    Reduce,
    ReduceKind,
    Resize,
    ResizeKind,
    Slice,
    Threshold,
    Transpose,
    TransposedConv,
)
from kexport.quantization.plan import Precision, has_int8_form
from kexport.runtimes import SessionOptions
from kexport.runtimes.litert import LitertSession
from tests.formats.plans import Sketch, emulate, plan_of
from tests.numpy_reference import RULES, compute

IMAGE, ROWS, ROW = (6, 5, 4), (7, 4), (5,)
POSITIVE = {Function.LOGARITHM, Function.SQUARE_ROOT, Function.INVERSE_SQUARE_ROOT}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def transposed(**options: Any) -> TransposedConv:
    return TransposedConv(kernel=numbers(3, 2, 4, 5), bias=numbers(5), **options)


IMAGES: dict[str, Operation] = {
    **{f"{function}": Elementwise(function=function) for function in Function},
    **{
        f"{kind} {label}": Binary(kind=kind, constant=np.abs(constant) + 0.5, constant_first=first)
        for kind in BinaryKind
        for label, constant, first in (("plane", numbers(5, 4), False), ("rows, first", numbers(6, 1, 1), True))
    },
    "leaky": LeakyRelu(slope=numbers(1)),
    "leaky channels": LeakyRelu(slope=numbers(4)),
    "leaky all": LeakyRelu(slope=numbers(*IMAGE)),
    "threshold": Threshold(threshold=0.2, otherwise=-1.0),
    **{
        f"{kind} {axes} {keepdims}": Reduce(kind=kind, axes=axes, keepdims=keepdims)
        for kind in ReduceKind
        for axes, keepdims in (((1,), False), ((3,), True), ((1, 2), False), ((2, 3), False), ((1, 2, 3), True))
    },
    "transpose": Transpose(order=(0, 2, 3, 1)),
    "transpose to nchw": Transpose(order=(0, 3, 1, 2)),
    "slice": Slice(starts=(1, 0, 2), sizes=(4, 5, 2)),
    "transposed": transposed(strides=(2, 3)),
    "transposed cropped": transposed(strides=(2, 2), cropping=((0, 1), (0, 0))),
    "transposed dilated": transposed(dilation=(2, 3)),
    "transposed extra": transposed(strides=(2, 3), extra=(1, 2)),
    "group norm": GroupNorm(groups=2, gamma=numbers(4), beta=numbers(4, seed=1), epsilon=1e-3),
    **{
        f"{kind} to {size}": Resize(kind=kind, size=size)
        for kind in ResizeKind
        for size in ((12, 15), (3, 4), (7, 1), (6, 35))
    },
}
SEVERAL: dict[str, tuple[Operation, tuple[tuple[int, ...], ...]]] = {
    **{f"{kind} tensors": (Binary(kind=kind), (IMAGE, (1, 1, 4))) for kind in BinaryKind if kind != "power"},
    "join rows": (Join(axis=1), (IMAGE, (2, 5, 4))),
    "join columns": (Join(axis=2), (IMAGE, IMAGE, IMAGE)),
    "matmul": (MatMul(), ((3, 4), (4, 6))),
    "matmul of heads": (MatMul(), ((2, 3, 4), (2, 4, 6))),
    "reduce rows": (Reduce(kind=ReduceKind.MEAN, axes=(1,)), (ROWS,)),
    "softplus of a row": (Elementwise(function=Function.SOFTPLUS), (ROW,)),
}


def graph_of(operation: Operation, *shapes: tuple[int, ...], conv: bool = False) -> Graph:
    """The operation on inputs; with ``conv``, behind a convolution that keeps the image (and its layout)."""
    inputs = tuple(TensorSpec(name=f"in{index}", shape=(None, *shape)) for index, shape in enumerate(shapes))
    names, nodes = tuple(spec.name for spec in inputs), []
    if conv:
        same = Conv(kernel=np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4))
        nodes.append(Node(name="same", operation=same, inputs=names, shape=inputs[0].shape))
        names = ("same",)
    shape = operation.infer(*(spec.shape for spec in inputs))
    nodes.append(Node(name="layer", operation=operation, inputs=names, shape=shape))
    return Graph(name="one", inputs=inputs, nodes=tuple(nodes), outputs={"output": "layer"})


def compare(graph: Graph, operation: Operation, values: list[np.ndarray], run_onnx: Any, run_tflite: Any) -> None:
    wanted = compute(operation, *values)
    for found in (run_onnx(graph, values)[0], run_tflite(graph, values)[0][0]):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("conv", [False, True], ids=["nhwc", "nchw"])
@pytest.mark.parametrize("name", IMAGES)
def test_images(name, conv, run_onnx, run_tflite):
    operation = IMAGES[name]
    value = numbers(2, *IMAGE, seed=3)
    power = isinstance(operation, Binary) and operation.kind is BinaryKind.POWER
    if power or getattr(operation, "function", None) in POSITIVE:
        value = np.abs(value) + np.float32(0.1)
    compare(graph_of(operation, IMAGE, conv=conv), operation, [value], run_onnx, run_tflite)


@pytest.mark.parametrize("name", SEVERAL)
def test_tensors(name, run_onnx, run_tflite):
    operation, shapes = SEVERAL[name]
    values = [numbers(2, *shape, seed=index) + np.float32(0.01) for index, shape in enumerate(shapes)]
    if getattr(operation, "kind", None) is BinaryKind.DIVIDE:
        values[1] = np.abs(values[1]) + np.float32(0.5)
    compare(graph_of(operation, *shapes), operation, values, run_onnx, run_tflite)


def test_they_run_in_float_between_int8_convolutions(tmp_path):
    """Quantization knows none of them: the plan leaves them in float32, both int8 writers convert around them."""
    sketch = Sketch((8, 8, 4))
    sketch("first", Conv(kernel=numbers(3, 3, 4, 4), bias=numbers(4)), "in0")
    sketch("leaky", LeakyRelu(slope=numbers(4)), "first")
    sketch("larger", Resize(kind=ResizeKind.BILINEAR, size=(9, 9)), "leaky")
    sketch("spread", transposed(strides=(2, 2)), "larger")
    sketch("elu", Elementwise(function=Function.ELU), "spread")
    sketch("mean", Reduce(kind=ReduceKind.MEAN, axes=(3,), keepdims=True), "elu")
    sketch("centred", Binary(kind=BinaryKind.SUBTRACT), "elu", "mean")
    sketch("last", Conv(kernel=numbers(3, 3, 5, 6)), "centred")
    feeds = {"in0": numbers(2, 8, 8, 4, seed=9)}
    graph = sketch.graph()
    floats = {node.name: Precision.FLOAT32 for node in graph if not has_int8_form(node.operation)}
    assert len(floats) == 6, "only the convolutions have an integer form"
    plan = plan_of(graph, feeds, floats)
    wanted = emulate(plan, feeds)["last"]
    step = plan.values["last"].scale
    onnx_qdq.write(plan, tmp_path / "m.onnx", batch=2)
    tflite_int8.write(plan, tmp_path / "m.tflite", batch=2)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    lite = LitertSession.open(tmp_path / "m.tflite", options=SessionOptions(threads=1))
    for found in (session.run(None, feeds)[0], lite.execute(feeds)["output"]):
        assert np.abs(found - plan.values["last"].dequantize(wanted)).max() <= 2.01 * step


def test_a_leaky_relu_of_one_slope_between_int8_convolutions(tmp_path):
    """ONNX Runtime joins it with the conversions around it, and then wants one scale on both sides."""
    sketch = Sketch((8, 8, 4))
    sketch("first", Conv(kernel=numbers(3, 3, 4, 4), bias=numbers(4)), "in0")
    sketch("leaky", LeakyRelu(slope=np.full(1, 0.2, np.float32)), "first")
    sketch("last", Conv(kernel=numbers(3, 3, 4, 6)), "leaky")
    feeds = {"in0": numbers(2, 8, 8, 4, seed=9)}
    plan = plan_of(sketch.graph(), feeds, {"leaky": Precision.FLOAT32})
    onnx_qdq.write(plan, tmp_path / "m.onnx", batch=2)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feeds)
    wanted = plan.values["last"].dequantize(emulate(plan, feeds)["last"])
    assert np.abs(found - wanted).max() <= 2.01 * plan.values["last"].scale


def test_tflite_refuses_a_cropping_that_it_has_not(run_tflite):
    operation = transposed(strides=(2, 2), cropping=((2, 0), (0, 0)))
    with pytest.raises(UnsupportedError, match="crops a transposed convolution as SAME or VALID does, not by"):
        run_tflite(graph_of(operation, IMAGE), [numbers(1, *IMAGE)])


def test_numpy_knows_every_operation():
    known = {getattr(operations, name) for name in operations.__all__}
    concrete = {one for one in known if isinstance(one, type) and issubclass(one, Operation) and one is not Operation}
    assert concrete == set(RULES)
    assert Add in concrete
