"""What a graph tells of int16x8 before any plan is made is what the writer finds out from its plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexport.errors import UnsupportedError
from kexport.formats.tflite.quantized import writer
from kexport.formats.tflite.quantized.int16 import unclipped
from kexport.graph import Graph
from kexport.operations import Activate, Activation
from kexport.pipeline.int8 import compiler
from kexport.quantization.prepare import rewrites
from kexport.quantization.quantize import quantize
from kexport.specs import Boundary
from tests.formats.plans import Sketch
from tests.quantization.networks import AVERAGE, batches_of, conv, dense, feeds_of, same

CLIPPED = "int16 values cannot be clipped at"


def network(activation: Activation, *, depthwise: bool, again: bool) -> Graph:
    sketch = Sketch((8, 8, 3))
    value = sketch("first", conv(3, 4, 3, padding=same()), "in0")
    value = sketch("act", Activate(function=activation), value)
    second = conv(1, 4, 3, padding=same(), groups=4) if depthwise else conv(4, 4, 3, padding=same())
    value = sketch("second", second, value)
    if again:
        value = sketch("third", conv(4, 4), sketch("more", Activate(function=activation), value))
    sketch("head", dense(4, 3), sketch("mean", AVERAGE, value))
    return sketch.graph()


@pytest.mark.parametrize(("depthwise", "again"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    "activation",
    [Activation.RELU, Activation.RELU6, Activation.SILU, Activation.HARD_SWISH, Activation.HARD_SIGMOID],
)
def test_what_is_known_is_what_the_writer_says(
    activation: Activation, tmp_path: Path, *, depthwise: bool, again: bool
) -> None:
    graph = network(activation, depthwise=depthwise, again=again)
    known = unclipped(rewrites.rewrite(graph))
    plan = quantize(graph, batches_of(feeds_of(graph)), compiler(1))
    told = ""
    try:
        writer.write(plan, tmp_path / "n.tflite", batch=1, metadata={}, io=Boundary.FLOAT32, activations="int16")
    except UnsupportedError as error:
        told = error.message
    assert (CLIPPED in known) is (CLIPPED in told)
    stem = activation is Activation.HARD_SWISH and depthwise and not again
    clips = activation in (Activation.HARD_SWISH, Activation.HARD_SIGMOID)
    assert bool(known) is (clips and not stem), "a hard swish of a first layer stays in float32"
