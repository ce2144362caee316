"""``--integer-head``: the last dense layer in int8 with one scale, for runtimes that read no more of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kexport import runtimes, targets
from kexport.evidence import allowed
from kexport.formats.onnx.qdq import writer as qdq_writer
from kexport.formats.tflite.quantized import writer as tflite_writer
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Conv, Dense, GlobalPool, PoolKind
from kexport.quantization.plan import Precision, QuantPlan
from kexport.quantization.quantize import quantize
from kexport.registry import Format
from kexport.runtimes.ort_graph import GraphSession
from tests.formats.plans import Sketch

IMAGES = np.random.default_rng(1).uniform(-1, 1, (32, 12, 12, 3)).astype(np.float32)


def network() -> Graph:
    rng, sketch = np.random.default_rng(0), Sketch((12, 12, 3))
    kernel = rng.normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)
    sketch("conv", Conv(kernel=kernel, bias=np.zeros(8, np.float32), activation=Activation.RELU), "in0")
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "conv")
    dense = (rng.normal(0, 1, (8, 5)) * np.array([0.1, 1, 2, 0.5, 0.3])).astype(np.float32)
    sketch("dense", Dense(kernel=dense, bias=rng.normal(0, 0.2, 5).astype(np.float32)), "pool")
    sketch("last", Activate(function=Activation.SOFTMAX), "dense")
    return sketch.graph()


def plan(*, integer_head: bool) -> QuantPlan:
    def batches() -> Iterator[dict[str, np.ndarray]]:
        return iter([{"in0": IMAGES[start : start + 8]} for start in range(0, 32, 8)])

    return quantize(network(), batches, lambda graph: GraphSession(graph, threads=1).run, integer_head=integer_head)


def test_one_scale_and_the_same_answers(tmp_path: Path) -> None:
    wanted = GraphSession(network(), threads=1).run({"in0": IMAGES})["output"]
    usual, whole = plan(integer_head=False), plan(integer_head=True)
    assert (usual.precision("dense"), whole.precision("dense")) == (Precision.WEIGHTS, Precision.INT8)
    assert len(set(usual.kernels["dense"].scales.tolist())) > 1
    assert len(set(whole.kernels["dense"].scales.tolist())) == 1
    for name, write in (("a.onnx", qdq_writer.write), ("a.tflite", tflite_writer.write)):
        write(whole, tmp_path / name)
        session = runtimes.open_session(runtimes.for_format(name[2:]), tmp_path / name)
        np.testing.assert_allclose(session.run({"in0": IMAGES})["output"], wanted, atol=0.02)


def test_a_microcontroller_takes_it(tmp_path: Path) -> None:
    target = targets.load("microcontroller-int8").values
    assert target["integer_head"] is True
    written = tflite_writer.write(plan(integer_head=True), tmp_path / "a.tflite", io=target["io"])
    assert (written.inputs[0].dtype, written.outputs[0].dtype) == ("int8", "int8")
    allowed.check(tmp_path / "a.tflite", Format("tflite"), target["operators"], network())
