"""The quantized ONNX file: integers in ORT, and the plan's numbers, with ORT's optimizations and without."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.formats.onnx import writer as float_writer
from kexport.formats.onnx.qdq import stored as onnx_stored
from kexport.formats.onnx.qdq import writer as onnx_qdq
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
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
from kexport.quantization.kernels.int8 import nearest, scales_of, with_bias
from kexport.quantization.plan import Precision, QuantPlan
from kexport.quantization.quantize import weights_only
from tests.formats.plans import emulate, plan_of

Feeds = Mapping[str, np.ndarray]
Layer = tuple[str, Operation, Sequence[str]]
INTEGER = {"QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearAveragePool", "QLinearConcat", "QGemm",
           "QLinearGlobalAveragePool", "Clip", "Pad", "NhwcMaxPool", "MaxPool"}  # fmt: skip
MOVES = {"Transpose", "Reshape", "Flatten", "Slice"}


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng([11, seed, *shape]).normal(size=shape) * scale).astype(np.float32)


def build(inputs: Mapping[str, tuple[int, ...]], layers: Sequence[Layer], *outputs: str) -> Graph:
    """Inputs by name with their shapes (without batch), layers in order; the last value is shown unless named."""
    shapes: dict[str, Any] = {name: (None, *shape) for name, shape in inputs.items()}
    specs = tuple(TensorSpec(name=name, shape=shape) for name, shape in shapes.items())
    nodes = []
    for name, operation, sources in layers:
        shapes[name] = operation.infer(*(shapes[source] for source in sources))
        nodes.append(Node(name=name, operation=operation, inputs=tuple(sources), shape=shapes[name]))
    shown = {f"output_{value}": value for value in outputs or (nodes[-1].name,)}
    return Graph(name="g", inputs=specs, nodes=tuple(nodes), outputs=shown)


def feeds_of(graph: Graph, rows: int = 2) -> dict[str, np.ndarray]:
    return {spec.name: numbers(rows, *spec.shape[1:], seed=number) for number, spec in enumerate(graph.inputs)}


def run(path: Path, feeds: Feeds, optimized: Path | None = None) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if optimized is None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def kinds(path: Path) -> Counter[str]:
    import onnx

    return Counter(node.op_type for node in onnx.load(path).graph.node)


def expected_of(plan: QuantPlan, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every value as real numbers."""
    values = emulate(plan, feeds)
    return {
        name: plan.values[name].dequantize(array) if plan.stored_int8(name) else array for name, array in values.items()
    }


@pytest.fixture
def checked(tmp_path) -> Callable[..., Counter[str]]:
    """Write a naive plan, hold both runs of ORT against numpy within one step, give ORT's operators.

    ``tolerance`` is for float values, relative to the largest.
    """

    def check(
        graph: Graph, precisions: Mapping[str, Precision] | None = None, *, tolerance: float = 2e-5, **options: Any
    ) -> Counter[str]:
        import onnx

        feeds = feeds_of(graph)
        plan = plan_of(graph, feeds, precisions)
        path, optimized = tmp_path / "m.onnx", tmp_path / "optimized.onnx"
        onnx_qdq.write(plan, path, **options)
        onnx.checker.check_model(str(path), full_check=True)
        assert {item.domain for item in onnx.load(path).opset_import} == {""}
        expected = expected_of(plan, feeds)
        for found in (run(path, feeds), run(path, feeds, optimized)):
            for public, value in graph.outputs.items():
                step = (
                    plan.values[value].scale if plan.stored_int8(value) else tolerance * np.abs(expected[value]).max()
                )
                difference = np.abs(found[public] - expected[value])
                assert difference.max() <= 1.01 * step, value
                assert (difference > 0.01 * step).mean() < 0.05 or not plan.stored_int8(value), value
        return kinds(optimized)

    return check


IMAGE = {"x": (9, 9, 6)}
TWO = {"x": (6, 6, 4), "y": (6, 6, 4)}
GATED = {"x": (6, 6, 4), "y": (1, 1, 4)}
RELU, RELU6 = Activation.RELU, Activation.RELU6
SAME = ((1, 1), (1, 1))
MAX_POOL = Pool(kind=PoolKind.MAX, size=(3, 3), strides=(2, 2), padding=((0, 1), (0, 1)))
AVERAGE_POOL = Pool(kind=PoolKind.AVERAGE, size=(3, 3), strides=(1, 1), padding=SAME)


