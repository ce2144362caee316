"""keras.io's table: what is measured once, what is missing, and what is starred."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kexport import store
from kexport.errors import KexportError
from kexport.evidence.benchmark import BenchRequest
from kexport.records import Artifact, BenchRecord, Record, Status
from kexport.sources import catalog
from tests.benchmarks.script_modules import script_modules

SCRIPTS = ("keras_io", "keras_io_blocks", "measured_blocks", "md_text", "harness", "side_by_side", "processes")
MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0"}
CELLS = ["keras", "onnx float32", "onnx int8", "tflite float32", "tflite int8"]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found


def row(model: str = "ResNet50", cell: str = "keras", **changes: Any) -> dict[str, Any]:
    good = {
        "model": model, "cell": cell, "protocol": "", "reason": "", "batch": 32, "others": 0.02, "threads": 2,
        "samples_seconds": [0.5] * 10, "first_seconds": 1.0, "effective": "e", "peak_memory_bytes": 2**30,
        "size_bytes": 102_100_000, "processor": "P",
    }  # fmt: skip
    return good | changes


def artifacts(folder: Path, model: str, *, status: Status = Status.PASS) -> Path:
    for form in ("onnx", "tflite"):
        for scheme in ("float32", "int8"):
            name = f"{model}/{model}-{scheme}.{form}"
            (folder / model).mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"12345")
            made = Artifact(
                path=name, format=form, scheme=scheme, size_bytes=5, sha256="0" * 64, engine="native",
                engine_reason="r", operations={}, inputs=(), outputs=(),
            )  # fmt: skip
            found = Record(model=model, format=form, scheme=scheme, status=status, reason="r", artifact=made)
            store.write_record(folder, found, Path(name).name)
    return folder


def measured(request: BenchRequest) -> BenchRecord:
    return BenchRecord(
        runtime=request.runtime, device="cpu", effective="e", threads=2, batch=32, warmup=0, load_seconds=0.1,
        first_seconds=0.7, samples_seconds=(0.5,) * request.settings.repetitions, peak_memory_bytes=2**20,
        machine=MACHINE,
    )  # fmt: skip


def test_cells_are_measured_once(scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[BenchRequest] = []
    monkeypatch.setattr(scripts.keras_io, "alone", lambda request: asked.append(request) or measured(request))
    folder = artifacts(tmp_path / "a", "MobileNet")
    arguments = [str(tmp_path / "rows"), str(folder), "--models", "ResNet50,MobileNet", "--json", str(tmp_path / "j")]
    for _ in range(2):
        assert scripts.keras_io.main(arguments) == 1, "the other applications are missing"
    assert [request.runtime for request in asked] == ["keras", "onnxruntime", "onnxruntime", "litert", "litert"]
    assert {(each.settings.batch, each.settings.warmup, each.settings.repetitions) for each in asked} == {(32, 0, 10)}
    assert scripts.keras_io.main([*arguments, "--full", "MobileNet"]) == 1
    assert {each.settings.repetitions for each in asked[5:]} == {300}
    rows = json.loads((tmp_path / "j").read_text("utf-8"))["rows"]
    assert [(each["cell"], each["protocol"]) for each in rows] == [(c, p) for p in ("", "keras.io") for c in CELLS]
    assert all(0 <= each["others"] <= 1 for each in rows)


def test_a_run_goes_on_elsewhere_model_by_model(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts.keras_io, "alone", measured)
    monkeypatch.setattr(scripts.keras_io, "processor", lambda: "here")
    whole = [row("MobileNet", cell, processor="elsewhere") for cell in CELLS]
    part = [row("VGG16", cell, processor="elsewhere") for cell in CELLS[:2]]
    (tmp_path / "rows").write_text("".join(json.dumps(each) + "\n" for each in whole + part), "utf-8")
    folders = [str(artifacts(tmp_path / "a", name)) for name in ("MobileNet", "VGG16")]
    scripts.keras_io.main([str(tmp_path / "rows"), folders[0], "--json", str(tmp_path / "j")])
    found = json.loads((tmp_path / "j").read_text("utf-8"))
    assert [(each["model"], each["processor"]) for each in found["rows"]] == [
        *[("MobileNet", "elsewhere")] * 5, *[("VGG16", "here")] * 5,
    ]  # fmt: skip
    assert "not all are of the same: elsewhere: MobileNet; here: VGG16." in scripts.keras_io_blocks.whole(found)


@pytest.mark.parametrize(("from_now", "stands_for"), [(5, 5), (-5, -5), (-13, 11), (13, -11)])
def test_a_clock_time_is_the_nearest_one(scripts: SimpleNamespace, from_now: int, stands_for: int) -> None:
    """In the evening 00:30 is tonight, and not that of this morning."""
    now = datetime.now(UTC)
    today = now + timedelta(hours=from_now)
    found = scripts.keras_io._clock(f"{today:%H:%M}")
    assert abs(found - now - timedelta(hours=stands_for)) <= timedelta(minutes=1, seconds=1)


def test_nothing_begins_too_late_and_bad_files_are_left(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts.keras_io, "alone", pytest.fail)
    late, past = artifacts(tmp_path / "a", "MobileNet"), datetime.now(UTC) - timedelta(hours=1)
    assert scripts.keras_io.main([str(tmp_path / "rows"), str(late), "--until", f"{past:%H:%M}", "--wait"]) == 1
    failed = artifacts(tmp_path / "b", "MobileNet", status=Status.FAIL)
    assert scripts.keras_io.main([str(tmp_path / "rows"), str(failed)]) == 1
    assert not (tmp_path / "rows").exists()


def test_a_cell_that_fails_says_why(scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: BenchRequest) -> BenchRecord:
        raise KexportError("killed", hint="none")

    monkeypatch.setattr(scripts.keras_io, "alone", fails)
    scripts.keras_io.main([str(tmp_path / "rows"), str(artifacts(tmp_path / "a", "VGG16"))])
    rows = list(map(json.loads, (tmp_path / "rows").read_text("utf-8").splitlines()))
    assert [each["reason"] for each in rows] == ["killed"] * 5
    text = scripts.keras_io_blocks.whole({"machine": MACHINE, "rows": rows})
    assert "| ERROR | ERROR | ERROR | ERROR | ERROR |" in text
    assert "| killed |" in text
    monkeypatch.setattr(scripts.keras_io, "alone", measured)
    scripts.keras_io.main([str(tmp_path / "rows"), str(tmp_path / "a"), "--json", str(tmp_path / "j")])
    assert [each["reason"] for each in json.loads((tmp_path / "j").read_text("utf-8"))["rows"]] == [""] * 5


def test_all_applications_are_in_the_order(scripts: SimpleNamespace) -> None:
    names = scripts.keras_io.ordered()
    assert sorted(names) == sorted(each.name for each in catalog.APPLICATIONS)
    assert names.index("MobileNetV3Small") < names.index("ResNet50") < names.index("ConvNeXtXLarge")


def test_published_and_measured_stand_side_by_side(scripts: SimpleNamespace) -> None:
    rows = [row(), row(cell="onnx int8", samples_seconds=[0.2, 0.21, 0.22], size_bytes=25_800_000)]
    rows += [row("MobileNet", cell) for cell in CELLS] + [row("MobileNet", protocol="keras.io")]
    text = scripts.keras_io_blocks.whole({"machine": MACHINE, "rows": rows})
    assert "| ResNet50 | 98 | 74.9 | 25.6M | 107 | 58.2 | 4.6 | - | 25.8 | - | - | 500 | - | 210\\* | - | - |" in text
    assert "| ResNet50 | onnx int8 | short | 210 | 200 to 220 | 75.0% | 3 | 2 | 1024 | 2% | only 3 samples" in text
    assert "1 of 40 applications have all 5 columns. Measured in part: ResNet50. Not measured yet: Xception," in text
    assert "1 of 7 numbers are not to be trusted" in text


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({}, ()),
        ({"others": 0.4}, ("others took 40% of the processors",)),
        ({"samples_seconds": [0.5, 1.0, 1.0, 0.5] * 3}, ("interquartile range is 67% of the median (limit 15%)",)),
    ],
)
def test_doubts(scripts: SimpleNamespace, changes: dict[str, Any], doubt: tuple[str, ...]) -> None:
    assert scripts.keras_io_blocks.doubts(row(**changes)) == doubt


def test_absent(scripts: SimpleNamespace) -> None:
    assert scripts.keras_io_blocks.whole(None).startswith("Not measured yet.")
