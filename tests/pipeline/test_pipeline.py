"""The whole run, from a request to artifacts, records and manifest; each family once through every step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kexport import pipeline, store, targets
from kexport.errors import UsageError
from kexport.evidence.benchmark import BenchSettings
from kexport.pipeline import Request, lone, resume
from kexport.pipeline.artifacts import by_directory
from kexport.pipeline.events import Event
from kexport.pipeline.reproduce import cell_of, reproduce
from kexport.records import QuantizationRecord, Record, Status, decode
from kexport.sources import catalog
from kexport.specs import Cell, Engine, Format, ModelSpec, Scheme, WeightsSpec

SMALL = ModelSpec(application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0), input_shape=(64, 64, 3))
ONNX, TFLITE = Cell(model=SMALL, format=Format.ONNX), Cell(model=SMALL, format=Format.TFLITE)
NARROW = replace(SMALL, application="MobileNet", alpha=0.25)
OPERATORS = targets.load("microcontroller-int8").values["operators"]
QUICK = BenchSettings(repetitions=3, warmup=1, threads=1)


@dataclass
class Events:
    """Keeps every event."""

    seen: list[Event] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        self.seen.append(event)


def make(directory: Path, cells: Sequence[Cell] = (ONNX, TFLITE), **options: object) -> tuple[Record, ...]:
    return pipeline.run(Request(cells=tuple(cells), directory=directory, **options), Events())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("original")
    assert [record.status for record in make(directory)] == [Status.PASS] * 2
    return directory


@pytest.fixture
def made(original: Path, tmp_path: Path) -> Path:
    """A copy of a finished artifact directory."""
    directory = tmp_path / "out"
    shutil.copytree(original, directory)
    return directory


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_stored_cells_of_plain_requests(original: Path) -> None:
    assert [cell_of(record) for record in store.read_records(original)] == [ONNX, TFLITE]


def test_what_a_run_leaves(original: Path) -> None:
    stem = "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32"
    references = {name for name in files(original) if "-reference-" in name}
    assert len(references) == 1
    assert set(files(original)) - references == {
        f"{stem}.onnx", f"{stem}.onnx.json", f"{stem}.tflite", f"{stem}.tflite.json", "manifest.json", ".kexport.lock",
    }  # fmt: skip
    assert store.verify(original) == ()
    for record in store.read_records(original):
        assert record.artifact is not None
        assert record.artifact.engine == Engine.NATIVE
        assert record.parity is not None
        assert record.parity.samples == 4
        assert record.cost is not None
        assert {"build", "reference", "lower", "optimize", "write", "parity"} <= set(record.cost.seconds)
        assert record.reproduce.startswith("kexport export MobileNetV3Small --formats ")


def test_the_manifest_is_the_last_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    write = store.write_manifest

    def watched(directory: Path, **more: Any) -> Path:
        seen.append(set(files(directory)))
        return write(directory, **more)

    monkeypatch.setattr(store, "write_manifest", watched)
    make(tmp_path, [ONNX])
    assert len(seen) == 1
    assert {"MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx.json"} < seen[0]
    assert "manifest.json" not in seen[0]


def test_events_name_cells_and_end_each_once(tmp_path: Path) -> None:
    events = Events()
    pipeline.run(Request(cells=(ONNX,), directory=tmp_path), events)
    assert [event.label for event in events.seen if event.status] == ["MobileNetV3Small-64x64 onnx float32"]
    assert {"import keras", "build", "reference", "lower"} <= {
        event.step for event in events.seen if event.label == "MobileNetV3Small-64x64 keras"
    }
    assert all(event.memory_bytes >= 0 and event.seconds >= 0 for event in events.seen)


def test_resume_keeps_what_is_complete_and_makes_what_is_not(made: Path) -> None:
    tflite = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.tflite"
    onnx = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    before, touched = files(made), onnx.stat().st_mtime_ns
    tflite.write_bytes(tflite.read_bytes()[:-1])
    events = Events()
    records = pipeline.run(Request(cells=(ONNX, TFLITE), directory=made, resume=True), events)
    assert [record.status for record in records] == [Status.PASS] * 2
    assert [event.label for event in events.seen if event.status] == ["MobileNetV3Small-64x64 tflite float32"]
    assert onnx.stat().st_mtime_ns == touched
    assert tflite.read_bytes() == before["MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.tflite"]


def test_resume_does_not_keep_another_request(made: Path) -> None:
    other = replace(ONNX, opset=17)
    (record,) = make(made, [other], resume=True)
    assert record.artifact is not None
    assert record.artifact.opset == 17


def test_verify_finds_an_edit(made: Path) -> None:
    path = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert any("MobileNetV3Small-64x64-float32.onnx: edited" in problem for problem in store.verify(made))


def test_parity_again_keeps_bytes_and_measurements(made: Path) -> None:
    measured = pipeline.bench([made], QUICK, Events())
    before = files(made)
    again = pipeline.recheck([made], Events())
    assert [record.status for record in again] == [Status.PASS] * 2
    assert [record.benchmarks for record in again] == [record.benchmarks for record in measured]
    assert [record.parity for record in again] == [record.parity for record in measured]
    after = files(made)
    assert {name for name in before if before[name] != after[name]} == set(), "the same check gives the same record"
    assert store.verify(made) == ()
    kept = make(made, resume=True)
    assert [record.benchmarks for record in kept] == [record.benchmarks for record in measured]


def test_parity_again_finds_what_changed(made: Path) -> None:
    import onnx
    from onnx import numpy_helper

    path = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    model = onnx.load(path)
    weight = next(item for item in model.graph.initializer if len(item.dims) == 4)
    array = numpy_helper.to_array(weight).copy()
    array.flat[0] += 0.5
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, path)
    bytes_now = path.read_bytes()
    (record,) = pipeline.recheck([path], Events())
    assert record.status is Status.FAIL
    assert "was changed: its sha256 is" in record.reason
    assert record.parity is None, "what was changed is told, and not run"
    assert path.read_bytes() == bytes_now
    assert decode((path.parent / f"{path.name}.json").read_bytes()).status is Status.FAIL
    assert resume.resumable(made, ONNX, resume.fingerprint(ONNX)) is None


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_parity_again_of_an_unusable_artifact(made: Path, damage: str) -> None:
    path = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    data = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(data[:1000])
    first, second = pipeline.recheck([made], Events())
    assert (first.status, second.status) == (Status.FAIL, Status.PASS)
    assert ("is missing" if damage == "missing" else "was changed") in first.reason
    assert first.parity is None


def test_parity_again_with_other_weights_proves_nothing(tmp_path: Path) -> None:
    import keras

    path = tmp_path / "w.weights.h5"
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), include_top=False)
    model.save_weights(path)
    spec = replace(SMALL, include_top=False, pooling="avg", weights=WeightsSpec(kind="file", path=str(path)))
    out = tmp_path / "out"
    (record,) = make(out, [Cell(model=spec, format=Format.ONNX)])
    if record.status is not Status.PASS:
        assert "constant" in record.reason
        pytest.skip("Keras's own initial weights say nothing")
    for variable in model.trainable_variables[:1]:
        variable.assign(variable.numpy() * 1.1)
    model.save_weights(path)
    before = files(out)
    (again,) = pipeline.recheck([out], Events(), with_keras=True)
    assert again.status is Status.ERROR
    assert "are not those that the artifact was made from" in again.reason
    assert files(out) == before


def test_bench_keeps_samples_and_replaces_its_own(made: Path) -> None:
    first = pipeline.bench([made], QUICK, Events())
    assert [len(session.samples_seconds) for record in first for session in record.benchmarks] == [3, 3]
    second = pipeline.bench([made], replace(QUICK, repetitions=4), Events())
    assert [len(session.samples_seconds) for record in second for session in record.benchmarks] == [4, 4]
    stored = store.read_records(made)
    assert [record.benchmarks for record in stored] == [record.benchmarks for record in second]
    assert store.verify(made) == ()


def test_a_failed_measurement_leaves_the_record_as_it_was(made: Path) -> None:
    pipeline.bench([made], QUICK, Events())
    path = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    record = (path.parent / f"{path.name}.json").read_bytes()
    path.write_bytes(b"no model")
    first, second = pipeline.bench([made], QUICK, Events())
    assert (first.status, second.status) == (Status.ERROR, Status.PASS)
    assert (path.parent / f"{path.name}.json").read_bytes() == record


def test_paths(made: Path) -> None:
    artifact = made / "MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx"
    for paths, count in (([made], 2), ([artifact.parent], 2), ([artifact], 1), ([made, artifact], 2)):
        stored, alone = lone.apart(paths)
        assert (sum(len(found) for _, found in by_directory(stored)), list(alone)) == (count, [])
    assert len(pipeline.bench([artifact], QUICK, Events())) == 1
    with pytest.raises(UsageError, match="neither an artifact directory"):
        pipeline.bench([made.parent], QUICK, Events())
    with pytest.raises(UsageError, match="has no artifact with a record"):
        pipeline.bench([made / "manifest.json"], QUICK, Events())


@pytest.mark.parametrize(
    "cells",
    [
        (replace(ONNX, batch=2, opset=17), replace(TFLITE, batch=3, operators=OPERATORS)),
        (replace(ONNX, model=replace(SMALL, minimalistic=True, alpha=0.75, classes=10)),),
        (replace(ONNX, model=replace(SMALL, include_top=False, pooling="max"), scheme=Scheme.FLOAT16),),
    ],
    ids=["batches and operators", "minimalistic", "features in float16"],
)
def test_stored_records_give_their_cells_back(tmp_path: Path, cells: tuple[Cell, ...]) -> None:
    for cell, record in zip(cells, make(tmp_path, cells), strict=True):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert cell_of(record) == cell
        assert record.reproduce == reproduce(cell, tmp_path)
    assert {record.model for record in store.read_records(tmp_path)} == {cell.model.name for cell in cells}


def test_a_record_of_integers_alone_gives_its_cell_back(original: Path) -> None:
    record = next(each for each in store.read_records(original) if each.format == "tflite")
    said = QuantizationRecord(
        calibration="synthetic:0", calibration_sha256="", images=8, kind="synthetic", fit_to_deploy=False,
        int8_layers=1, integer_head=True,
    )  # fmt: skip
    cell = cell_of(replace(record, scheme="int8", quantization=said))
    assert cell == replace(TFLITE, scheme=Scheme.INT8, calibration="synthetic:0", integer_head=True)
    assert "--integer-head" in reproduce(cell, original)


SCRIPT = "import sys; from kexport.cli import main; sys.exit(main(sys.argv[1:]))"


def test_the_same_request_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """With another hash seed, other jobs at once, and processes that are forked or start anew."""
    digests = []
    for seed, isolate in (("1", []), ("2", ["--isolate"])):
        out = tmp_path / seed
        arguments = ["export", "MobileNetV3Small", "--weights", "random:7", "--input-shape", "64,64,3", "-o", str(out)]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments, *isolate, "--jobs", seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.append({
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in out.rglob("*") if path.suffix in (".onnx", ".tflite")
        })  # fmt: skip
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "cell",
    [replace(ONNX, model=NARROW, engine="tf2onnx"), replace(TFLITE, model=NARROW, engine="tflite-converter")],
    ids=lambda cell: str(cell.engine),
)
def test_other_engines_when_asked_for(tmp_path: Path, cell: Cell) -> None:
    (record,) = make(tmp_path, [cell])
    assert (record.status, record.reason) == (Status.PASS, "")
    assert record.artifact is not None
    assert (record.artifact.engine, record.artifact.engine_reason) == (cell.engine, "asked for with --engine")
    assert cell_of(record).engine == cell.engine


@pytest.mark.parametrize("name", ["MobileNet", pytest.param("MobileNetV3Small", marks=pytest.mark.long)])
def test_savedmodel(tmp_path: Path, name: str) -> None:
    cell = Cell(model=replace(SMALL, application=name), format=Format.SAVEDMODEL)
    (record,) = make(tmp_path, [cell])
    assert (record.status, record.reason) == (Status.PASS, "")
    assert (tmp_path / cell.model.name / cell.file_name / "saved_model.pb").is_file()
    assert store.verify(tmp_path) == ()


# NASNet's classifier belongs to its own size; random InceptionV3 amplifies rounding on maps of a single pixel.
WHOLE_IMAGE = ("NASNetMobile", "InceptionV3")


def smallest_of_each_family() -> list[catalog.Application]:
    found: dict[str, catalog.Application] = {}
    for row in sorted(catalog.APPLICATIONS, key=lambda row: row.parameters):
        found.setdefault(row.family, row)
    return list(found.values())


GATE = ("MobileNetV3Small", "MobileNet", "ResNet50V2", "EfficientNetB0", "ConvNeXtTiny")
"""The long run has all; `tests/test_families.py` lowers and writes every family without the processes of a run."""


def families() -> list[Any]:
    rows = smallest_of_each_family()
    return [pytest.param(row, id=row.name, marks=() if row.name in GATE else pytest.mark.long) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("row", families())
def test_each_family_in_both_formats(tmp_path: Path, row: catalog.Application) -> None:
    """Natively and proven, on a small image where that says something."""
    side = row.default_size if row.name in WHOLE_IMAGE else max(row.smallest_size, 64)
    spec = replace(SMALL, application=row.name, input_shape=(side, side, 3))
    records = make(tmp_path, [Cell(model=spec, format=kind) for kind in (Format.ONNX, Format.TFLITE)])
    assert [(record.status, record.reason) for record in records] == [(Status.PASS, "")] * 2
    assert [record.artifact.engine for record in records if record.artifact] == ["native", "native"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["files"]) == 5, "two artifacts, their records, and what Keras made"
