"""Scheme int16x8: int16 values, int8 kernels, int64 biases, by LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.errors import UnsupportedError
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.formats.tflite.quantized.int16 import wide_quantization
from kexport.formats.tflite.quantized.site import stored_as
from kexport.operations import Conv, Dense, Operation
from kexport.quantization.plan import PROBABILITY, Affine, Precision, QuantPlan
from tests.formats.plans import Sketch, compute, plan_of
from tests.formats.tflite.quantized.test_writer import BATCH, CASES, FEEDS, block_plan, run
from tests.formats.tflite.test_writer import numbers

UNKNOWN = {"clip", "clip_below"}  # MINIMUM and MAXIMUM are left out: no network of the forty has them


def real(plan: QuantPlan, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The plan with its int8 kernels and exact values."""
    values = dict(feeds)
    for node in plan.graph:
        operation = node.operation
        if isinstance(operation, (Conv, Dense)) and node.name in plan.kernels:
            operation = type(operation)(**{**vars(operation), "kernel": plan.kernels[node.name].dequantize()})
        values[node.name] = compute(operation, *(values[value] for value in node.inputs))
    return values


@pytest.mark.parametrize("name", sorted(set(CASES) - UNKNOWN))
def test_operation_in_int16(name: str, tmp_path: Path) -> None:
    operation, shapes = CASES[name]
    sketch = Sketch(*shapes)
    sketch("layer", operation, *(spec.name for spec in sketch.inputs))
    feeds = {f"in{index}": numbers(BATCH, *shape, seed=3 + index) for index, shape in enumerate(shapes)}
    plan = plan_of(sketch.graph(), feeds)
    tflite_int8.write(plan, tmp_path / "m", batch=BATCH, activations="int16")
    wanted = real(plan, feeds)["layer"]
    noise = np.mean((run(tmp_path / "m", feeds)["output"] - wanted) ** 2)
    assert 10 * np.log10(np.mean(wanted**2) / noise) > 60


def test_a_network_in_int16_is_finer_than_in_int8(tmp_path: Path) -> None:
    plan = block_plan()
    wanted = real(plan, FEEDS)["softmax"]
    noise = {}
    for activations in ("int8", "int16"):
        tflite_int8.write(plan, tmp_path / activations, batch=BATCH, activations=activations)
        noise[activations] = np.sqrt(np.mean((run(tmp_path / activations, FEEDS)["output"] - wanted) ** 2))
    assert noise["int16"] < noise["int8"] / 5


def test_scales_reach_a_step_further_than_before() -> None:
    found = wide_quantization(stored_as(Affine(scale=0.5, zero_point=-28)))
    assert found.zero_point == 0
    assert found.scales[0] * 32767 == pytest.approx(0.5 * (155 + 1))
    assert wide_quantization(stored_as(PROBABILITY)).scales == (1 / 32768,)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_clips_are_refused(name: str, tmp_path: Path) -> None:
    operation: Operation = CASES[name][0]
    sketch = Sketch((4,))
    sketch("layer", operation, "in0")
    plan = plan_of(sketch.graph(), {"in0": numbers(8, 4)}, default=Precision.INT8)
    with pytest.raises(UnsupportedError, match="int16 values cannot be clipped at") as caught:
        tflite_int8.write(plan, tmp_path / "m", activations="int16")
    assert caught.value.hint == "--schemes int8"


def test_the_border_stays_float(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="int16 activations with inputs and outputs of int8"):
        tflite_int8.write(block_plan(), tmp_path / "m", activations="int16", io="int8")
