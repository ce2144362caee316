"""The scales that XNNPACK refuses: named before a file is written, and really refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.tflite import writer as tflite
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.operations import Add, Conv, Dense, GlobalPool, Multiply, Operation, PoolKind, ScaleShift
from kexport.quantization.plan import Affine, Kernel, Precision, QuantPlan
from kexport.quantization.scales.limits import CONVERSION, LINEAR, PRODUCT, SUM, Limit, constant_of, scale_limits
from kexport.runtimes import litert
from tests.formats.plans import Sketch

IMAGE = (4, 4, 4)
CONV = Conv(kernel=np.ones((1, 1, 4, 4), np.float32))
DENSE = Dense(kernel=np.ones((4, 4), np.float32))
SAME = ScaleShift(scale=np.ones(4, np.float32), offset=np.zeros(4, np.float32))
BELOW = float(np.nextafter(np.float32(1), np.float32(0)))


def plan_with(operation: Operation, ratio: float) -> QuantPlan:
    """One INT8 node whose first input's scale is ``ratio``; all other scales are 1."""
    count = 2 if isinstance(operation, (Add, Multiply)) else 1
    sketch = Sketch(*(IMAGE,) * count)
    sketch("layer", operation, *(f"in{index}" for index in range(count)))
    values = {"in0": Affine(scale=ratio), "in1": Affine(scale=1.0), "layer": Affine(scale=1.0)}
    kernels = {}
    if isinstance(operation, (Conv, Dense)):
        numbers = operation.kernel.astype(np.int8)
        kernels["layer"] = Kernel(numbers=numbers, scales=np.ones(4, np.float32), bias=np.zeros(4, np.int32))
    precisions = {"layer": Precision.INT8}
    return QuantPlan(graph=sketch.graph(), values=values, kernels=kernels, precisions=precisions)


def fully_delegated(plan: QuantPlan, path: Path) -> bool:
    tflite_int8.write(plan, path)
    taken, operators = litert.delegated(path)
    return taken == operators


INSIDE = [
    (operation, ratio)
    for operation, (low, high) in ((CONV, LINEAR), (DENSE, LINEAR), (Add(), SUM), (Multiply(), PRODUCT))
    for ratio in (max(low, 2.0**-100), high * BELOW)
] + [(SAME, CONVERSION[0]), (SAME, CONVERSION[1] * BELOW)]
OUTSIDE = [
    (CONV, LINEAR[1]),
    (DENSE, LINEAR[1]),
    *((Add(), ratio) for ratio in (SUM[0] * BELOW, SUM[1])),
    *((Multiply(), ratio) for ratio in (PRODUCT[0] * BELOW, PRODUCT[1])),
    *((SAME, ratio) for ratio in (CONVERSION[0] * BELOW, CONVERSION[1] * 1.01)),
]
FREE = GlobalPool(kind=PoolKind.AVERAGE)


@pytest.mark.parametrize(("operation", "ratio"), [*INSIDE, (FREE, 2.0**-100), (FREE, 2.0**60)])
def test_scales_inside_the_bounds_run_in_the_delegate(operation: Operation, ratio: float, tmp_path: Path) -> None:
    plan = plan_with(operation, float(np.float32(ratio)))
    assert scale_limits(plan) == ()
    assert fully_delegated(plan, tmp_path / "m.tflite")


@pytest.mark.parametrize(("operation", "ratio"), OUTSIDE)
def test_scales_outside_are_named_and_really_refused(
    operation: Operation, ratio: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(operation, float(np.float32(ratio)))
    (limit,) = scale_limits(plan)
    assert limit.node == "layer"
    assert not limit.allowed[0] <= limit.ratio < limit.allowed[1]
    with pytest.raises(UnsupportedError, match="node 'layer'"):
        tflite_int8.write(plan, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()
    monkeypatch.setattr(tflite_int8, "scale_limits", lambda _: ())
    if isinstance(operation, (Conv, Dense)):
        with pytest.raises(ArtifactError, match="failed to create XNNPACK runtime"):
            fully_delegated(plan, tmp_path / "m.tflite")
    else:
        assert not fully_delegated(plan, tmp_path / "m.tflite")


def test_the_refusal_says_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        tflite_int8.write(plan_with(CONV, 512.0), tmp_path / "m")
    assert caught.value.message == (
        "node 'layer': its largest ratio of input scale * kernel scale / output scale is 512, XNNPACK takes 0 to below "
        "256; LiteRT's default delegate would not load the file"
    )
    assert caught.value.hint == "leave the node in float32, or give it a coarser or finer scale"


def test_one_channel_out_of_bounds_is_enough() -> None:
    plan = plan_with(CONV, 1.0)
    scales = np.float32([1, 1, 300, 1])
    plan = replace(plan, kernels={"layer": replace(plan.kernels["layer"], scales=scales)})
    (limit,) = scale_limits(plan)
    what = "its largest ratio of input scale * kernel scale / output scale"
    assert limit == Limit(node="layer", what=what, ratio=300.0, allowed=LINEAR)


def test_float_nodes_have_no_bounds() -> None:
    assert scale_limits(replace(plan_with(CONV, 512.0), precisions={})) == ()


@pytest.mark.parametrize("scale", [2.0**-127, 2.0**-149])
def test_subnormal_scales_are_named(scale: float) -> None:
    assert [limit.what for limit in scale_limits(plan_with(FREE, scale))] == ["the scale of 'in0'"]
    small = replace(plan_with(CONV, 2.0**-100), kernels={"layer": tiny_kernel()})
    assert [limit.what for limit in scale_limits(small)] == ["the smallest scale of its bias"]


def tiny_kernel() -> Kernel:
    scales = np.full(4, 2.0**-40, np.float32)
    return Kernel(numbers=np.ones((1, 1, 4, 4), np.int8), scales=scales, bias=np.zeros(4, np.int32))


def test_a_subnormal_scale_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it is refused in structure checks too: the runtime does not survive it."""
    path = tmp_path / "m.tflite"
    monkeypatch.setattr(tflite_int8, "scale_limits", lambda _: ())
    with pytest.raises(tflite.ArtifactError, match=r"scale 1\.4.*e-45, expected a positive normal number"):
        tflite_int8.write(plan_with(FREE, 2.0**-149), path)
    code = f"from kexport.runtimes.litert import delegated; import pathlib; delegated(pathlib.Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    assert done.returncode < 0


@pytest.mark.parametrize(("offset", "steps"), [(3.0, 127), (-3.0, -127), (0.25, 127), (0.24, 1), (-1e-2, -1)])
def test_an_added_constant_is_exact_and_inside_the_bounds(offset: float, steps: int) -> None:
    number, scale = constant_of(offset, Affine(scale=1.0))
    assert number == steps
    assert number * scale == pytest.approx(offset, rel=1e-6)
    assert SUM[0] <= scale < SUM[1]
