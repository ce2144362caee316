"""What a file that was not published is told to try: something else than the command that has just failed."""

from __future__ import annotations

from typing import Any

import pytest

from kexport import machine
from kexport.options import ExportOptions
from kexport.pipeline import remedies
from kexport.pipeline.requests import cells
from kexport.records import QuantizationRecord
from kexport.records.recipe import LayerKernels, Recipe, Rule
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


OLD = [("avx2",), ("avx2", "avx512f"), ("avx2", "avx512f", "avx512_bf16")]
NEW = [("avx2", "avx_vnni"), ("avx2", "avx512f", "avx512_vnni"), ("asimddp",), ("asimddp", "i8mm"), ()]
FULL = cell(Scheme.INT8, kernels=Kernels.FULL)
WHY = ("this CPU has no VNNI and saturates in ONNX Runtime: neighbours in a sum add up to 253, at most 128 would fit",)


def quantized(largest: int = 253, recipe: Recipe | None = None) -> QuantizationRecord:
    return QuantizationRecord(
        calibration="photos", calibration_sha256="", images=8, kind="images", fit_to_deploy=True, int8_layers=2,
        largest_pair_sums={"conv1": 120, "conv2": largest}, recipe=recipe,
    )  # fmt: skip


def told_of(made: Cell, found: QuantizationRecord | None, *, differs: bool, loses: bool) -> remedies.Remedy:
    runtime = "onnxruntime" if str(made.format) == "onnx" else "litert"
    return remedies.of(made, found, runtime=runtime, differs=differs, loses=loses)


def on(instructions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "instructions", lambda: instructions)


@pytest.mark.parametrize("instructions", OLD, ids=str)
def test_kernels_that_this_processor_saturates(instructions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    on(instructions, monkeypatch)
    told = remedies.Remedy(why=WHY, hint="--kernels portable")
    assert told_of(FULL, quantized(), differs=True, loses=False) == told
    assert told_of(FULL, quantized(), differs=False, loses=True) == told
    wide = Recipe(kernels=LayerKernels.FULL)
    made = cell(Scheme.INT8, recipe="r.toml")
    assert told_of(made, quantized(recipe=wide), differs=True, loses=False) == told
    ruled = Recipe(rules=(Rule(layer="conv2", kernels=LayerKernels.FULL),))
    found = told_of(made, quantized(recipe=ruled), differs=True, loses=False)
    assert (found.why, found.hint) == (WHY, 'kernels = "portable" in the rules of r.toml')


@pytest.mark.parametrize("instructions", NEW, ids=str)
def test_processors_that_saturate_nothing(instructions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    on(instructions, monkeypatch)
    for differs, loses in ((True, False), (False, True)):
        found = told_of(FULL, quantized(), differs=differs, loses=loses)
        assert found == remedies.Remedy(hint="--schemes float16, without --kernels")


@pytest.mark.parametrize(
    ("made", "largest"),
    [
        (cell(Scheme.INT8, "tflite", kernels=Kernels.FULL), 253),
        (cell(Scheme.INT8, kernels=Kernels.PORTABLE), 128),
        (cell(Scheme.INT8), 253),
        (FULL, 128),
    ],
    ids=str,
)
def test_what_no_processor_saturates(made: Cell, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on(OLD[0], monkeypatch)
    found = told_of(made, quantized(largest), differs=True, loses=False)
    assert found == remedies.Remedy(hint=remedies.of_accuracy(made))
    assert found.hint.startswith("--schemes float16")
    assert told_of(cell(Scheme.FLOAT32), None, differs=True, loses=True) == remedies.Remedy()


def test_a_file_that_holds_its_bounds_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on(OLD[0], monkeypatch)
    assert told_of(FULL, quantized(), differs=False, loses=False) == remedies.Remedy()
