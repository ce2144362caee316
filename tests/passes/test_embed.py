"""Preprocessing inside the graph: pixels in, and the network sees what the outside path gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import UnsupportedError, UsageError
from kexport.formats.onnx import writer as onnx_writer
from kexport.formats.onnx.qdq import writer as qdq_writer
from kexport.formats.tflite import writer as tflite_writer
from kexport.formats.tflite.quantized import writer as quantized_writer
from kexport.images import pixels
from kexport.images.photographs import prepare
from kexport.operations import Clip, Conv, Dense, GlobalPool, PoolKind
from kexport.passes.embed import embedded
from kexport.quantization.embed import embedded_plan
from kexport.records import Preprocessing
from kexport.sources.scalings import SCALINGS
from tests.formats.plans import Sketch, plan_of

SIDE = 16
EVERY = np.stack([np.roll(np.arange(256), turn).reshape(SIDE, SIDE) for turn in (0, 85, 170)], -1).astype(np.uint8)[
    None
]
"""Every pixel value in every channel."""


def contract(mode: str) -> Preprocessing:
    scaling = SCALINGS[mode]
    return Preprocessing(
        mode=mode, size=(SIDE, SIDE), channel_order=scaling.channel_order, scale=scaling.scale, mean=scaling.mean,
        std=scaling.std, resize_shorter_side=SIDE,
    )  # fmt: skip


def answers(path: Path, image: np.ndarray) -> np.ndarray:
    runtime = runtimes.for_format(path.suffix[1:])
    runtime.require_sound(path)
    session = runtimes.open_session(runtime, path)
    (spec,) = session.signature[0]
    return np.asarray(session.run_real({spec.name: image})["output"])


Write = Callable[..., Any]
FORMATS = [("a.onnx", onnx_writer.write), ("a.tflite", tflite_writer.write)]


@pytest.mark.parametrize("mode", list(SCALINGS))
@pytest.mark.parametrize(("name", "write"), FORMATS, ids=["onnx", "tflite"])
def test_every_pixel_becomes_what_the_outside_path_makes_of_it(
    tmp_path: Path, name: str, write: Write, mode: str
) -> None:
    sketch = Sketch((SIDE, SIDE, 3))
    sketch("same", Clip(minimum=-1e6, maximum=1e6), "in0")
    write(embedded(sketch.graph(), contract(mode))[0], tmp_path / name)
    found, wanted = answers(tmp_path / name, EVERY), prepare(EVERY, contract(mode))
    exact = mode in ("raw", "unit", "tf")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0 if exact else 5e-7)


@pytest.mark.parametrize("mode", list(SCALINGS))
@pytest.mark.parametrize("name", ["a.onnx", "a.tflite"])
def test_int8_sees_the_same_integers(tmp_path: Path, name: str, mode: str) -> None:
    """The outputs are equal to the last bit, padding included: so are the integers that the first layer reads."""
    sketch, rng = Sketch((SIDE, SIDE, 3)), np.random.default_rng(1)
    kernel = rng.normal(0, 0.3, (3, 3, 3, 6)).astype(np.float32)
    sketch("conv", Conv(kernel=kernel, bias=np.zeros(6, np.float32), padding=((1, 1), (1, 1))), "in0")
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "conv")
    sketch("dense", Dense(kernel=rng.normal(0, 1, (6, 4)).astype(np.float32), bias=np.ones(4, np.float32)), "pool")
    given = contract(mode)
    plan = plan_of(sketch.graph(), {"in0": prepare(EVERY, given)})
    write: Write = qdq_writer.write if name.endswith("onnx") else quantized_writer.write
    write(plan, tmp_path / f"plain-{name}")
    write(embedded_plan(plan, given), tmp_path / name)
    outside = answers(tmp_path / f"plain-{name}", prepare(EVERY, given))
    np.testing.assert_array_equal(answers(tmp_path / name, EVERY), outside)


def test_pixels_that_the_network_takes_cost_nothing(tmp_path: Path) -> None:
    sketch = Sketch((SIDE, SIDE, 3))
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "in0")
    plan = plan_of(sketch.graph(), {"in0": prepare(EVERY, contract("raw"))})
    written = quantized_writer.write(embedded_plan(plan, contract("raw")), tmp_path / "a.tflite")
    assert written.operations == {"DEQUANTIZE": 1, "MEAN": 1, "QUANTIZE": 1}
    assert written.inputs[0].dtype == "uint8"


def test_pixels_back_from_values() -> None:
    for mode in SCALINGS:
        np.testing.assert_array_equal(pixels.exactly(prepare(EVERY, contract(mode)), contract(mode)), EVERY)
    loose = prepare(EVERY, contract("tf")) + np.float32(1e-4)
    np.testing.assert_array_equal(pixels.snapped(loose, contract("tf")), prepare(EVERY, contract("tf")))
    with pytest.raises(UsageError, match="no pixels after the contract"):
        pixels.exactly(loose, contract("tf"))


def test_a_graph_without_an_image_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="has 0 float32 inputs"):
        embedded(Sketch((4,)).graph(output="in0"), contract("tf"))
    with pytest.raises(UnsupportedError, match="has 2 float32 inputs"):
        embedded(Sketch((SIDE, SIDE, 3), (SIDE, SIDE, 3)).graph(output="in0"), contract("tf"))


def test_an_output_that_is_the_input_shows_the_value() -> None:
    graph, name, value = embedded(Sketch((SIDE, SIDE, 3)).graph(output="in0"), contract("caffe"))
    assert (name, graph.outputs["output"], graph.inputs[0].dtype) == ("in0", value, "uint8")
    assert [node.name for node in graph] == ["in0/reversed", "in0/whole", "in0/centred"]
    assert replace(contract("raw"), mode="own") != contract("raw")
