"""The TFLite writer: every operation against numpy, the delegate, the bytes, and the converter's file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import UnsupportedError, UsageError
from kexport.formats.tflite import writer as tflite
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
    LayerNorm,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)
from kexport.runtimes import litert

IMAGE = (7, 8, 4)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def graph_of(operation: Operation, *shapes: tuple[int, ...]) -> Graph:
    inputs = tuple(TensorSpec(name=f"in{index}", shape=(None, *shape)) for index, shape in enumerate(shapes))
    names = tuple(spec.name for spec in inputs)
    shape = operation.infer(*(spec.shape for spec in inputs))
    node = Node(name="layer", operation=operation, inputs=names, shape=shape)
    return Graph(name="one", inputs=inputs, nodes=(node,), outputs={"output": "layer"})


def run(path: Path, values: list[np.ndarray], *, delegate: bool = True) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolver = OpResolverType.AUTO if delegate else plain
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    return runner(**{f"in{index}": value for index, value in enumerate(values)})["output"]


ONE, SLACK, LATE = ((1, 1), (1, 1)), ((2, 1), (0, 2)), ((0, 1), (0, 1))
CONVS = {
    "valid": Conv(kernel=numbers(3, 3, 4, 6)),
    "same": Conv(kernel=numbers(3, 3, 4, 6), bias=numbers(6), padding=ONE, activation=Activation.RELU6),
    "padded": Conv(kernel=numbers(3, 3, 4, 6), bias=numbers(6), strides=(2, 2), padding=SLACK),
    "strided": Conv(kernel=numbers(3, 2, 4, 6), strides=(2, 1), padding=ONE, activation=Activation.RELU),
    "dilated": Conv(kernel=numbers(3, 3, 4, 6), bias=numbers(6), dilation=(2, 2)),
    "grouped": Conv(kernel=numbers(3, 3, 2, 6), bias=numbers(6), groups=2),
    "pointwise": Conv(kernel=numbers(1, 1, 4, 5), strides=(2, 2)),
    "depthwise": Conv(kernel=numbers(3, 3, 1, 4), bias=numbers(4), groups=4, strides=(2, 2), padding=LATE),
    "depthwise_times_two": Conv(kernel=numbers(3, 3, 1, 8), groups=4, padding=ONE),
    "depthwise_dilated": Conv(kernel=numbers(3, 3, 1, 4), groups=4, dilation=(2, 2), padding=((2, 2), (2, 2))),
    "depthwise_one_filter": Conv(kernel=numbers(1, 1, 1, 4), groups=4, activation=Activation.RELU),
}
POOLS = {
    f"{kind}_{label}": Pool(kind=kind, size=size, strides=strides, padding=padding)
    for kind in PoolKind
    for label, size, strides, padding in (
        ("valid", (2, 2), (2, 2), ((0, 0), (0, 0))),
        ("same", (3, 3), (1, 1), ONE),
        ("padded", (3, 3), (2, 2), ONE),
        ("uneven", (3, 2), (1, 2), ((2, 1), (0, 1))),
        ("one_cell", (1, 1), (2, 2), ((0, 0), (0, 0))),
    )
}
ACTIVATIONS = (
    Activation.RELU, Activation.RELU6, Activation.SIGMOID, Activation.HARD_SIGMOID, Activation.HARD_SWISH,
    Activation.SILU, Activation.GELU, Activation.TANH, Activation.SOFTMAX,
)  # fmt: skip
CASES: dict[str, tuple[Operation, tuple[tuple[int, ...], ...]]] = {
    **{f"conv_{name}": (op, (IMAGE,)) for name, op in CONVS.items()},
    **{f"pool_{name}": (op, (IMAGE,)) for name, op in POOLS.items()},
    **{f"activation_{function}": (Activate(function=function), (IMAGE,)) for function in ACTIVATIONS},
    "softmax_of_a_row": (Activate(function=Activation.SOFTMAX), ((10,),)),
    "dense": (Dense(kernel=numbers(4, 5), bias=numbers(5), activation=Activation.RELU), ((4,),)),
    "dense_of_pixels": (Dense(kernel=numbers(4, 5)), (IMAGE,)),
    "mean": (GlobalPool(kind=PoolKind.AVERAGE), (IMAGE,)),
    "mean_kept": (GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), (IMAGE,)),
    "max": (GlobalPool(kind=PoolKind.MAX), (IMAGE,)),
    "max_kept": (GlobalPool(kind=PoolKind.MAX, keepdims=True), (IMAGE,)),
    "pad": (Pad(padding=((1, 2), (3, 0))), (IMAGE,)),
    "crop": (Crop(cropping=((1, 2), (3, 0))), (IMAGE,)),
    "add": (Add(activation=Activation.RELU), (IMAGE, IMAGE)),
    "add_three": (Add(), (IMAGE, (1, 1, 4), IMAGE)),
    "multiply": (Multiply(), (IMAGE, (1, 1, 4))),
    **{f"concat_{count}": (Concat(), (IMAGE,) * count) for count in (2, 5, 6, 11)},
    "scale_shift": (ScaleShift(scale=numbers(4), offset=numbers(4)), (IMAGE,)),
    "scale": (ScaleShift(scale=numbers(4), offset=np.zeros(4, "f4")), (IMAGE,)),
    "shift": (ScaleShift(scale=np.ones(4, "f4"), offset=numbers(4)), (IMAGE,)),
    "layer_norm": (LayerNorm(gamma=numbers(4), beta=numbers(4, seed=1), epsilon=1e-6), (IMAGE,)),
    "clip": (Clip(minimum=-0.5, maximum=0.25), (IMAGE,)),
    "clip_to_six": (Clip(minimum=0.0, maximum=6.0), (IMAGE,)),
    "reshape": (Reshape(shape=(14, 16)), (IMAGE,)),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_operation_equals_numpy_and_is_delegated(case: str, batch: int, tmp_path: Path, interpret) -> None:
    operation, shapes = CASES[case]
    values = [4 * numbers(batch, *shape, seed=index) for index, shape in enumerate(shapes)]
    path = tmp_path / "model.tflite"
    graph = graph_of(operation, *shapes)
    tflite.write(graph, path, batch=batch)
    wanted = interpret(graph, {f"in{index}": value for index, value in enumerate(values)})["output"]
    for delegate in (True, False):
        found = run(path, values, delegate=delegate)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)
    taken, total = litert.delegated(path)
    assert taken == total > 0


@pytest.mark.parametrize("operation", [CONVS["padded"], CONVS["depthwise"], Dense(kernel=numbers(4, 5))])
def test_float16_stores_kernels_as_halves_and_stays_delegated(operation: Operation, tmp_path: Path) -> None:
    path, value = tmp_path / "model.tflite", numbers(1, *IMAGE)
    written = tflite.write(graph_of(operation, IMAGE), path, scheme="float16")
    assert written.operations["DEQUANTIZE"] == 1
    taken, total = litert.delegated(path)
    assert taken == total
    exact = tmp_path / "float32.tflite"
    tflite.write(graph_of(operation, IMAGE), exact)
    difference = np.abs(run(path, [value]) - run(exact, [value])).max()
    assert 0 < difference < 0.02


def test_float16_halves_the_file_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    sizes = {}
    for scheme in ("float32", "float16"):
        tflite.write(graph_of(Dense(kernel=numbers(512, 512)), (512,)), tmp_path / scheme, scheme=scheme)
        sizes[scheme] = (tmp_path / scheme).stat().st_size
    assert sizes["float16"] < 0.51 * sizes["float32"]
    huge = graph_of(Dense(kernel=np.full((4, 5), 1e5, np.float32)), (4,))
    with pytest.raises(UnsupportedError, match=r"'layer/kernel/float16' reach 100000, float16 ends at 65504"):
        tflite.write(huge, tmp_path / "huge", scheme="float16")


def test_maximum_with_padding_after_relu_needs_one_pad(tmp_path: Path, interpret) -> None:
    pooled = Pool(kind=PoolKind.MAX, size=(3, 3), strides=(2, 2), padding=ONE)
    nodes = (
        Node(name="relu", operation=Activate(function=Activation.RELU), inputs=("in0",), shape=(None, 8, 8, 4)),
        Node(name="pool", operation=pooled, inputs=("relu",), shape=(None, 4, 4, 4)),
    )
    inputs = (TensorSpec(name="in0", shape=(None, 8, 8, 4)),)
    graph = Graph(name="two", inputs=inputs, nodes=nodes, outputs={"output": "pool"})
    written = tflite.write(graph, tmp_path / "model.tflite")
    assert written.operations == {"MAX_POOL_2D": 1, "PAD": 1, "RELU": 1}
    value = numbers(1, 8, 8, 4)
    np.testing.assert_array_equal(run(tmp_path / "model.tflite", [value]), interpret(graph, {"in0": value})["output"])


def test_signature_and_tensor_names(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "model.tflite"
    written = tflite.write(graph_of(CONVS["same"], IMAGE), path, batch=2)
    assert [(each.name, each.shape, each.dtype) for each in written.inputs] == [("in0", (2, *IMAGE), "float32")]
    assert [(each.name, each.shape) for each in written.outputs] == [("output", (2, 7, 8, 6))]
    interpreter = Interpreter(model_path=str(path))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["in0"], "outputs": ["output"]}}
    assert interpreter.get_output_details()[0]["name"] == "output"


def test_outputs_that_compute_nothing_or_share_a_value(tmp_path: Path) -> None:
    inputs = (TensorSpec(name="in0", shape=(None, 3)),)
    node = Node(name="same", operation=Concat(), inputs=("in0",), shape=(None, 3))
    graph = Graph(name="g", inputs=inputs, nodes=(node,), outputs={"output": "same"})
    tflite.write(graph, tmp_path / "model.tflite")
    value = numbers(1, 3)
    np.testing.assert_array_equal(run(tmp_path / "model.tflite", [value]), value)


def test_metadata_is_in_the_file(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    path, contract = tmp_path / "model.tflite", b'{"mode": "tf"}'
    tflite.write(graph_of(CONVS["same"], IMAGE), path, metadata={"preprocessing": contract})
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    found = [
        (entry.Name(), model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
        for entry in map(model.Metadata, range(model.MetadataLength()))
    ]
    assert found == [(b"preprocessing", contract), (b"min_runtime_version", b"1.5.0".ljust(16, b"\0"))]
    assert run(path, [numbers(1, *IMAGE)]).shape == (1, 7, 8, 6)


def test_equal_constants_are_written_once(tmp_path: Path) -> None:
    kernel = numbers(64, 64)
    inputs = (TensorSpec(name="in0", shape=(None, 64)),)
    nodes = tuple(
        Node(
            name=f"d{step}",
            operation=Dense(kernel=kernel),
            inputs=(f"d{step - 1}" if step else "in0",),
            shape=(None, 64),
        )
        for step in range(4)
    )
    graph = Graph(name="g", inputs=inputs, nodes=nodes, outputs={"output": "d3"})
    tflite.write(graph, tmp_path / "model.tflite")
    assert kernel.nbytes < (tmp_path / "model.tflite").stat().st_size < 1.5 * kernel.nbytes


def test_memory_above_the_weights_is_one_tensor(tmp_path: Path) -> None:
    import tracemalloc

    kernels = [numbers(1024, 1024, seed=seed) for seed in range(6)]
    inputs = (TensorSpec(name="in0", shape=(None, 1024)),)
    nodes = tuple(
        Node(name=f"d{i}", operation=Dense(kernel=k), inputs=(f"d{i - 1}" if i else "in0",), shape=(None, 1024))
        for i, k in enumerate(kernels)
    )
    graph = Graph(name="g", inputs=inputs, nodes=nodes, outputs={"output": "d5"})
    tflite.write(graph_of(Dense(kernel=numbers(2, 2)), (2,)), tmp_path / "warm.tflite")
    tracemalloc.start()
    tflite.write(graph, tmp_path / "model.tflite")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * kernels[0].nbytes


def test_more_than_two_gigabytes_is_refused_before_writing(tmp_path: Path) -> None:
    wide = np.broadcast_to(np.float32(1), (1 << 15, 1 << 15))  # 4 GB that take no memory
    with pytest.raises(UnsupportedError, match=r"would have 4\d+ bytes, the format ends at 2147483647"):
        tflite.write(graph_of(Dense(kernel=wide), (1 << 15,)), tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").stat().st_size == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scheme": "int9"}, UnsupportedError, "scheme 'int9' of TFLite: expected one of float32, float16"),
        ({"batch": 0}, UsageError, "batch 0: TFLite takes 1 or more"),
    ],
)
def test_wrong_requests(arguments: dict, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        tflite.write(graph_of(CONVS["same"], IMAGE), tmp_path / "model.tflite", **arguments)


def test_activation_that_cannot_be_fused_is_refused(tmp_path: Path) -> None:
    graph = graph_of(Conv(kernel=numbers(1, 1, 4, 4), activation=Activation.SILU), IMAGE)
    with pytest.raises(UnsupportedError, match="node 'layer': TFLite cannot fuse silu, only relu and relu6"):
        tflite.write(graph, tmp_path / "model.tflite")


SCRIPT = """
import hashlib, sys
from pathlib import Path
import numpy as np
from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Add, Conv, LayerNorm
r = np.random.default_rng(0)
f = lambda *s: r.normal(size=s).astype("float32")
i = TensorSpec(name="x", shape=(None, 8, 8, 4))
shape = (None, 8, 8, 64)
conv, norm = Conv(kernel=f(3, 3, 4, 64), padding=((1, 1), (1, 1))), LayerNorm(gamma=f(64), beta=f(64), epsilon=1e-5)
nodes = [
    Node(name="c", operation=conv, inputs=("x",), shape=shape),
    Node(name="n", operation=norm, inputs=("c",), shape=shape),
    Node(name="a", operation=Add(), inputs=("c", "n"), shape=shape),
]
g = Graph(name="g", inputs=(i,), nodes=tuple(nodes), outputs={"y": "a", "z": "n"})
tflite.write(g, Path(sys.argv[1]), scheme=sys.argv[2])
"""


@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_same_bytes_in_another_process_with_another_hash_seed(scheme: str, tmp_path: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.tflite"
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", SCRIPT, str(path), scheme], env=environment, check=True, timeout=120)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def hard_sigmoid_gate(*, shown: bool) -> Graph:
    shape = (None, 4, 4, 8)
    nodes = (
        Node(name="conv", operation=Conv(kernel=numbers(1, 1, 3, 8)), inputs=("in0",), shape=shape),
        Node(name="gate", operation=Activate(function=Activation.HARD_SIGMOID), inputs=("conv",), shape=shape),
    )
    inputs = (TensorSpec(name="in0", shape=(None, 4, 4, 3)),)
    outputs = {"output": "gate"} | ({"before": "conv"} if shown else {})
    return Graph(name="g", inputs=inputs, nodes=nodes, outputs=outputs)


@pytest.mark.parametrize("shown", [False, True])
def test_hard_sigmoid_moves_into_the_convolution_that_only_it_reads(shown: bool, tmp_path: Path) -> None:
    written = tflite.write(hard_sigmoid_gate(shown=shown), tmp_path / "model.tflite")
    assert written.operations == {"CONV_2D": 1, "MUL": 1} | ({"ADD": 1} if shown else {})
    value = 3 * numbers(1, 4, 4, 3)
    wanted = np.clip(value @ numbers(1, 1, 3, 8)[0, 0] + 3, 0, 6) / 6
    np.testing.assert_allclose(run(tmp_path / "model.tflite", [value]), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_native_file_equals_keras_and_the_converter(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    from kexport.lowerings.model import lower_model
    from kexport.passes import optimize

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small(
        input_shape=(96, 96, 3), weights=None, classes=10, classifier_activation=None, include_preprocessing=True
    )
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta", "bias")):
            weight.assign(0.1 * numbers(*weight.shape))
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(0.5 + np.abs(numbers(*weight.shape)))
    native, converted = tmp_path / "native.tflite", tmp_path / "converted.tflite"
    tflite.write(optimize(lower_model(model)), native)
    model.export(tmp_path / "saved", verbose=False, input_signature=[tf.TensorSpec((1, 96, 96, 3), tf.float32)])
    converted.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    image = np.random.default_rng(0).uniform(0, 255, (1, 96, 96, 3)).astype(np.float32)
    reference = np.asarray(model(image, training=False))
    assert reference.std() > 1e-3
    first, second = only_output(native, image), only_output(converted, image)
    bound = 1e-4 * np.abs(reference).max()
    assert np.abs(first - reference).max() <= bound
    assert np.abs(first - second).max() <= bound
    assert litert.delegated(native)[0] == litert.delegated(native)[1] <= litert.delegated(converted)[1]
    assert native.stat().st_size <= 1.02 * converted.stat().st_size
    tflite.verify_structure(converted)


def only_output(path: Path, image: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