def conv(channels: int, out: int, size: int = 3, **options: Any) -> Conv:
    return Conv(kernel=numbers(size, size, channels, out), bias=numbers(out, seed=2), **options)


def shift(number: float, channels: int = 6) -> ScaleShift:
    return ScaleShift(scale=np.ones(channels, np.float32), offset=np.full(channels, number, np.float32))


# One operation each: the inputs, the operation, and what ORT makes of it.
SINGLE: dict[str, tuple[Mapping[str, tuple[int, ...]], Operation, dict[str, int]]] = {
    "conv": (IMAGE, conv(6, 8, padding=SAME), {"QLinearConv": 1}),
    "conv without bias": (IMAGE, Conv(kernel=numbers(3, 3, 6, 8)), {"QLinearConv": 1}),
    "conv, relu": (IMAGE, conv(6, 8, strides=(2, 2), activation=RELU), {"QLinearConv": 1}),
    "conv, relu6": (IMAGE, conv(6, 8, activation=RELU6, padding=((0, 1), (0, 1))), {"QLinearConv": 1}),
    "depthwise": (IMAGE, conv(1, 6, groups=6, padding=SAME), {"QLinearConv": 1}),
    "grouped, dilated": (IMAGE, conv(3, 8, groups=2, dilation=(2, 2)), {"QLinearConv": 1}),
    "dense": ({"x": (12,)}, Dense(kernel=numbers(12, 7), bias=numbers(7), activation=RELU), {"QGemm": 1}),
    "dense on images": (IMAGE, Dense(kernel=numbers(6, 7), bias=numbers(7)), {"QLinearConv": 1}),
    "dense on rows": ({"x": (5, 6)}, Dense(kernel=numbers(6, 7)), {"QLinearConv": 1}),
    "global pool": (IMAGE, GlobalPool(kind=PoolKind.AVERAGE), {"QLinearGlobalAveragePool": 1}),
    "global pool, axes kept": (IMAGE, GlobalPool(kind=PoolKind.AVERAGE, keepdims=True),
                               {"QLinearGlobalAveragePool": 1}),
    "add": (TWO, Add(), {"QLinearAdd": 1}),
    "add, relu": (TWO, Add(activation=RELU), {"QLinearAdd": 1}),
    "multiply": (TWO, Multiply(), {"QLinearMul": 1}),
    "gate": (GATED, Multiply(), {"QLinearMul": 1}),
    "constant": (IMAGE, shift(0.5), {"QLinearAdd": 1}),
    "negative constant": (IMAGE, shift(-0.3), {"QLinearAdd": 1}),
    "sigmoid": (IMAGE, Activate(function=Activation.SIGMOID), {"QLinearSigmoid": 1}),
    "rectifier": (IMAGE, Activate(function=RELU), {"Clip": 1}),
    "max pool": (IMAGE, MAX_POOL, {"MaxPool": 1}),
    "average pool": (IMAGE, AVERAGE_POOL, {"QLinearAveragePool": 1}),
    "crop": (IMAGE, Crop(cropping=((1, 2), (0, 1))), {"Slice": 1}),
    "reshape": (IMAGE, Reshape(shape=(27, 18)), {"Reshape": 1}),
    "concat": (TWO, Concat(), {"QLinearConcat": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", SINGLE)
def test_one_operation(checked, case):
    inputs, operation, expected = SINGLE[case]
    found = checked(build(inputs, [("made", operation, tuple(inputs))]))
    assert {kind: found[kind] for kind in expected} == expected
    assert set(found) <= INTEGER | MOVES | {"QuantizeLinear", "DequantizeLinear"}
    assert found["QuantizeLinear"] == len(inputs)
    assert found["DequantizeLinear"] == 1


FLAT = Reshape(shape=(7 * 7 * 4,))
AVERAGE = Pool(kind=PoolKind.AVERAGE, size=(3, 3), strides=(2, 2))
HEAD = Dense(kernel=numbers(196, 5), bias=numbers(5))
STEM = ("stem", conv(6, 4), "x")
SIGMOID = Activate(function=Activation.SIGMOID)

# Several operations: the layers, which are not int8, and all that ORT makes of them but Q, DQ and convolutions.
CHAINS: dict[str, tuple[list[Layer], dict[str, Precision], dict[str, int]]] = {
    "shared scale, relu": (
        [("a", conv(6, 4, activation=RELU), "x"), ("b", conv(6, 4), "x"), ("both", Concat(), "ab"),
         ("end", conv(8, 4), ("both",))],
        {}, {"Clip": 1, "QLinearConcat": 1},
    ),
    "read with relu and without": (
        [STEM, ("relu", Activate(function=RELU), ("stem",)), ("a", conv(4, 4), ("relu",)),
         ("b", conv(4, 4), ("stem",)), ("end", Add(), "ab")],
        {}, {"Clip": 1, "QLinearAdd": 1},
    ),
    "twice the same": ([STEM, ("end", Multiply(), ("stem", "stem"))], {}, {"QLinearMul": 1}),
    "clip": ([STEM, ("clip", Clip(minimum=-1.0, maximum=2.0), ("stem",)), ("end", conv(4, 4), ("clip",))],
             {}, {"Clip": 1}),
    "relu6 on its own": ([STEM, ("clip", Activate(function=RELU6), ("stem",)), ("end", conv(4, 4), ("clip",))],
                         {}, {"Clip": 1}),
    "zeros around": ([STEM, ("wide", Pad(padding=((1, 2), (0, 1))), ("stem",)), ("end", conv(4, 4), ("wide",))],
                     {}, {"Pad": 1}),
    "zeros around an input": ([("wide", Pad(padding=SAME), "x"), ("end", conv(6, 4), ("wide",))], {}, {"Pad": 1}),
    "max pool": ([STEM, ("pool", MAX_POOL, ("stem",)), ("end", conv(4, 4), ("pool",))], {}, {"NhwcMaxPool": 1}),
    "average pool": ([STEM, ("pool", AVERAGE, ("stem",)), ("end", conv(4, 4, 1), ("pool",))],
                     {}, {"QLinearAveragePool": 1}),
    "crop": ([STEM, ("crop", Crop(cropping=((1, 0), (0, 2))), ("stem",)), ("end", conv(4, 4), ("crop",))],
             {}, {"Slice": 1}),
    "squeeze and excite": (
        [STEM, ("pool", GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), ("stem",)),
         ("narrow", conv(4, 8, 1, activation=RELU), ("pool",)), ("gate", SIGMOID, ("narrow",)),
         ("repeat", conv(8, 4, 1), ("gate",)), ("end", Multiply(), ("stem", "repeat"))],
        {}, {"QLinearGlobalAveragePool": 1, "QLinearSigmoid": 1, "QLinearMul": 1},
    ),
    "silu": ([STEM, ("gate", SIGMOID, ("stem",)), ("end", Multiply(), ("stem", "gate"))],
             {}, {"QLinearSigmoid": 1, "QLinearMul": 1}),
    "dense on a feature map": ([STEM, ("flat", FLAT, ("stem",)), ("end", HEAD, ("flat",))],
                               {}, {"Transpose": 1, "Flatten": 1, "QGemm": 1}),
    "float logits": ([STEM, ("flat", FLAT, ("stem",)), ("end", HEAD, ("flat",))],
                     {"end": Precision.WEIGHTS}, {"Transpose": 1, "Flatten": 1, "QGemm": 1}),
    "float in the middle": (
        [STEM, ("float", conv(4, 4, activation=RELU), ("stem",)), ("end", conv(4, 4), ("float",))],
        {"float": Precision.FLOAT32}, {"Conv": 1, "Reorder": 1, "Transpose": 2},
    ),
    "weights only": ([STEM, ("end", conv(4, 4), ("stem",))],
                     {"stem": Precision.WEIGHTS, "end": Precision.WEIGHTS}, {"Conv": 2, "Transpose": 1, "Reorder": 2}),
    "dense, weights only": (
        [STEM, ("flat", FLAT, ("stem",)), ("end", HEAD, ("flat",))],
        {"stem": Precision.FLOAT32, "flat": Precision.FLOAT32, "end": Precision.WEIGHTS},
        {"Conv": 1, "Gemm": 1, "Flatten": 1, "Transpose": 1, "Reorder": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAINS)
def test_several_operations(checked, case):
    layers, precisions, expected = CHAINS[case]
    found = checked(build(IMAGE, layers), precisions)
    del found["QuantizeLinear"], found["DequantizeLinear"], found["QLinearConv"]
    assert Counter(kind.removesuffix("Input").removesuffix("Output") for kind in found.elements()) == expected


def test_int8_all_the_way_is_converted_at_the_borders_only(checked):
    for case, (layers, precisions, _) in CHAINS.items():
        if not precisions:
            found = checked(build(IMAGE, layers))
            assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1), case


def test_one_value_is_converted_once_for_all_its_readers(checked, tmp_path):
    """``x`` and ``float`` have int8 and float readers, ``int8`` too; two of the values are outputs as well."""
    import onnx

    layers = [
        ("int8", conv(6, 6, 1), "x"),
        ("float", conv(6, 6, 1), "x"),
        ("a", Add(), ("x", "int8")),
        ("b", Add(), ("float", "int8")),
        ("c", Multiply(), ("float", "int8")),
        ("d", conv(6, 3, 1), ("int8",)),
        ("e", Concat(), ("a", "b", "c", "d")),
    ]
    graph = build(IMAGE, layers, "e", "int8", "float")
    checked(graph, dict.fromkeys("ce", Precision.FLOAT32) | {"float": Precision.FLOAT32}, tolerance=0.005)
    nodes = onnx.load(tmp_path / "m.onnx").graph.node
    quantized = [node.output[0] for node in nodes if node.op_type == "QuantizeLinear"]
    values = ["x", "int8", "float", "a", "b", "d"]
    assert sorted(quantized) == sorted([*(f"{name}:stored" for name in values), "int8:stored:nhwc"])
    made = [node.output[0] for node in nodes if node.op_type == "DequantizeLinear"]
    loaded = [name for name in made if name.endswith(":real")]
    assert sorted(loaded) == ["a:stored:real", "b:stored:real", "d:stored:real", "int8:stored:real"]


@pytest.mark.parametrize("opset", [13, 17, 22])
@pytest.mark.parametrize("case", ["squeeze and excite", "shared scale, relu", "zeros around", "weights only"])
def test_every_opset(checked, case, opset):
    layers, precisions, _ = CHAINS[case]
    checked(build(IMAGE, layers), precisions, opset=opset)


def test_a_fixed_batch(checked):
    checked(build(IMAGE, CHAINS["squeeze and excite"][0]), batch=2)


def chain(case: str) -> QuantPlan:
    layers, precisions, _ = CHAINS[case]
    graph = build(IMAGE, layers)
    return plan_of(graph, feeds_of(graph), precisions)


def test_names_and_dtypes(tmp_path):
    """Nodes keep their layers' names, conversions have none; kernels are int8 per output channel, biases int32."""
    import onnx
    from onnx import TensorProto, numpy_helper

    plan = chain("squeeze and excite")
    stated = onnx_qdq.write(plan, tmp_path / "m.onnx", metadata={"made": "by a test"})
    graph = onnx.load(tmp_path / "m.onnx").graph
    makers = {node.output[0]: node for node in graph.node}
    assert sum(stated.operations.values()) == len(makers) == len(graph.node)
    operators = {node.name: node.op_type for node in graph.node if node.name}
    assert {node.op_type for node in graph.node if not node.name} == {"QuantizeLinear", "DequantizeLinear"}
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators.values())
    assert [operators[name] for name in ("stem", "pool", "narrow", "gate", "repeat", "end")] == [
        "Conv", "GlobalAveragePool", "Conv", "Sigmoid", "Conv", "Mul",
    ]  # fmt: skip
    tensors = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    np.testing.assert_array_equal(tensors["stem:kernel:int8"], plan.kernels["stem"].numbers.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(tensors["stem:bias:int32"], plan.kernels["stem"].bias)
    np.testing.assert_array_equal(tensors["stem:kernel:scales"], plan.kernels["stem"].scales)
    _, scale, zero_point = (tensors.get(name) for name in makers["stem:stored"].input)
    assert scale == np.float32(plan.values["stem"].scale)
    assert zero_point == plan.values["stem"].zero_point + 128
    assert zero_point.dtype == np.uint8
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}


def test_two_plans_of_the_same_numbers_write_the_same_bytes(tmp_path):
    digests = set()
    for number in range(2):
        path = tmp_path / f"{number}.onnx"
        onnx_qdq.write(chain("shared scale, relu"), path, metadata={"b": "1", "a": "2"})
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_size(tmp_path):
    """Weights are stored once, in one byte each, whatever their layer computes in."""
    layers = [("a", conv(64, 512), "x"), ("b", conv(512, 256, 1), "a")]
    graph = build({"x": (4, 4, 64)}, layers)
    float_writer.write(graph, tmp_path / "float.onnx")
    for precision in (Precision.INT8, Precision.WEIGHTS):
        onnx_qdq.write(plan_of(graph, feeds_of(graph), {"a": precision, "b": precision}), tmp_path / "int8.onnx")
        assert (tmp_path / "int8.onnx").stat().st_size < 0.26 * (tmp_path / "float.onnx").stat().st_size


def test_a_bias_that_int32_cannot_hold_stays_float(checked):
    """A classifier's bias far above what its channel's scale can count to."""
    kernel = numbers(4, 3, scale=1e-9)
    layers = [("stem", conv(6, 4), "x"), ("pool", GlobalPool(kind=PoolKind.AVERAGE), ("stem",)),
              ("end", Dense(kernel=kernel, bias=np.asarray([1.0, -50.0, 3.0], np.float32)), ("pool",))]  # fmt: skip
    checked(build(IMAGE, layers), {"end": Precision.WEIGHTS})


def test_integers_outside_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(UsageError, match="io uint8: the inputs and outputs of a quantized ONNX file are float32") as e:
        onnx_qdq.write(chain("clip"), path, io="uint8")
    assert e.value.hint == "--formats tflite"
    assert not path.exists()


def test_the_file_in_memory_is_the_file_on_disk(tmp_path):
    graph = chain("clip").graph
    float_writer.write(graph, tmp_path / "m.onnx")
    assert float_writer.float_bytes(graph) == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize("opset", [13, 18, 22])
@pytest.mark.parametrize("size", [1.0, 2.0**-12], ids=["scales float16 holds", "scales below those"])
def test_constants_of_many_channels_are_computed_while_loading(tmp_path, monkeypatch, opset, size):
    """Scales of biases from those of kernels, these from float16, biases from int16: the same bits in the end."""
    plan, feeds = many_channels(size)
    onnx_qdq.write(plan, tmp_path / "computed.onnx", opset=opset)
    monkeypatch.setattr(onnx_stored, "NODE_BYTES", 1 << 30)
    onnx_qdq.write(plan, tmp_path / "written.onnx", opset=opset)
    computed, written = (constants(tmp_path / f"{name}.onnx") for name in ("computed", "written"))
    assert {name: computed[name].dtype.name for name in ("wide:kernel:scales:float16", "wide:bias:int16")} == {
        "wide:kernel:scales:float16": "float16", "wide:bias:int16": "int16",
    }  # fmt: skip
    assert not {"wide:kernel:scales", "wide:bias:scales", "wide:bias:int32", "narrow:bias:int16"} & set(computed)
    assert {"wide:kernel:scales", "wide:bias:scales", "wide:bias:int32", "narrow:bias:int32"} <= set(written)
    unit = 1.0 if size == 1.0 else onnx_stored.FINE
    real = computed["wide:kernel:scales:float16"].astype(np.float32) * np.float32(unit)
    np.testing.assert_array_equal(real, plan.kernels["wide"].scales)
    assert (tmp_path / "computed.onnx").stat().st_size < (tmp_path / "written.onnx").stat().st_size - 5 * 256
    made, ran = [], []
    for name in ("computed", "written"):
        made.append(run(tmp_path / f"{name}.onnx", feeds, tmp_path / f"{name}-run.onnx")["output_narrow"])
        ran.append(kinds(tmp_path / f"{name}-run.onnx"))
    np.testing.assert_array_equal(*made)
    assert ran[0] == ran[1]
    assert ran[0]["QLinearConv"] == 2
    assert not {"Cast", "Mul"} & set(ran[0])


def test_scales_of_weights_alone_are_float16_too(tmp_path, monkeypatch):
    """Scheme dynamic: the same numbers for a float convolution and a float dense layer."""
    layers = [
        ("wide", Conv(kernel=numbers(1, 1, 3, 256), bias=numbers(256, seed=1)), ["in"]),
        ("pool", GlobalPool(kind=PoolKind.AVERAGE), ["wide"]),
        ("end", Dense(kernel=numbers(256, 96, seed=2)), ["pool"]),
    ]
    plan = weights_only(build({"in": (6, 6, 3)}, layers))
    onnx_qdq.write(plan, tmp_path / "computed.onnx")
    monkeypatch.setattr(onnx_stored, "NODE_BYTES", 1 << 30)
    onnx_qdq.write(plan, tmp_path / "written.onnx")
    found, made = constants(tmp_path / "computed.onnx"), []
    for name in ("wide", "end"):
        half = found[f"{name}:kernel:scales:float16"]
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half.astype(np.float32).ravel(), plan.kernels[name].scales)
    for name in ("computed", "written"):
        made.append(run(tmp_path / f"{name}.onnx", feeds_of(plan.graph), tmp_path / "run.onnx")["output_end"])
        assert not {"Cast", "Mul"} & set(kinds(tmp_path / "run.onnx"))
    np.testing.assert_array_equal(*made)


def many_channels(size: float) -> tuple[QuantPlan, Feeds]:
    """256 channels with weights of this size, scales as a plan has them, and then few."""
    layers = [
        ("wide", Conv(kernel=size * numbers(1, 1, 3, 256), bias=size * numbers(256, seed=1, scale=0.1)), ["in"]),
        ("narrow", Conv(kernel=numbers(1, 1, 256, 8, seed=2), bias=numbers(8, seed=3)), ["wide"]),
    ]
    graph = build({"in": (6, 6, 3)}, layers)
    plan, wide = plan_of(graph, feeds_of(graph)), graph.producers["wide"].operation
    scales, read = scales_of(wide), plan.values["in"]
    kernel = with_bias(nearest(wide, scales), scales, wide.bias, read)
    return replace(plan, kernels={**plan.kernels, "wide": kernel}), feeds_of(graph)


def constants(path: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    return {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}


def test_scales_that_float16_does_not_hold_stay_as_they_are():
    exact = np.linspace(1024, 2047, 256, dtype=np.float32).round()
    for scales in (exact, exact * 2.0**-24, exact * 2.0**-38):
        found = onnx_stored.halves(scales)
        assert found is not None
        np.testing.assert_array_equal(found.numbers * np.float32(found.unit), scales)
    for scales in (exact * 2.0**-41, exact * 64, exact + 0.25, exact[:63], exact[:127] * 2.0**-30):
        assert onnx_stored.halves(scales) is None


def test_biases_that_int16_does_not_hold_stay_as_they_are():
    numbers_ = np.array([-(2**15), 2**15 - 1] * 64, np.int32)
    assert onnx_stored.fits_short(numbers_)
    for other in (numbers_ + 1, numbers_ - 1, numbers_[:63], numbers_.astype(np.int8)):
        assert not onnx_stored.fits_short(other)


def test_kernels_of_convolutions_have_no_zero_points(tmp_path):
    """A thousand zeros for each layer's channels; ONNX Runtime asks for those of a dense layer only."""
    plan = chain("squeeze and excite")
    onnx_qdq.write(plan, tmp_path / "m.onnx")
    assert not [name for name in constants(tmp_path / "m.onnx") if name.startswith("zeros:")]
    plan = chain("dense on a feature map")
    onnx_qdq.write(plan, tmp_path / "m.onnx")
    (zeros,) = [array for name, array in constants(tmp_path / "m.onnx").items() if name.startswith("zeros:")]
    assert zeros.dtype == np.int8
    assert not zeros.any()
