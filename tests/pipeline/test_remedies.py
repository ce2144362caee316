"""What a file that was not published is told to try: something else than the command that has just failed."""

from __future__ import annotations

from typing import Any

import pytest

from kexport.options import ExportOptions
from kexport.pipeline import remedies
from kexport.pipeline.requests import cells
from kexport.sources.names import select
from kexport.specs import Boundary, Cell, Format, Kernels, ModelSpec, Scheme, WeightsSpec

MODEL = ModelSpec(application="MobileNet", weights=WeightsSpec(kind="random", seed=0))


def cell(scheme: Scheme, form: str = "onnx", **more: Any) -> Cell:
    return Cell(model=MODEL, format=Format(form), scheme=scheme, calibration="synthetic:0", **more)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (cell(Scheme.INT8), "--schemes float16"),
        (cell(Scheme.DYNAMIC), "--schemes float16"),
        (cell(Scheme.INT16X8, "tflite"), "--schemes float16"),
        (cell(Scheme.FLOAT16), "--schemes float32"),
        (cell(Scheme.FLOAT32), ""),
        (cell(Scheme.INT8, max_latency_ratio=0.8), "--schemes float32,float16"),
        (cell(Scheme.FLOAT16, max_latency_ratio=0.8), "--schemes float32"),
        (cell(Scheme.INT8, kernels=Kernels.FULL), "--schemes float16, without --kernels"),
        (
            cell(Scheme.INT8, keep_float=("conv1",), recipe="r.toml", integer_head=True),
            "--schemes float16, without --keep-float, --recipe, --integer-head",
        ),
        (cell(Scheme.INT8, "tflite", io=Boundary.INT8), "--schemes float16, without --io"),
    ],
    ids=str,
)
def test_what_loses_less(made: Cell, told: str) -> None:
    assert remedies.of_accuracy(made) == told


@pytest.mark.parametrize("form", [form for form in Format if len(form.schemes) > 1])
def test_every_format_and_engine_has_the_scheme_that_loses_less(form: Format) -> None:
    for scheme in form.schemes:
        for engine in form.engine_names:
            if not form.refusal(engine, scheme) and (told := remedies.of_accuracy(cell(scheme, form, engine=engine))):
                schemes = (Scheme(told.removeprefix("--schemes ")),)
                options = ExportOptions(formats=(form,), schemes=schemes, engine=engine, calibration="synthetic:0")
                assert len(cells(select(["MobileNet"]), options)) == 1
