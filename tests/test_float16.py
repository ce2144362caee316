"""float16 in both formats: half the file, float32 at the border, parity within its own bounds, nothing overflows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import UnsupportedError
from kexport.evidence import parity as compare
from kexport.evidence import tolerances
from kexport.formats.onnx import writer as onnx
from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.lowerings.model import lower_model
from kexport.operations import Activate, Activation, Conv, Dense
from kexport.passes import optimize
from kexport.sources import build as source
from kexport.sources import reference
from kexport.sources.prepared import Reference
from kexport.specs import Format, ModelSpec, Scheme, WeightsSpec

pytestmark = pytest.mark.slow

# Squeeze and excite with hard sigmoids, the same with silu, layer normalisation with gelu, plain convolutions,
# and the network whose random weights amplify rounding most. Sides in pixels, small to be quick.
SIDES = {"MobileNetV3Small": 128, "EfficientNetB0": 96, "ConvNeXtTiny": 64, "ResNet50": 96, "MobileNet": 128}
WRITERS = {Format.ONNX: onnx.write, Format.TFLITE: tflite.write}
LARGEST_SHARE = 0.52
"""Of the float32 file: kernels are halved, names, nodes and (in TFLite) biases are not."""
OPSETS = {"ConvNeXtTiny": (13, 16, 17, 19, 20, 22), "MobileNetV3Small": (13, 22)}
"""LayerNormalization is an operator from 17, Gelu from 20; HardSigmoid takes float16 in all."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    name: str
    graph: Graph
    reference: Reference


GATE = {"MobileNetV3Small", "MobileNet"}
"""The long run has the others too."""
PARAMS = [pytest.param(name, marks=() if name in GATE else pytest.mark.long) for name in SIDES]


@pytest.fixture(scope="module", params=PARAMS)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    import keras

    shape = (SIDES[request.param],) * 2 + (3,)
    weights = WeightsSpec(kind="random", seed=0)
    spec = ModelSpec(application=request.param, weights=weights, input_shape=shape)
    model = source.build(spec)
    facts = reference.facts(model, spec)
    yield Subject(
        name=request.param,
        graph=optimize(lower_model(model)),
        reference=reference.compute(model, reference.seeded(model, spec, facts.inputs)),
    )
    del model
    keras.utils.clear_session(free_memory=True)
    gc.collect()


def failures(subject: Subject, path: Path, file_format: Format, session: runtimes.Session | None = None) -> list[str]:
    """What parity says against the file at ``path``."""
    opened = session or runtimes.open_session(runtimes.for_format(file_format), path)
    outputs = opened.run(dict(subject.reference.inputs))
    found = compare.compare(subject.reference, outputs, activations=dict.fromkeys(outputs, "softmax"))
    bounds = tolerances.load(file_format, Scheme.FLOAT16)
    return list(compare.failures(compare.judge(found, bounds)))


@pytest.mark.parametrize("file_format", WRITERS)
def test_half_the_file_and_within_its_bounds(subject: Subject, file_format: Format, tmp_path: Path) -> None:
    sizes = {}
    for scheme in (Scheme.FLOAT32, Scheme.FLOAT16):
        path = tmp_path / scheme
        written = WRITERS[file_format](subject.graph, path, scheme=scheme)
        sizes[scheme] = path.stat().st_size
    assert {spec.dtype for spec in (*written.inputs, *written.outputs)} == {"float32"}
    assert sizes[Scheme.FLOAT16] <= LARGEST_SHARE * sizes[Scheme.FLOAT32]
    session = runtimes.open_session(runtimes.for_format(file_format), tmp_path / Scheme.FLOAT16)
    assert {spec.dtype for specs in session.signature for spec in specs} == {"float32"}
    assert failures(subject, tmp_path / Scheme.FLOAT16, file_format, session) == []


def test_every_tflite_operator_is_delegated(subject: Subject, tmp_path: Path) -> None:
    """XNNPACK folds the DEQUANTIZE of each kernel into the operator that reads it."""
    path = tmp_path / "half.tflite"
    written = tflite.write(subject.graph, path, scheme=Scheme.FLOAT16)
    kernels = {id(node.operation.kernel) for node in subject.graph if isinstance(node.operation, (Conv, Dense))}
    assert written.operations["DEQUANTIZE"] == len(kernels)
    session = runtimes.open_session(runtimes.for_format(Format.TFLITE), path)
    assert [name for name, delegated in session.operators if not delegated] == []  # type: ignore[attr-defined]


