"""Two runs compared: every kind of regression is planted, named and counted; a rerun of the same differs in nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kexport import store
from kexport.cli import main
from kexport.records import (
    AccuracyRecord,
    Artifact,
    BenchRecord,
    Check,
    OtherBackend,
    OutputParity,
    ParityRecord,
    Preprocessing,
    QuantizationRecord,
    Record,
    Score,
    Signature,
    SourceFacts,
    Status,
    encode,
)
from kexport.reports import render
from kexport.reports.changes import KINDS, Thresholds
from kexport.reports.diff import diff, headline, render_json, render_md

MACHINE = {"processor": "A", "instructions": "avx2", "cores": "2", "memory_gib": "8.0"}
FACTS = SourceFacts(
    application="", weights="model", weights_sha256="a" * 64, parameters=9, ends_in_softmax=True, kind="file",
    inputs=(Signature(name="image", shape=(None, 8, 8, 3), dtype="float32"),), labels=("rose", "tulip"),
    outputs=(Signature(name="out", shape=(None, 2), dtype="float32"),),
    preprocessing=Preprocessing(mode="tf", size=(8, 8), channel_order="RGB", scale=1 / 127.5, mean=(1, 1, 1),
                                std=(1, 1, 1), resize_shorter_side=9),
)  # fmt: skip


def bench(milliseconds: float, *, step: float = 0.01, **changes: Any) -> BenchRecord:
    made = BenchRecord(
        runtime="onnxruntime", device="cpu", effective="ORT", threads=2, batch=1, warmup=1, load_seconds=0.1,
        samples_seconds=tuple((milliseconds + step * (i % 10)) / 1000 for i in range(50)), peak_memory_bytes=1,
        machine=MACHINE,
    )  # fmt: skip
    return replace(made, **changes)


def cell(scheme: str = "float32", *, error: float = 1e-5, sqnr: float = 110.0, agreement: float = 1.0) -> Record:
    output = OutputParity(
        name="out", logits_max_abs_error=error, logits_mean_abs_error=1e-6, output_max_abs_error=1e-7,
        output_mean_abs_error=1e-8, cosine=1.0, sqnr_db=sqnr, top1_agreement=agreement, top5_agreement=1.0, signal=1.0,
    )  # fmt: skip
    check = Check(name="logits_error_to_signal", value=error, bound=1e-3, passed=True, why="rounding")
    artifact = Artifact(
        path=f"mine/mine-{scheme}.onnx", format="onnx", scheme=scheme, size_bytes=1_000_000, sha256="0", opset=18,
        engine="native", engine_reason="", operations={"Conv": 5, "Relu": 4}, inputs=FACTS.inputs,
        outputs=FACTS.outputs,
    )  # fmt: skip
    scored = AccuracyRecord(
        images=200, labelled=True, top1_agreement=0.98, output_sqnr_db=20, logits_sqnr_db=20, logits_images=200,
        non_finite=0, keras_top1=0.9, top1=0.895, evaluation_sha256="e",
    )  # fmt: skip
    quantized = QuantizationRecord(
        calibration="photos", calibration_sha256="c", images=16, kind="folder", fit_to_deploy=True, int8_layers=3
    )
    return Record(
        model="mine", format="onnx", scheme=scheme, status=Status.PASS, source=FACTS, artifact=artifact,
        parity=ParityRecord(samples=4, runtime="onnxruntime", effective="ORT", outputs=(output,), checks=(check,)),
        accuracy=scored, quantization=quantized if scheme == "int8" else None, benchmarks=(bench(10.0),),
    )  # fmt: skip


FLOAT, INT8 = cell(), cell("int8", error=0.4, sqnr=20.0, agreement=0.9375)


def artifact(record: Record, **changes: Any) -> Record:
    assert record.artifact is not None
    return replace(record, artifact=replace(record.artifact, **changes))


def scored(record: Record, **changes: Any) -> Record:
    assert record.accuracy is not None
    return replace(record, accuracy=replace(record.accuracy, **changes))


def source(record: Record, **changes: Any) -> Record:
    return replace(record, source=replace(FACTS, **changes))


def checked(record: Record, value: float) -> Record:
    """The record with its error, and the check of it, at ``value``."""
    return replace(record, parity=cell(error=value).parity)


PLANTED: dict[str, tuple[str, Record | None]] = {
    "a check fails": ("status", replace(FLOAT, status=Status.FAIL, reason="out is nan")),
    "no longer proven": ("status", replace(FLOAT, status=Status.UNPROVEN, reason="constant")),
    "a cell is gone": ("missing", None),
    "larger error": ("parity", checked(FLOAT, 5e-4)),
    "error is nan": ("parity", checked(FLOAT, float("nan"))),
    "noisier int8": ("parity", replace(INT8, parity=cell(sqnr=18.0, agreement=0.9375).parity)),
    "int8 decides otherwise": ("agreement", replace(INT8, parity=cell(sqnr=20.0, agreement=0.875).parity)),
    "photographs decided otherwise": ("agreement", scored(INT8, top1_agreement=0.96)),
    "less accurate": ("accuracy", scored(INT8, top1=0.885)),
    "accuracy no longer measured": ("accuracy", replace(INT8, accuracy=None)),
    "larger": ("size", artifact(FLOAT, size_bytes=1_020_000)),
    "slower": ("latency", replace(FLOAT, benchmarks=(bench(11.0),))),
    "a new operator": ("operators", artifact(FLOAT, operations={"Conv": 5, "Relu": 3, "Transpose": 1})),
    "more operators": ("operators", artifact(FLOAT, operations={"Conv": 6, "Relu": 4})),
    "another engine": ("operators", artifact(FLOAT, engine="tf2onnx")),
    "another input": ("contract", artifact(FLOAT, inputs=FACTS.outputs)),
    "a fixed batch": ("contract", artifact(FLOAT, outputs=(Signature(name="out", shape=(1, 2), dtype="float32"),))),
    "another opset": ("contract", artifact(FLOAT, opset=21)),
    "other pixels": ("contract", source(FLOAT, preprocessing=replace(FACTS.preprocessing, scale=1 / 255))),  # type: ignore[type-var]
    "other classes": ("contract", source(FLOAT, labels=("tulip", "rose"))),
}


def run(directory: Path, *records: Record) -> Path:
    directory.mkdir()
    for record in records:
        store.write_record(directory, record, f"mine-{record.scheme}.onnx")
    return directory


@pytest.mark.parametrize("name", PLANTED)
def test_planted_regressions(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, changed = PLANTED[name]
    kept = INT8 if changed is None or changed.scheme == "float32" else FLOAT
    old, new = run(tmp_path / "old", FLOAT, INT8), run(tmp_path / "new", kept, *([changed] if changed else []))
    assert main(["diff", str(old), str(new), "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    worse = [change for change in found["changes"] if change["regression"]]
    assert [change["kind"] for change in worse] == [kind]
    assert worse[0]["scheme"] == ("float32" if changed is None else changed.scheme)
    assert main(["diff", str(old), str(new), "--allow", kind]) == 0


def test_kinds_that_were_planted_are_all_that_regress() -> None:
    assert {kind for kind, _ in PLANTED.values()} | {"new", "source"} == set(KINDS)


def test_a_rerun_of_the_same_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = run(tmp_path / "old", FLOAT, INT8), run(tmp_path / "new", FLOAT, INT8)
    assert main(["diff", str(old), str(new)]) == 0
    assert capsys.readouterr().err.startswith("2 cells compared: no regression, 0 other changes\na regression is: ")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (artifact(FLOAT, size_bytes=900_000), "size"),
        (artifact(FLOAT, operations={"Conv": 5}), "operators"),
        (replace(FLOAT, benchmarks=(bench(9.0),)), "latency"),
        (checked(FLOAT, 1.9e-5), "parity"),
        (checked(FLOAT, 9e-5), "parity"),
        (scored(FLOAT, top1=0.9), "accuracy"),
        (source(FLOAT, weights_sha256="b" * 64), "source"),
        (scored(FLOAT, evaluation_sha256="other", top1=0.1), "accuracy"),
    ],
)
def test_what_is_told_and_is_no_regression(changed: Record, kind: str) -> None:
    found = diff([FLOAT], [changed])
    assert [(change.kind, change.regression) for change in found.changes] == [(kind, False)]


@pytest.mark.parametrize(
    ("session", "why"),
    [
        (bench(20.0, machine={**MACHINE, "processor": "B"}), "not judged, another machine (A, 2 cores; B, 2 cores)"),
        (bench(20.0, step=2.0), "not judged, too noisy after"),
    ],
)
def test_latency_that_says_nothing_is_told(session: BenchRecord, why: str) -> None:
    (change,) = diff([FLOAT], [replace(FLOAT, benchmarks=(session,))]).changes
    assert (change.kind, change.regression) == ("latency", False)
    assert why in change.what


@pytest.mark.parametrize(
    ("name", "unit", "lower", "after", "worse"),
    [
        ("mean IoU", "%", False, 69.0, True),
        ("mean IoU", "%", False, 69.6, False),
        ("mean absolute error", "years", True, 70.5, True),
        ("mean absolute error", "years", True, 70.2, False),
        ("mean IoU", "%", False, 71.0, False),
        ("mean IoU", "%", False, float("nan"), True),
    ],
)
def test_a_figure_of_its_own_is_judged_once(name: str, unit: str, lower: bool, after: float, worse: bool) -> None:
    before = Score(name=name, unit=unit, value=70.0, drop=0.0, drop_unit="points", keras=70.0, lower_is_better=lower)
    old, new = (scored(FLOAT, scores=(each,)) for each in (before, replace(before, value=after)))
    (change,) = diff([old], [new]).changes
    assert (change.kind, change.what, change.regression) == ("accuracy", f"{name} {unit}", worse)


@pytest.mark.parametrize(
    ("before", "after", "worse"), [((), ("jax",), False), (("jax",), (), True), (("jax",), ("openvino",), True)]
)
def test_a_backend_that_a_file_is_not_compared_with_any_more(
    before: tuple[str, ...], after: tuple[str, ...], worse: bool
) -> None:
    old, new = (compared(cell(), names) for names in (before, after))
    (found,) = diff((old,), (new,)).changes
    assert (found.what, found.regression) == ("compared with Keras on", worse)
    assert not diff((old,), (old,)).changes


def compared(record: Record, names: tuple[str, ...]) -> Record:
    assert record.parity is not None
    outputs = record.parity.outputs
    others = tuple(OtherBackend(backend=name, outputs=outputs, itself=outputs) for name in names)
    return replace(record, parity=replace(record.parity, backend="tensorflow", others=others))


def test_latency_under_other_conditions_is_not_compared() -> None:
    assert diff([FLOAT], [replace(FLOAT, benchmarks=(bench(20.0, threads=1), bench(10.0)))]).changes == ()


def test_new_cells_have_to_pass() -> None:
    failed = replace(INT8, status=Status.FAIL, reason="NaN", artifact=None)
    assert not diff([FLOAT], [FLOAT, INT8]).regressions
    assert [change.kind for change in diff([FLOAT], [FLOAT, failed]).regressions] == ["new"]
    assert not diff([FLOAT, failed], [FLOAT, failed]).regressions
    assert not diff([FLOAT, failed], [FLOAT, INT8]).regressions, "it passes now"


def test_a_failure_beside_an_older_artifact_counts(tmp_path: Path) -> None:
    old, new = run(tmp_path / "old", FLOAT), run(tmp_path / "new", FLOAT)
    failed = replace(FLOAT, status=Status.ERROR, reason="killed", artifact=None)
    store.write_record(new, failed, "mine-float32.onnx.failed")
    assert [change.kind for change in diff(store.read_records(old), store.read_records(new)).regressions] == ["status"]


@pytest.mark.parametrize("form", ["json", "summary"])
def test_a_baseline_may_be_a_file(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = run(tmp_path / "new", FLOAT, INT8)
    (tmp_path / "main.json").write_text(render((FLOAT, INT8), form))
    assert main(["diff", str(tmp_path / "main.json"), str(new)]) == 0
    (tmp_path / "main.json").write_text(render((source(FLOAT, labels=("a", "b")), INT8), form))
    assert main(["diff", str(tmp_path / "main.json"), str(new), "--format", "md"]) == 1
    assert "labels" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"records": 3}', '{"records": [{}]}'])
def test_a_baseline_that_is_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "main.json").write_text(text)
    assert main(["diff", str(tmp_path / "main.json"), str(run(tmp_path / "new", FLOAT))]) == 3
    assert "main.json is " in capsys.readouterr().err


def test_thresholds_are_options(tmp_path: Path) -> None:
    old, new = run(tmp_path / "old", FLOAT), run(tmp_path / "new", artifact(FLOAT, size_bytes=1_020_000))
    assert main(["diff", str(old), str(new), "--size-percent", "5"]) == 0
    assert main(["diff", str(old), str(new), "--size-percent", "-1"]) == 2
    assert main(["diff", str(old), str(new), "--allow", "sise"]) == 2
    with pytest.raises(ValueError, match="size_percent -1"):
        Thresholds(size_percent=-1)


def test_markdown_for_a_pull_request() -> None:
    hostile = replace(FLOAT, status=Status.FAIL, reason="a | b <img src=x> [x](http://evil)")
    text = render_md(diff([FLOAT, INT8], [hostile, artifact(INT8, size_bytes=900_000)]))
    assert text.startswith(
        "### kexport diff: REGRESSED\n\n2 cells compared: 1 regression (1 status), 1 other change.\n\n| cell | kind |"
    )
    assert "| mine onnx float32 | status | status | PASS | FAIL: a \\| b &lt;img src=x>" in text
    assert "<details><summary>Other changes: 1</summary>\n\n| cell |" in text
    assert "a regression is: a worse status, a missing cell" in text
    assert headline(diff([FLOAT], [FLOAT])) == "1 cell compared: no regression, 0 other changes"
    assert json.loads(render_json(diff([FLOAT], [hostile])))["regressions"] == 1


def test_a_summary_is_one_line_a_cell_and_reads_as_records() -> None:
    text = render((FLOAT, INT8), "summary")
    assert len(text.splitlines()) == 4
    assert "rose" not in text
    assert len(text) < len(encode(FLOAT)) * 2
