"""From options to cells, and every contradiction told before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kexport.errors import KexportError, UsageError
from kexport.pipeline.requests import ExportOptions, benchmark, cells
from kexport.sources.catalog import APPLICATIONS, select
from kexport.specs import CALIBRATED, Boundary, Cell, Engine, Format, Kernels, Scheme

ONE = select(["ResNet50"])
HDF5 = b"\x89HDF\r\n\x1a\n"


def plan(**typed: object) -> tuple[Cell, ...]:
    return cells(ONE, ExportOptions(**typed))  # type: ignore[arg-type]


def test_forty_models_in_two_formats_unless_said() -> None:
    everything = cells(APPLICATIONS, ExportOptions())
    assert len(everything) == 80
    assert {cell.format for cell in everything} == {Format.ONNX, Format.TFLITE}
    assert {(cell.batch, cell.opset, cell.engine) for cell in everything} == {(None, 18, Engine.AUTO)}
    assert len({cell.label for cell in everything}) == 80


def test_models_come_first_then_formats_then_schemes() -> None:
    made = plan(formats=(Format.ONNX, Format.TFLITE), schemes=(Scheme.FLOAT32, Scheme.FLOAT16))
    assert [cell.label for cell in made] == [
        "ResNet50 onnx float32",
        "ResNet50 onnx float16",
        "ResNet50 tflite float32",
        "ResNet50 tflite float16",
    ]


def test_a_target_sets_and_what_is_typed_wins() -> None:
    android = plan(target="android")
    assert [(cell.format, cell.scheme, cell.batch, cell.engine) for cell in android] == [
        (Format.TFLITE, Scheme.FLOAT32, 1, Engine.NATIVE),
        (Format.TFLITE, Scheme.FLOAT16, 1, Engine.NATIVE),
    ]
    typed = plan(target="android", schemes=(Scheme.FLOAT32,), batch=4, engine="tflite-converter")
    assert [(cell.scheme, cell.batch, cell.engine) for cell in typed] == [(Scheme.FLOAT32, 4, "tflite-converter")]


def test_dynamic_over_a_target_with_a_batch() -> None:
    assert [cell.batch for cell in plan(target="portable", formats=(Format.ONNX,), batch="dynamic")] == [None]


def test_every_model_option_arrives(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    path.write_bytes(HDF5)
    options = ExportOptions(
        weights=str(path), alpha=0.75, minimalistic=True, input_shape=(96, 96, 3), no_top=True, pooling="avg"
    )
    (cell,) = cells(select(["MobileNetV3Small"]), replace_formats(options))
    model = cell.model
    assert (model.alpha, model.minimalistic, model.input_shape) == (0.75, True, (96, 96, 3))
    assert (model.include_top, model.pooling, str(model.weights)) == (False, "avg", str(path))


def replace_formats(options: ExportOptions) -> ExportOptions:
    return ExportOptions(**{**options.__dict__, "formats": (Format.ONNX,)})


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"alpha": 0.5}, "ResNet50 takes no --alpha: MobileNet, MobileNetV2, MobileNetV3Small, MobileNetV3Large do"),
        ({"minimalistic": True}, "ResNet50 takes no --minimalistic: MobileNetV3Small, MobileNetV3Large do"),
        ({"input_shape": (17, 17, 3)}, "--input-shape 17,17,3: ResNet50 needs 32x32 pixels or more"),
        ({"pooling": "avg"}, "--pooling pools the features of --no-top: expected both"),
        ({"classes": 3, "no_top": True}, "--classes and --no-top: a network without classifier has no classes"),
        ({"classes": 3}, "--classes 3: the imagenet weights have 1000 classes"),
        (
            {"weights": "missing.h5"},
            "--weights 'missing.h5': there is no such file; expected imagenet, random:SEED or a file",
        ),
        ({"weights": "random:x"}, "--weights 'random:x': the seed is 'x', expected a whole number"),
        (
            {"formats": (Format.SAVEDMODEL,), "schemes": (Scheme.FLOAT16,)},
            "schemes: savedmodel cannot be float16, expected one of float32",
        ),
        ({"opset": 99}, "opset: expected 13 to 22, got 99"),
        ({"batch": "dynamic"}, 'batch: a tflite file has a fixed batch, expected a number, got "dynamic"'),
        (
            {"engine": "tf2onnx"},
            "engine: tf2onnx cannot write tflite, expected one of auto, native, tflite-converter",
        ),
        (
            {"engine": "tf2onnx", "formats": (Format.ONNX,), "schemes": (Scheme.FLOAT32, Scheme.FLOAT16)},
            "engine: tf2onnx cannot write onnx float16, expected float32",
        ),
        (
            {"engine": "tflite-converter", "formats": (Format.TFLITE,), "schemes": (Scheme.INT16X8,)},
            "engine: tflite-converter cannot write tflite int16x8, expected one of float32, float16",
        ),
        ({"target": "androit"}, "unknown target 'androit': did you mean android?"),
        ({"evaluation": "none.csv"}, "--eval 'none.csv': there is no such file or folder"),
        ({"calibration": "synthetic:x"}, "--calibration 'synthetic:x': the seed is 'x', expected a whole number"),
        ({"pooling": "sum", "no_top": True}, "pooling 'sum': expected avg or max"),
    ],
)
def test_contradictions(typed: dict[str, object], said: str) -> None:
    with pytest.raises(KexportError) as error:
        plan(**typed)
    assert error.value.message == said
    assert error.value.hint
    assert error.value.exit_code == 2


def test_a_quoted_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.weights.h5").write_bytes(HDF5)
    (cell, *_) = plan(weights="~/w.weights.h5")
    assert cell.model.weights.path == str(tmp_path / "w.weights.h5")


def test_one_weight_file_is_for_one_model(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    path.write_bytes(HDF5)
    with pytest.raises(UsageError, match="one file for 40 models, expected one model"):
        cells(APPLICATIONS, ExportOptions(weights=str(path)))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"resume": True, "force": True}, "expected one of them"),
        ({"timeout_minutes": 0.0}, "--timeout 0: expected minutes above 0"),
        ({"timeout_minutes": float("nan")}, "--timeout nan"),
        ({"jobs": 0}, "--jobs 0: expected 1 or more"),
    ],
)
def test_options_check_themselves(typed: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ExportOptions(**typed)  # type: ignore[arg-type]


INT8 = {"schemes": (Scheme.INT8,), "calibration": "synthetic:0"}


def test_bounds_hold_for_every_scheme(tmp_path: Path) -> None:
    made = plan(
        schemes=(Scheme.FLOAT32, Scheme.INT8), calibration="synthetic:0", evaluation=str(tmp_path), max_drop=0.5
    )
    assert {cell.scheme: cell.max_drop for cell in made} == {Scheme.FLOAT32: 0.5, Scheme.INT8: 0.5}
    made = plan(schemes=(Scheme.FLOAT32, Scheme.FLOAT16), evaluation=str(tmp_path), min_agreement=0.97)
    assert {cell.scheme: cell.min_agreement for cell in made} == {Scheme.FLOAT32: 0.97, Scheme.FLOAT16: 0.97}
    made = plan(schemes=(Scheme.FLOAT32, Scheme.DYNAMIC), bench=True, max_latency_ratio=0.8, max_size="30 MiB")
    assert {cell.scheme: cell.max_latency_ratio for cell in made} == {Scheme.FLOAT32: None, Scheme.DYNAMIC: 0.8}
    assert {cell.max_size for cell in made} == {"30 MiB"}


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        (
            {**INT8, "max_drop": -5.0},
            "--max-drop -5: expected 0 or more; a drop below 0 is a gain, which no quantization can promise",
            "--max-drop 0.5",
        ),
        (
            {**INT8, "max_drop": float("nan")},
            "--max-drop nan: expected 0 to 100; points are shares of 100 images",
            "--max-drop 0.5",
        ),
        (
            {**INT8, "max_drop": 100.5},
            "--max-drop 100.5: expected 100 or less; points are shares of 100 images",
            "--max-drop 0.5",
        ),
        (
            {**INT8, "max_drop": float("inf")},
            "--max-drop inf: expected 100 or less; points are shares of 100 images",
            "--max-drop 0.5",
        ),
        (
            {"max_drop": 0.5},
            "--max-drop 0.5: expected --eval as well, labelled photographs to measure the drop on",
            "--eval photos",
        ),
        (
            {**INT8, "max_drop": 0.5},
            "--max-drop 0.5: expected --eval as well, labelled photographs to measure the drop on",
            "--eval photos",
        ),
        (
            {"min_agreement": 97.0},
            "--min-agreement 97: expected a share, 0 to 1; 97 of 100 images are 0.97",
            "--min-agreement 0.97",
        ),
        (
            {"min_agreement": float("nan")},
            "--min-agreement nan: expected a share, 0 to 1",
            "--min-agreement 0.97",
        ),
        (
            {"max_latency_ratio": 0.8, "schemes": (Scheme.FLOAT32, Scheme.FLOAT16)},
            "--max-latency-ratio 0.8: expected --bench as well, which measures latency",
            "--bench --max-latency-ratio 0.8",
        ),
        (
            {"max_latency_ratio": 0.8, "bench": True},
            ("--max-latency-ratio 0.8 with float32: expected float32, which is the measure, and another scheme"),
            "--schemes float32,int8",
        ),
        (
            {"max_latency_ratio": 0.8, "bench": True, "schemes": (Scheme.FLOAT16, Scheme.DYNAMIC)},
            (
                "--max-latency-ratio 0.8 with float16, dynamic: expected float32, which is the measure, and another "
                "scheme"
            ),
            "--schemes float32,int8",
        ),
        (
            {"max_latency_ratio": -1.0},
            "--max-latency-ratio -1: expected a number above 0; 0.8 is a fifth faster than float32",
            "--max-latency-ratio 1",
        ),
        (
            {"min_agreement": 0.97},
            "--min-agreement 0.97: expected --eval as well, photographs to decide on",
            "--eval photos",
        ),
    ],
)
def test_bounds_that_nothing_could_be_held_to(typed: dict[str, object], said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(**typed)
    assert (caught.value.message, caught.value.hint) == (said, hint)


def test_bench_threads_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kexport.machine.cores", lambda: 2)
    asked = ExportOptions(bench=True, bench_threads=3)
    with pytest.raises(UsageError, match="--bench-threads 3: expected 1 to 2, the usable cores here"):
        benchmark(asked)
    found = benchmark(replace(asked, bench_threads=1))
    assert found is not None
    assert found.threads == 1


RECIPE = 'description = "wide"\nkernels = "full"\n'
OF_INT8 = {
    "--keep-float conv1": ({"keep_float": ("conv1",)}, "all layers of which are quantized unless said"),
    "--recipe r.toml": ({"recipe": "r.toml"}, "all layers of which are quantized unless said"),
    "--kernels full": ({"kernels": Kernels.FULL}, "whose kernels have such a range"),
    "--kernels portable": ({"kernels": Kernels.PORTABLE}, "whose kernels have such a range"),
    "--integer-head": ({"integer_head": True}, "whose last dense layer it is about"),
}


@pytest.fixture
def recipe_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("recipe_here")
@pytest.mark.parametrize("said", OF_INT8)
@pytest.mark.parametrize(
    ("more", "schemes"),
    [
        ({}, "float32"),
        ({"schemes": (Scheme.FLOAT16, Scheme.DYNAMIC)}, "float16, dynamic"),
        ({"target": ("android", "portable")}, "float32, float16"),
    ],
)
def test_what_is_said_of_int8_is_refused_alike_where_there_is_none(
    said: str, more: dict[str, object], schemes: str
) -> None:
    typed, why = OF_INT8[said]
    with pytest.raises(UsageError) as caught:
        plan(**typed, **more)
    assert caught.value.message == f"{said} with {schemes}: expected scheme int8, {why}"
    assert caught.value.hint == "--schemes int8"


@pytest.mark.usefixtures("recipe_here")
@pytest.mark.parametrize("said", OF_INT8)
@pytest.mark.parametrize(
    "more",
    [
        {"schemes": (Scheme.FLOAT32, Scheme.INT8, Scheme.FLOAT16)},
        {"schemes": ("auto",), "calibration": "synthetic:0"},
        {"formats": (Format.TFLITE,), "schemes": (Scheme.INT16X8,)},
        {"target": ("android-int8",)},
        {"target": ("portable", "server-cpu-int8")},
        {"target": ("microcontroller-int8",), "schemes": (Scheme.FLOAT32, Scheme.INT8)},
    ],
)
def test_what_is_said_of_int8_goes_to_the_int8_files_alone(said: str, more: dict[str, object]) -> None:
    typed, _ = OF_INT8[said]
    ((name, value),) = typed.items()
    made = plan(**typed, **({"calibration": "synthetic:0"} | more))
    for cell in made:
        assert (getattr(cell, name) == value) is (cell.scheme in CALIBRATED)
    assert any(cell.scheme in CALIBRATED for cell in made)


@pytest.mark.parametrize("said", ["--kernels full", "--integer-head", "--keep-float conv1"])
def test_schemes_that_are_chosen_lack_int8_for_want_of_images(said: str) -> None:
    typed, _ = OF_INT8[said]
    with pytest.raises(UsageError, match=f"{said} with float32, float16, dynamic: expected scheme int8") as caught:
        plan(schemes=("auto",), **typed)
    assert caught.value.hint == "--schemes auto --calibration photos"


@pytest.mark.parametrize("targets", [("android",), ("android", "portable"), ()])
def test_integer_inputs_where_no_file_has_them(targets: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--io int8: only TFLite files of scheme int8 have integer inputs") as caught:
        plan(io=Boundary.INT8, target=targets)
    assert caught.value.hint == "--formats tflite --schemes int8"


def test_integer_inputs_of_one_target_among_others() -> None:
    made = plan(io=Boundary.INT8, target=("portable", "microcontroller-int8"), calibration="synthetic:0")
    assert {cell.io for cell in made if cell.scheme is Scheme.INT8} == {Boundary.INT8}
    assert {cell.io for cell in made if cell.scheme is not Scheme.INT8} == {Boundary.FLOAT32}
