"""A written file against the model: signature, structure, both ways of loading, and what is said of delegation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.evidence import execution
from kexport.formats.onnx import writer as onnx
from kexport.formats.tflite import delegation
from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, Dense, GlobalPool, PoolKind
from kexport.records import Preprocessing, Signature, SourceFacts
from kexport.runtimes.litert import LitertSession
from kexport.sources.prepared import Reference
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec

SHAPE = (6, 6, 3)
SPEC = ModelSpec(application="MobileNet", weights=WeightsSpec(kind="random", seed=0))
INPUTS = (Signature(name="input", shape=(None, *SHAPE), dtype="float32"),)
OUTPUTS = (Signature(name="output", shape=(None, 4), dtype="float32"),)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def graph() -> Graph:
    nodes = (
        Node(name="pool", operation=GlobalPool(kind=PoolKind.AVERAGE), inputs=("input",), shape=(None, 3)),
        Node(name="head", operation=Dense(kernel=numbers(3, 4)), inputs=("pool",), shape=(None, 4)),
        Node(name="top", operation=Activate(function=Activation.SOFTMAX), inputs=("head",), shape=(None, 4)),
    )
    inputs = (TensorSpec(name="input", shape=(None, *SHAPE)),)
    return Graph(name="small", inputs=inputs, nodes=nodes, outputs={"output": "top"})


def facts(outputs: tuple[Signature, ...] = OUTPUTS) -> SourceFacts:
    contract = Preprocessing(
        mode="raw", size=SHAPE[:2], channel_order="RGB", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3,
        resize_shorter_side=6,
    )  # fmt: skip
    return SourceFacts(
        application="MobileNet", weights="random:0", weights_sha256="0" * 64, parameters=12, inputs=INPUTS,
        outputs=outputs, ends_in_softmax=True, preprocessing=contract,
    )  # fmt: skip


def reference(rows: int = 3) -> Reference:
    images = numbers(rows, *SHAPE)
    powers = np.exp(images.mean(axis=(1, 2)) @ numbers(3, 4))
    return Reference(inputs={"input": images}, outputs={"output": powers / powers.sum(axis=1, keepdims=True)})


def run(path: Path, cell: Cell, wanted: SourceFacts | None = None):
    return execution.execute(path, cell, wanted or facts(), reference(), threads=1)


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TFLITE])
@pytest.mark.parametrize("batch", [None, 2])
def test_the_reference_s_rows_come_back(file_format, batch, tmp_path):
    """Three rows in a static batch of two: the fourth, a repetition, is left out."""
    cell, path = Cell(model=SPEC, format=file_format, batch=batch), tmp_path / "model"
    writer = {Format.ONNX: onnx.write, Format.TFLITE: tflite.write}[file_format]
    writer(graph(), path, **({} if batch is None else {"batch": batch}))
    ran = run(path, cell)
    np.testing.assert_allclose(ran.outputs["output"], reference().outputs["output"], rtol=1e-5)
    assert ran.effective.split()[0] in ("ONNX", "LiteRT", "onnxruntime")
    assert ran.notes == (() if file_format is Format.ONNX else ("XNNPACK runs 3 of 3 operators",))


def test_another_signature_is_refused_before_anything_runs(tmp_path):
    tflite.write(graph(), tmp_path / "m.tflite")
    wanted = facts((Signature(name="output", shape=(None, 5), dtype="float32"),))
    with pytest.raises(ArtifactError) as caught:
        run(tmp_path / "m.tflite", Cell(model=SPEC, format=Format.TFLITE), wanted)
    assert caught.value.message == (
        "outputs of the file are output [1, 4] float32, the model has output [1, 5] float32"
    )


def test_a_tflite_file_without_structure_is_refused(tmp_path):
    path = tmp_path / "m.tflite"
    tflite.write(graph(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"m\.tflite: not a sound TFLite file: "):
        run(path, Cell(model=SPEC, format=Format.TFLITE))


def test_a_tflite_file_must_load_without_its_delegate(tmp_path, monkeypatch):
    """Devices without XNNPACK have the built-in kernels only."""
    path, opened = tmp_path / "m.tflite", []
    tflite.write(graph(), path)
    original = LitertSession.open.__func__

    def refusing(kind, source, *, options):
        opened.append(options.device)
        if options.device == "cpu-builtin":
            raise ArtifactError(f"{source.name} does not load in LiteRT: no kernel", hint="kexport verify DIR")
        return original(kind, source, options=options)

    monkeypatch.setattr(LitertSession, "open", classmethod(refusing))
    with pytest.raises(ArtifactError) as caught:
        run(path, Cell(model=SPEC, format=Format.TFLITE))
    assert str(caught.value) == (
        "without its default delegate: m.tflite does not load in LiteRT: no kernel\nhint: kexport verify DIR"
    )
    assert opened == ["cpu-builtin"]


def test_what_the_delegate_leaves_is_named_with_a_reason(tmp_path):
    """A running sum has no kernel in XNNPACK; the converter writes it for what the native graph refuses."""
    import keras

    from kexport.formats.tflite.engines import converter as tflite_converter

    image = keras.Input(SHAPE)
    value = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, keras.ops.cumsum(value, axis=-1))
    path = tmp_path / "m.tflite"
    tflite_converter.convert(model, path)
    tflite.verify_structure(path)
    session = runtimes.open_session(runtimes.for_format(Format.TFLITE), path)
    first, *rest = session.notes()
    assert first == f"XNNPACK runs {len(session.operators) - 1} of {len(session.operators)} operators"
    assert rest == ["built-in kernels run 1 CUMSUM: XNNPACK has no such operator"]


def test_reasons_by_kind():
    operators = [("CONV_2D", True), ("SHAPE", False), ("CONV_2D", False), ("SHAPE", False), ("ERF", False)]
    assert delegation.outside(operators) == (
        "built-in kernels run 1 CONV_2D: XNNPACK has this operator, but not with this type, rank or option",
        "built-in kernels run 1 ERF: XNNPACK has no such operator",
        "built-in kernels run 2 SHAPE: it computes shapes or indices, XNNPACK computes float and quantized values",
    )
    assert delegation.outside([("CONV_2D", True)]) == ()
