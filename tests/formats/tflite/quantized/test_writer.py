"""The quantized TFLite writer: every INT8 operation against the plan's own arithmetic, the delegate, the borders."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import UnsupportedError
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.formats.tflite.quantized.writer import Arithmetic
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
    PoolKind,
    Reshape,
    ScaleShift,
)
from kexport.quantization.plan import PROBABILITY, Affine, Precision, QuantPlan
from kexport.runtimes import litert
from tests.formats.plans import Sketch, emulate, plan_of, unrounded
from tests.formats.tflite.test_writer import CONVS, IMAGE, POOLS, numbers

BATCH = 2


def shift(offset: float, channels: int = 4) -> ScaleShift:
    return ScaleShift(scale=np.ones(channels, np.float32), offset=np.full(channels, offset, np.float32))


def run(path: Path, feeds: dict[str, np.ndarray], *, delegate: bool = True) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolver = OpResolverType.AUTO if delegate else plain
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(**feeds)


def one(operation: Operation, *shapes: tuple[int, ...]) -> tuple[QuantPlan, dict[str, np.ndarray]]:
    """A plan of one node, and inputs for it, int8."""
    sketch = Sketch(*shapes)
    sketch("layer", operation, *(spec.name for spec in sketch.inputs))
    feeds = {f"in{index}": numbers(BATCH, *shape, seed=3 + index) for index, shape in enumerate(shapes)}
    plan = plan_of(sketch.graph(), feeds, largest=127)
    return plan, {name: plan.values[name].quantize(value) for name, value in feeds.items()}


CASES: dict[str, tuple[Operation, tuple[tuple[int, ...], ...]]] = {
    **{f"conv_{name}": (operation, (IMAGE,)) for name, operation in CONVS.items()},
    **{f"pool_{name}": (operation, (IMAGE,)) for name, operation in POOLS.items()},
    "dense": (Dense(kernel=numbers(4, 50), bias=numbers(50), activation=Activation.RELU), ((4,),)),
    "dense_of_an_image": (Dense(kernel=numbers(4, 5), activation=Activation.RELU6), (IMAGE,)),
    "add": (Add(), (IMAGE, IMAGE)),
    "add_relu": (Add(activation=Activation.RELU), (IMAGE, IMAGE)),
    "add_broadcast": (Add(), (IMAGE, (1, 1, 4))),
    "multiply": (Multiply(), (IMAGE, IMAGE)),
    "multiply_broadcast": (Multiply(), (IMAGE, (1, 1, 4))),
    "shift": (shift(3.0), (IMAGE,)),
    "shift_back": (shift(-0.75), (IMAGE,)),
    "shift_a_little": (shift(1e-3), (IMAGE,)),
    "concat": (Concat(), (IMAGE, IMAGE)),
    "concat_of_seven": (Concat(), (IMAGE,) * 7),
    "global_average": (GlobalPool(kind=PoolKind.AVERAGE), (IMAGE,)),
    "global_average_image": (GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), (IMAGE,)),
    "pad": (Pad(padding=((1, 2), (3, 0))), (IMAGE,)),
    "crop": (Crop(cropping=((1, 0), (0, 2))), (IMAGE,)),
    "reshape": (Reshape(shape=(56, 4)), (IMAGE,)),
    "sigmoid": (Activate(function=Activation.SIGMOID), (IMAGE,)),
    "relu": (Activate(function=Activation.RELU), (IMAGE,)),
    "relu6": (Activate(function=Activation.RELU6), (IMAGE,)),
    "clip": (Clip(minimum=-0.5, maximum=1.25), (IMAGE,)),
    "clip_below": (Clip(minimum=-0.5, maximum=np.inf), (IMAGE,)),
}
EXACT = 1e-5
FIXED_POINT = {"global_average": 0.26, "global_average_image": 0.26, "pool_average_valid": 0.26}


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "built-in"])
@pytest.mark.parametrize("name", CASES)
def test_operation_computes_what_the_plan_says(name: str, delegate: bool, tmp_path: Path) -> None:
    """XNNPACK rounds the exact number; the built-in kernels use fixed-point factors, averages round twice."""
    operation, shapes = CASES[name]
    plan, feeds = one(operation, *shapes)
    path = tmp_path / "m.tflite"
    tflite_int8.write(plan, path, batch=BATCH, io="int8")
    found = run(path, feeds, delegate=delegate)["output"]
    exact = unrounded(plan, "layer", feeds)
    assert found.dtype == np.int8
    assert len(np.unique(np.rint(exact))) > 7, "too few numbers to see an error"
    assert np.abs(found - exact).max() <= 0.5 + (EXACT if delegate else FIXED_POINT.get(name, 0.01))
    if delegate:
        taken, operators = litert.delegated(path)
        assert taken == operators


def hard_swish_block() -> Sketch:
    """A part of MobileNetV3 as it is planned: hard swish is an addition that saturates and a product."""
    sketch = Sketch((8, 8, 4))
    wide = sketch("wide", Conv(kernel=numbers(1, 1, 4, 16), bias=numbers(16)), "in0")
    gate = sketch("gate", Clip(minimum=0.0, maximum=6.0), sketch("moved", shift(3.0, 16), wide))
    swish = sketch("swish", Multiply(), wide, gate)
    deep = sketch("deep", Conv(kernel=numbers(3, 3, 1, 16), groups=16, padding=((1, 1), (1, 1))), swish)
    mean = sketch("mean", GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), deep)
    few = sketch("few", Conv(kernel=numbers(1, 1, 16, 4) / 20, activation=Activation.RELU), mean)
    excite = sketch(
        "excite", Activate(function=Activation.SIGMOID), sketch("many", Conv(kernel=numbers(1, 1, 4, 16)), few)
    )
    scaled = sketch("scaled", Multiply(), deep, excite)
    narrow = sketch("narrow", Conv(kernel=numbers(1, 1, 16, 4)), scaled)
    summed = sketch("summed", Add(), narrow, "in0")
    pooled = sketch("pooled", GlobalPool(kind=PoolKind.AVERAGE), summed)
    sketch(
        "softmax", Activate(function=Activation.SOFTMAX), sketch("logits", Dense(kernel=numbers(4, 10) / 50), pooled)
    )
    return sketch


MIXED = {"logits": Precision.WEIGHTS, "softmax": Precision.FLOAT32}
FEEDS = {"in0": numbers(BATCH, 8, 8, 4)}


def block_plan(**precisions: Precision) -> QuantPlan:
    plan = plan_of(hard_swish_block().graph(), FEEDS, MIXED | precisions)
    saturating = dict.fromkeys(("moved", "gate"), Affine(scale=float(np.float32(6 / 255)), zero_point=-128))
    return replace(plan, values={**plan.values, **saturating})


def test_a_block_of_mobilenet_v3_runs_inside_the_delegate(tmp_path: Path) -> None:
    plan, path = block_plan(), tmp_path / "m.tflite"
    written = tflite_int8.write(plan, path, batch=BATCH)
    taken, operators = litert.delegated(path)
    assert taken == operators
    assert written.operations == {
        "ADD": 2, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 1, "DEQUANTIZE": 2, "FULLY_CONNECTED": 1, "LOGISTIC": 1, "MEAN": 2,
        "MUL": 2, "QUANTIZE": 1, "SOFTMAX": 1,
    }  # fmt: skip
    wanted = emulate(plan, FEEDS)["softmax"]
    assert np.ptp(wanted) > 0.1, "a constant softmax proves nothing"
    np.testing.assert_allclose(run(path, FEEDS)["output"], wanted, atol=1e-6)  # every int8 number is the plan's
    np.testing.assert_allclose(run(path, FEEDS, delegate=False)["output"], wanted, atol=5e-3)


@pytest.mark.parametrize("name", [node.name for node in hard_swish_block().nodes if node.name not in MIXED])
def test_any_node_can_stay_in_float(name: str, tmp_path: Path) -> None:
    plan, path = block_plan(**{name: Precision.FLOAT32}), tmp_path / "m.tflite"
    tflite_int8.write(plan, path, batch=BATCH)
    taken, operators = litert.delegated(path)
    assert taken == operators
    np.testing.assert_allclose(run(path, FEEDS)["output"], emulate(plan, FEEDS)["softmax"], atol=1e-6)


def test_a_value_is_converted_once_for_all_its_readers(tmp_path: Path) -> None:
    sketch = Sketch(IMAGE)
    value = sketch("value", Conv(kernel=numbers(1, 1, 4, 4)), "in0")
    sketch("first", Activate(function=Activation.TANH), value)
    sketch("second", Activate(function=Activation.GELU), value)
    sketch("third", Conv(kernel=numbers(3, 3, 4, 4)), value)
    sketch("fourth", Conv(kernel=numbers(2, 2, 4, 4)), "in0")
    feeds = {"in0": numbers(BATCH, *IMAGE)}
    graph = sketch.graph(a="first", b="second", c="third", d="fourth", e="value")
    plan = plan_of(graph, feeds, {"first": Precision.FLOAT32, "second": Precision.FLOAT32})
    written = tflite_int8.write(plan, tmp_path / "m", batch=BATCH)
    assert written.operations["QUANTIZE"] == 1
    assert written.operations["DEQUANTIZE"] == 3  # "value" is an output as well as read by two
    found, wanted = run(tmp_path / "m", feeds), emulate(plan, feeds)
    for public, value in graph.outputs.items():
        exact = wanted[value] if wanted[value].dtype != np.int8 else plan.values[value].dequantize(wanted[value])
        np.testing.assert_allclose(found[public], exact, atol=1.01 * plan.values[value].scale)


@pytest.mark.parametrize("io", ["float32", "int8", "uint8"])
def test_inputs_and_outputs_have_the_type_that_was_asked_for(io: str, tmp_path: Path) -> None:
    plan, path = block_plan(), tmp_path / "m.tflite"
    written = tflite_int8.write(plan, path, batch=BATCH, io=io)
    assert [each.dtype for each in (*written.inputs, *written.outputs)] == [io, io]
    if io == "float32":
        assert written.notes == ()
    else:
        assert (
            written.notes[1] == f"output 'output' is {io}: real = 0.00390625 * (stored - {-128 if io == 'int8' else 0})"
        )
    offset = 128 if io == "uint8" else 0
    source, made = plan.values["in0"], PROBABILITY
    feeds = dict(FEEDS)
    if io != "float32":
        feeds = {"in0": (source.quantize(FEEDS["in0"]).astype(int) + offset).astype(io)}
    found = run(path, feeds)["output"]
    assert found.dtype == io
    real = found if io == "float32" else (found.astype(float) - offset - made.zero_point) * made.scale
    np.testing.assert_allclose(real, emulate(plan, FEEDS)["softmax"], atol=1 / 256)
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_input_details()[0]["quantization"]
    assert details == ((0.0, 0) if io == "float32" else (pytest.approx(source.scale), source.zero_point + offset))


def test_an_integer_border_needs_a_scale(tmp_path: Path) -> None:
    plan = block_plan()
    plan = replace(plan, precisions={"logits": Precision.WEIGHTS}, values={})
    with pytest.raises(UnsupportedError) as caught:
        tflite_int8.write(plan, tmp_path / "m", io="int8")
    assert str(caught.value).startswith("value 'in0' of sketch has no scale, an int8 file needs one at its border")


def test_a_first_node_in_float_reads_the_integers_of_the_input(tmp_path: Path) -> None:
    sketch = Sketch(IMAGE)
    scale = ScaleShift(scale=np.full(4, 1 / 127.5, np.float32), offset=np.full(4, -1, np.float32))
    sketch("layer", Conv(kernel=numbers(1, 1, 4, 4)), sketch("scaled", scale, "in0"))
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, *IMAGE)).astype(np.uint8)
    feeds = {"in0": pixels.astype(np.float32)}
    plan = plan_of(sketch.graph(), feeds, {"scaled": Precision.FLOAT32})
    plan = replace(plan, values={**plan.values, "in0": Affine(scale=1.0, zero_point=-128)})
    tflite_int8.write(plan, tmp_path / "m", batch=BATCH, io="uint8")
    found = run(tmp_path / "m", {"in0": pixels})["output"].astype(int) - 128
    assert np.abs(found - emulate(plan, feeds)["layer"]).max() <= 1


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_int8_kernels_with_float_values(arithmetic: Arithmetic, tmp_path: Path) -> None:
    """Unpacked kernels compute what the plan says; inputs quantized at run time lose about 50 dB."""
    sketch = Sketch((8, 8, 4))
    wide = sketch("wide", Conv(kernel=numbers(3, 3, 4, 16), bias=numbers(16), activation=Activation.RELU), "in0")
    deep = sketch("deep", Conv(kernel=numbers(3, 3, 1, 16), groups=16), wide)
    half = sketch("half", Conv(kernel=numbers(1, 1, 8, 16), groups=2), deep)
    pooled = sketch("pooled", GlobalPool(kind=PoolKind.AVERAGE), half)
    sketch("logits", Dense(kernel=numbers(16, 10), bias=numbers(10)), pooled)
    linear = dict.fromkeys(("wide", "deep", "half", "logits"), Precision.WEIGHTS)
    plan = plan_of(sketch.graph(), FEEDS, linear, Precision.FLOAT32)
    written = tflite_int8.write(plan, tmp_path / "m", batch=BATCH, arithmetic=arithmetic)
    assert written.operations["DEQUANTIZE"] == (4 if arithmetic is Arithmetic.FLOAT32 else 2)
    taken, operators = litert.delegated(tmp_path / "m")
    assert taken == operators
    found, wanted = run(tmp_path / "m", FEEDS)["output"], emulate(plan, FEEDS)["logits"]
    noise = 10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2))
    assert noise > (100 if arithmetic is Arithmetic.FLOAT32 else 30)


def test_the_same_plan_gives_the_same_bytes_and_each_kernel_is_stored_once(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        tflite_int8.write(block_plan(), tmp_path / name, metadata={"labels": b"cat"})
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    data, plan = (tmp_path / "a").read_bytes(), block_plan()
    for node, kernel in plan.kernels.items():
        depthwise = node == "deep"
        stored = kernel.numbers if depthwise else np.moveaxis(kernel.numbers, -1, 0)
        assert data.count(np.ascontiguousarray(stored).tobytes()) == 1
    assert len(data) < 12_000


def test_an_input_that_is_an_output_is_copied(tmp_path: Path) -> None:
    sketch = Sketch(IMAGE)
    sketch("layer", Activate(function=Activation.SIGMOID), "in0")
    feeds = {"in0": numbers(1, *IMAGE)}
    plan = plan_of(sketch.graph(same="in0", other="layer"), feeds)
    tflite_int8.write(plan, tmp_path / "m", io="int8")
    stored = plan.values["in0"].quantize(feeds["in0"])
    np.testing.assert_array_equal(run(tmp_path / "m", {"in0": stored})["same"], stored)