def test_onnx_weights_and_arithmetic_are_float16_up_to_the_softmax(subject: Subject, tmp_path: Path) -> None:
    import onnx as library

    path = tmp_path / "half.onnx"
    onnx.write(subject.graph, path, scheme=Scheme.FLOAT16)
    whole = library.shape_inference.infer_shapes(library.load(str(path)), strict_mode=True, data_prop=True)
    graph, half = whole.graph, library.TensorProto.FLOAT16
    floats = {item.data_type for item in graph.initializer if item.data_type != library.TensorProto.INT64}
    assert floats == {half}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    heavy = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert heavy
    assert {kinds[node.output[0]] for node in heavy} == {half}
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    assert set(casts) == {softmax.input[0], "input:float16"}, "one on the way in, one before the softmax"


def test_other_opsets_are_legal_and_within_the_bounds(subject: Subject, tmp_path: Path) -> None:
    import onnx as library

    for opset in OPSETS.get(subject.name, (13,)):
        path = tmp_path / f"half-{opset}.onnx"
        onnx.write(subject.graph, path, scheme=Scheme.FLOAT16, opset=opset)
        library.checker.check_model(str(path), full_check=True)
        assert failures(subject, path, Format.ONNX) == [], opset


@pytest.mark.parametrize("file_format", WRITERS)
def test_a_damaged_network_fails_the_float16_bounds(subject: Subject, file_format: Format, tmp_path: Path) -> None:
    """One kernel in the middle is reversed along its output channels."""
    nodes = [node for node in subject.graph if isinstance(node.operation, Conv) and not node.operation.depthwise]
    victim = nodes[len(nodes) // 2]
    reversed_kernel = np.ascontiguousarray(victim.operation.kernel[..., ::-1])
    damaged = replace(victim, operation=replace(victim.operation, kernel=reversed_kernel))
    graph = replace(subject.graph, nodes=tuple(damaged if node is victim else node for node in subject.graph))
    WRITERS[file_format](graph, tmp_path / "half", scheme=Scheme.FLOAT16)
    assert any(line.startswith("sqnr_db is ") for line in failures(subject, tmp_path / "half", file_format))


def dense(kernel: np.ndarray, bias: np.ndarray | None = None) -> Graph:
    rows, columns = kernel.shape
    head = Node(name="head", operation=Dense(kernel=kernel, bias=bias), inputs=("input",), shape=(None, columns))
    top = Node(name="top", operation=Activate(function=Activation.TANH), inputs=("head",), shape=(None, columns))
    inputs = (TensorSpec(name="input", shape=(None, rows)),)
    return Graph(name="dense", inputs=inputs, nodes=(head, top), outputs={"output": "top"})


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_onnx_refuses_weights_that_would_become_infinity(part: str, sign: int, tmp_path: Path) -> None:
    arrays = {"kernel": np.ones((3, 4), np.float32), "bias": np.ones(4, np.float32)}
    arrays[part].flat[2] = sign * 1e5
    with pytest.raises(UnsupportedError) as caught:
        onnx.write(dense(**arrays), tmp_path / "half.onnx", scheme=Scheme.FLOAT16)
    assert str(caught.value) == (
        f"the {part} of layer 'head' reaches 100000, float16 ends at 65504\nhint: --schemes float32"
    )
    assert not (tmp_path / "half.onnx").exists()
    onnx.write(dense(**arrays), tmp_path / "whole.onnx")


def test_the_largest_float16_is_written_as_it_is(tmp_path: Path) -> None:
    import onnx as library

    path = tmp_path / "half.onnx"
    onnx.write(dense(np.full((3, 4), -65504, np.float32)), path, scheme=Scheme.FLOAT16)
    (kernel,) = library.load(str(path)).graph.initializer
    np.testing.assert_array_equal(library.numpy_helper.to_array(kernel), np.full((3, 4), -65504, np.float16))
