"""The forms of a quantized ONNX file that ONNX Runtime computes fastest: the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.formats.onnx.qdq import forms
from kexport.formats.onnx.qdq import graph as onnx_qdq_graph
from kexport.formats.onnx.qdq import writer as onnx_qdq
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    GlobalPool,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)
from kexport.quantization.plan import Precision, QuantPlan
from tests.formats.plans import Sketch, emulate, plan_of

RELU, RELU6 = Activation.RELU, Activation.RELU6
SAME, AFTER = ((1, 1), (1, 1)), ((0, 1), (0, 1))
AVERAGE = GlobalPool(kind=PoolKind.AVERAGE, keepdims=True)
Layer = tuple[str, Operation, Sequence[str]]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([7, seed, *shape]).normal(size=shape).astype(np.float32)


def conv(channels: int, out: int, rows: int = 1, columns: int | None = None, **options: Any) -> Conv:
    return Conv(kernel=numbers(rows, columns or rows, channels, out), bias=numbers(out, seed=2), **options)


def depthwise(channels: int, size: int = 3) -> Conv:
    padding = ((size // 2, size // 2), (size // 2, size // 2))
    return conv(1, channels, size, groups=channels, padding=padding, activation=RELU)


def moved(channels: int) -> ScaleShift:
    return ScaleShift(scale=np.ones(channels, np.float32), offset=np.full(channels, 0.5, np.float32))


def planned(
    shape: tuple[int, ...], layers: Sequence[Layer], floats: Sequence[str] = (), **outputs: str
) -> tuple[QuantPlan, np.ndarray]:
    sketch = Sketch(shape)
    for name, operation, inputs in layers:
        sketch(name, operation, *inputs)
    image = numbers(2, *shape, seed=5)
    graph = sketch.graph(**outputs)
    return plan_of(graph, {"in0": image}, dict.fromkeys(floats, Precision.FLOAT32)), image


def run(path: Path, image: np.ndarray, optimized: Path) -> np.ndarray:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"in0": image})[0])


STEMS = {
    "stride 2, zeros after": ((12, 16, 3), conv(3, 8, 3, strides=(2, 2), padding=AFTER, activation=RELU6)),
    "stride 2, zeros around": ((12, 16, 3), conv(3, 8, 3, strides=(2, 2), padding=SAME)),
    "seven taps": ((16, 16, 3), conv(3, 8, 7, strides=(2, 2), padding=((3, 3), (3, 3)))),
    "stride 1": ((6, 8, 3), conv(3, 8, 3, padding=SAME, activation=RELU)),
    "stride 4": ((8, 16, 3), conv(3, 8, 4, strides=(4, 4))),
    "one channel": ((6, 8, 1), conv(1, 4, 5, padding=((2, 2), (2, 2)))),
    "oblong": ((9, 12, 3), conv(3, 5, 2, 3, strides=(1, 2), padding=((0, 0), (1, 0)))),
}
PLAIN_STEMS = {
    "odd width": ((9, 9, 3), conv(3, 8, 3, padding=SAME)),
    "no zeros": ((12, 16, 3), conv(3, 8, 3, strides=(2, 2))),
    "stride 3": ((12, 12, 3), conv(3, 8, 3, strides=(3, 3))),
    "four channels": ((12, 16, 4), conv(4, 8, 3, padding=SAME)),
    "dilated": ((12, 16, 3), conv(3, 8, 3, dilation=(2, 2), padding=((2, 2), (2, 2)))),
    "depthwise": ((12, 16, 3), depthwise(3)),
}
GATED: list[Layer] = [
    ("a", conv(6, 20, activation=RELU), ("in0",)), ("deep", depthwise(20, 5), ("a",)), ("pool", AVERAGE, ("deep",)),
    ("narrow", conv(20, 6, activation=RELU), ("pool",)), ("gate", conv(6, 20), ("narrow",)),
    ("unit", Activate(function=Activation.SIGMOID), ("gate",)), ("product", Multiply(), ("deep", "unit")),
    ("wide", Pad(padding=SAME), ("product",)), ("end", conv(20, 9), ("wide",)),
]  # fmt: skip
SHORTCUT: list[Layer] = [
    ("a", conv(6, 24), ("in0",)), ("deep", depthwise(24), ("a",)), ("half", moved(24), ("deep",)),
    ("sum", Add(activation=RELU), ("a", "half")),
    ("pool", Pool(kind=PoolKind.MAX, size=(2, 2), strides=(2, 2)), ("sum",)), ("end", conv(24, 9), ("pool",)),
]  # fmt: skip
START: list[Layer] = [("a", conv(6, 24), ("in0",)), ("deep", depthwise(24), ("a",))]
# What stands in the way: the layers, the float ones, and the outputs.
FIXED: dict[str, tuple[list[Layer], tuple[str, ...], dict[str, str]]] = {
    "an output": (START, (), {}),
    "a tap": ([*START, ("end", conv(24, 9), ("deep",))], (), {"tap": "deep", "output": "end"}),
    "a float reader": ([*START, ("end", conv(24, 9), ("deep",))], ("end",), {}),
    "a float maker": ([*START, ("end", conv(24, 9), ("deep",))], ("a",), {}),
    "a concat": ([*START, ("both", Concat(), ("a", "deep")), ("end", conv(48, 9), ("both",))], (), {}),
    "a reshape": ([*START, ("flat", Reshape(shape=(72, 12)), ("deep",)), ("end", Dense(kernel=numbers(12, 3)),
                  ("flat",))], (), {}),
    "the image": ([("deep", depthwise(6), ("in0",)), ("end", conv(6, 9), ("deep",))], (), {}),
    "one gate for all channels": (
        [*START, ("one", conv(24, 1), ("deep",)), ("product", Multiply(), ("deep", "one")),
         ("end", conv(24, 9), ("product",))], (), {}),
}  # fmt: skip


@pytest.fixture
def same(tmp_path, monkeypatch):
    """Write the plan in its own form and the fast one: equal bits, and the plans compute the same in numpy."""

    def check(plan: QuantPlan, image: np.ndarray) -> QuantPlan:
        fast = forms.fast(plan)
        optimized = tmp_path / "optimized.onnx"
        onnx_qdq.write(plan, tmp_path / "fast.onnx")
        with monkeypatch.context() as patch:
            patch.setattr(onnx_qdq, "fast", lambda given: given)
            onnx_qdq.write(plan, tmp_path / "plain.onnx")
        plain, found = (run(tmp_path / f"{name}.onnx", image, optimized) for name in ("plain", "fast"))
        assert len(np.unique(plain)) > 20
        np.testing.assert_array_equal(found, plain)
        one, other = emulate(plan, {"in0": image}), emulate(fast, {"in0": image})
        for name in plan.graph.producers:
            np.testing.assert_array_equal(other[name][..., : one[name].shape[-1]], one[name])
        return fast

    return check


@pytest.mark.parametrize("case", STEMS)
def test_pixels_in_fours(same, tmp_path, case):
    """The photograph's convolution reads four pixels as one, whose channels are a multiple of four."""
    import onnx

    shape, stem = STEMS[case]
    plan, image = planned(shape, [("stem", stem, ("in0",)), ("end", conv(stem.kernel.shape[3], 4), ("stem",))])
    fast = same(plan, image)
    folded = fast.graph.producers["stem:folded"].operation
    assert isinstance(folded, Conv)
    assert folded.kernel.shape[2:] == (4 * shape[2], stem.kernel.shape[3] * 4 // stem.strides[1])
    assert fast.graph.producers["stem"].shape == plan.graph.producers["stem"].shape
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert (kinds.count("QLinearConv"), kinds.count("Reshape"), kinds.count("QuantizeLinear")) == (2, 2, 1)


@pytest.mark.parametrize("case", PLAIN_STEMS)
def test_pixels_that_stay_single(same, case):
    shape, stem = PLAIN_STEMS[case]
    plan, image = planned(shape, [("stem", stem, ("in0",)), ("end", conv(stem.kernel.shape[3], 4), ("stem",))])
    assert "stem:folded" not in same(plan, image).graph.producers


@pytest.mark.parametrize("layers", [GATED, SHORTCUT], ids=["gated", "shortcut"])
def test_depthwise_channels_in_sixteens(same, layers):
    plan, image = planned((6, 6, 6), layers)
    fast = same(plan, image)
    wide = {name for name, node in fast.graph.producers.items() if node.shape != plan.graph.producers[name].shape}
    assert wide == {name for name, _, _ in layers} - {"narrow", "end"}
    assert {fast.graph.shapes[name][-1] for name in wide} == {32}


@pytest.mark.parametrize("case", FIXED)
def test_channels_that_something_else_counts_stay(same, case):
    layers, floats, outputs = FIXED[case]
    plan, image = planned((6, 6, 6), layers, floats, **outputs)
    assert dict(same(plan, image).graph.shapes) == dict(plan.graph.shapes)


def test_many_channels_and_whole_sixteens_stay():
    for channels in (32, 264):
        layers = [("a", conv(6, channels), ("in0",)), ("deep", depthwise(channels), ("a",)),
                  ("end", conv(channels, 9), ("deep",))]  # fmt: skip
        plan, _ = planned((6, 6, 6), layers)
        assert dict(forms.fast(plan).graph.shapes) == dict(plan.graph.shapes)


@pytest.mark.parametrize(("channels", "full"), [(16, True), (32, False)])
def test_one_tap_of_few_channels_is_a_full_convolution(same, channels, full):
    layers = [("a", conv(6, channels), ("in0",)), ("gate", conv(1, channels, groups=channels), ("a",)),
              ("end", conv(channels, 9), ("gate",))]  # fmt: skip
    plan, image = planned((6, 6, 6), layers)
    gate = same(plan, image).graph.producers["gate"].operation
    assert isinstance(gate, Conv)
    assert gate.groups == (1 if full else channels)


@pytest.mark.parametrize("offset", [(-1.0, -1.0, -1.0), (0.5, -0.2, 0.1)])
@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (2.0, 0.5, 1.5)])
def test_an_image_is_prepared_in_its_own_layout(tmp_path, scale, offset):
    """One constant for all pixels, or one that repeats along a row; no Transpose is left."""
    import onnx
    from onnx import numpy_helper

    prepare = ScaleShift(scale=np.asarray(scale, np.float32), offset=np.asarray(offset, np.float32))
    layers = [("prepare", prepare, ("in0",)), ("stem", conv(3, 4, 3, padding=SAME), ("prepare",)),
              ("end", conv(4, 6), ("stem",))]  # fmt: skip
    plan, image = planned((8, 8, 3), layers, ["prepare"])
    onnx_qdq.write(plan, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", image, tmp_path / "optimized.onnx")
    made = plan.values["end"]
    difference = np.abs(found - made.dequantize(emulate(plan, {"in0": image})["end"])) / made.scale
    assert difference.max() < 1.01
    assert (difference > 0.01).mean() < 0.02
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    tensors = {item.name: numpy_helper.to_array(item) for item in onnx.load(tmp_path / "m.onnx").graph.initializer}
    for label, values in (("scale", scale), ("offset", offset)):
        expected = () if len(set(values)) == 1 else (8, 3)
        if label == "offset" or set(values) != {1.0}:
            assert tensors[f"prepare:{label}"].shape == expected
    assert "BatchNormalization" not in kinds
    assert [node for node in onnx.load(tmp_path / "optimized.onnx").graph.node if node.op_type == "Transpose"] == []


@pytest.mark.parametrize(("size", "gates"), [(28, 1), (27, 0)])
def test_the_gate_of_many_pixels_is_a_row(tmp_path, monkeypatch, size, gates):
    """As many equal bits as without the row; it is made in the layout of the image, without a Transpose."""
    import onnx

    layers = [("a", conv(6, 8), ("in0",)), ("pool", AVERAGE, ("a",)), ("gate", conv(8, 8), ("pool",)),
              ("product", Multiply(), ("a", "gate")), ("end", conv(8, 9), ("product",))]  # fmt: skip
    plan, image = planned((size, size, 6), layers)
    optimized = tmp_path / "optimized.onnx"
    onnx_qdq.write(plan, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", image, optimized)
    kinds = [node.op_type for node in onnx.load(optimized).graph.node]
    assert (kinds.count("Tile"), kinds.count("QLinearMul"), kinds.count("Transpose")) == (gates, 1, 0)
    monkeypatch.setattr(onnx_qdq_graph, "MANY_PIXELS", size * size + 1)
    onnx_qdq.write(plan, tmp_path / "plain.onnx")
    np.testing.assert_array_equal(found, run(tmp_path / "plain.onnx", image, optimized))
