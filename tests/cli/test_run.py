"""``export``, ``all``, ``parity``, ``bench``, ``report`` and ``verify`` around a recorded pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kexport.records import Record, Status, encode
from kexport.specs import Cell, Engine, Format, Scheme
from tests.cli.conftest import Outcome, Recorded, passed

Call = Callable[..., Outcome]


def failed(cell: Cell, *, code: int = 1, status: Status = Status.FAIL) -> Record:
    return Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        status=status,
        reason="logits differ by 0.3, bound 0.001",
        hint="look at it",
        reproduce="kexport export ResNet50 --formats onnx",
        exit_code=code,
    )


def test_every_option_reaches_the_pipeline(call: Call, recorded: Recorded) -> None:
    typed = (
        "export MobileNet VGG16 --formats onnx --schemes float16,float32 --weights random:7 --input-shape 96,128,3 "
        "--batch 4 --opset 17 --engine native --jobs 3 --resume --bench --timeout 2 -o out/models"
    )
    assert call(*typed.split()).code == 0
    (request,) = recorded.requests
    assert (request.directory, request.jobs, request.resume, request.force) == (Path("out/models"), 3, True, False)
    assert (request.bench is not None, request.timeout_seconds) == (True, 120.0)
    assert [(cell.model.name, cell.scheme) for cell in request.cells] == [
        ("MobileNet-96x128", Scheme.FLOAT16),
        ("MobileNet-96x128", Scheme.FLOAT32),
        ("VGG16-96x128", Scheme.FLOAT16),
        ("VGG16-96x128", Scheme.FLOAT32),
    ]
    first = request.cells[0]
    assert (first.batch, first.opset, first.engine, first.format) == (4, 17, Engine.NATIVE, Format.ONNX)
    assert (str(first.model.weights), first.model.input_shape) == ("random:7", (96, 128, 3))


@pytest.mark.parametrize(
    ("more", "times"), [((), 1), (("--resume",), 0), (("--isolate",), 0), (("--cluster", "tcp://127.0.0.1:1"), 0)]
)
def test_keras_starts_before_the_run_where_it_will_be_needed(
    call: Call, recorded: Recorded, more: tuple[str, ...], times: int
) -> None:
    assert call("export", "ResNet50", *more).code == 0
    assert (recorded.ahead, len(recorded.requests)) == (times, 1)


def test_all_is_forty(call: Call, recorded: Recorded) -> None:
    assert call("all", "--formats", "onnx").code == 0
    assert len(recorded.requests[0].cells) == 40
    assert recorded.requests[0].jobs is None


def test_success_is_told(call: Call, recorded: Recorded) -> None:
    ended = call("export", "ResNet50", "-o", "out")
    assert ended.out == "table of 2\n"
    lines = ended.err.splitlines()
    assert lines[0] == "[0/2] ResNet50 onnx float32: parity  1.0 s, 1024 MiB"
    assert lines[3] == "[2/2] ResNet50 tflite float32: PASS  1.0 s, 1024 MiB"
    assert lines[4] == "2 cells: 2 PASS"
    assert lines[5].startswith("peak memory of any process: 3.00 GiB · wall time: ")
    assert lines[6:] == ["records: out/<Model>/*.json; what to type next:", "kexport report out"]


def test_failure_is_told_with_its_command(call: Call, recorded: Recorded) -> None:
    recorded.answer = lambda cell: failed(cell) if cell.format is Format.ONNX else passed(cell)
    ended = call("export", "ResNet50")
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[4:7] == [
        "2 cells: 1 PASS, 1 FAIL",
        "  FAIL ResNet50 onnx float32: logits differ by 0.3, bound 0.001 -- kexport export ResNet50 --formats onnx",
        "    hint: look at it",
    ]


@pytest.mark.parametrize(("codes", "code"), [((3, 3), 3), ((3, 1), 1), ((2, 2), 2), ((1, 1), 1)])
def test_failures_that_agree_give_their_code(call: Call, recorded: Recorded, codes: tuple[int, int], code: int) -> None:
    by_format = dict(zip((Format.ONNX, Format.TFLITE), codes, strict=True))
    recorded.answer = lambda cell: failed(cell, code=by_format[cell.format], status=Status.ERROR)
    assert call("export", "ResNet50").code == code


def test_unsupported_is_a_failure(call: Call, recorded: Recorded) -> None:
    recorded.answer = lambda cell: failed(cell, status=Status.UNSUPPORTED)
    assert call("export", "ResNet50").code == 1


def test_json_on_stdout_and_nothing_else(call: Call, recorded: Recorded) -> None:
    assert call("export", "ResNet50", "--json").out == "json of ['ResNet50', 'ResNet50']\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["Resnet50"], "error: unknown model 'Resnet50': did you mean ResNet50?\nhint: kexport list models\n"),
        (
            ["ResNet50", "--formats", "onx"],
            "error: unknown format 'onx': did you mean onnx?\nhint: kexport list formats\n",
        ),
        (
            ["ResNet50", "--schemes", "float23"],
            "error: unknown scheme 'float23': did you mean float32?\nhint: kexport list schemes\n",
        ),
        (
            ["ResNet50", "--engine", "tf2onx"],
            "error: unknown engine 'tf2onx': did you mean tf2onnx?\nhint: kexport list engines\n",
        ),
        (
            ["ResNet50", "--batch", "many"],
            "error: --batch 'many': expected a whole number or dynamic\nhint: --batch 1\n",
        ),
        (
            ["ResNet50", "--input-shape", "9,9"],
            "error: --input-shape '9,9': expected height, width, channels\nhint: --input-shape 224,224,3\n",
        ),
    ],
)
def test_wrong_requests_never_reach_the_pipeline(call: Call, recorded: Recorded, typed: list[str], said: str) -> None:
    ended = call("export", *typed)
    assert (ended.code, ended.out, ended.err) == (2, "", said)
    assert recorded.requests == []


def record(status: Status = Status.PASS) -> Record:
    return Record(model="VGG16", format="onnx", scheme="float32", status=status, reason="why")


def test_parity_of_a_folder(call: Call, recorded: Recorded, tmp_path: Path) -> None:
    recorded.records = (record(Status.FAIL),)
    ended = call("parity", str(tmp_path))
    assert ended.code == 1
    assert recorded.requests[0][0][0] == (tmp_path,)
    assert "1 cell: 1 FAIL" in ended.err


def test_bench_settings(call: Call, recorded: Recorded, tmp_path: Path) -> None:
    recorded.records = (record(),)
    typed = f"bench {tmp_path} --device cuda --threads 2 --repetitions 7 --warmup 1 --with-keras --json"
    assert call(*typed.split()).out == "json of ['VGG16']\n"
    (paths, settings, _), options = recorded.requests[0]
    assert (paths, options) == ((tmp_path,), {"with_keras": True, "trusted": ()})
    assert (settings.device, settings.threads, settings.repetitions, settings.warmup) == ("cuda", 2, 7, 1)


def test_bench_refuses_an_unknown_device(call: Call, recorded: Recorded) -> None:
    ended = call("bench", "--device", "tpu")
    assert ended.code == 2
    assert ended.err == "error: unknown device 'tpu': did you mean cpu?\nhint: kexport list runtimes\n"
    assert recorded.requests == []


def test_report(call: Call, recorded: Recorded, tmp_path: Path) -> None:
    recorded.records = (record(),)
    assert call("report", str(tmp_path)).out == "table of 1\n"
    assert call("report", str(tmp_path), "--format", "junit").out == "junit of ['VGG16']\n"


def test_report_of_nothing(call: Call, recorded: Recorded, tmp_path: Path) -> None:
    ended = call("report", str(tmp_path))
    assert (ended.code, ended.err.splitlines()[0]) == (2, f"error: {tmp_path} holds no records")


def test_verify(call: Call, recorded: Recorded, tmp_path: Path) -> None:
    assert call("verify", str(tmp_path)).code == 0
    recorded.problems = ("a.onnx: sha256 differs", "b.onnx: missing")
    ended = call("verify", str(tmp_path))
    assert (ended.code, ended.out) == (1, "a.onnx: sha256 differs\nb.onnx: missing\n")
    assert ended.err == (
        f"{tmp_path}: 2 problems found; without --key nobody can tell who made the files, or whether all of it was "
        "changed together\n"
    )


@pytest.mark.parametrize("command", ["report", "verify", "parity", "bench"])
def test_a_folder_that_is_not_there(call: Call, recorded: Recorded, command: str) -> None:
    ended = call(command, "not-there")
    assert ended.code == 2
    assert "'not-there' does not exist" in ended.err


def write_real_record(directory: Path) -> None:
    folder = directory / "VGG16"
    folder.mkdir()
    (folder / "VGG16-float32.onnx.json").write_text(encode(record(Status.FAIL)), encoding="utf-8")


@pytest.mark.parametrize("form", ["terminal", "md", "json", "junit"])
def test_the_real_store_and_the_real_reports(call: Call, tmp_path: Path, form: str) -> None:
    write_real_record(tmp_path)
    ended = call("report", str(tmp_path), "--format", form)
    assert (ended.code, ended.err) == (0, "")
    assert "VGG16" in ended.out


def test_the_real_reports_refuse_another_format(call: Call, tmp_path: Path) -> None:
    write_real_record(tmp_path)
    ended = call("report", str(tmp_path), "--format", "jsn")
    assert ended.code == 2
    assert "unknown report format 'jsn': did you mean json?" in ended.err


def test_the_real_store_finds_what_is_missing(call: Call, tmp_path: Path) -> None:
    write_real_record(tmp_path)
    ended = call("verify", str(tmp_path))
    assert ended.code == 1
    assert "manifest.json" in ended.out
