"""Variants side by side in one folder and one report; what shares a name all the same is told; old folders are read."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kexport import pipeline, store
from kexport.cli import main
from kexport.pipeline import Request, ask, same_name
from kexport.pipeline.reproduce import cell_of, reproduce
from kexport.pipeline.tasks.prepare import PrepareRequest
from kexport.records import Record, Status, decode_as, encode
from kexport.reports import render
from kexport.reports.diff import diff
from kexport.sources import prepared
from kexport.specs import Boundary, Cell, Format, Scheme
from tests.pipeline.prepared_once import COPY, ONNX, SMALL, TFLITE, Silent

WIDER = replace(ONNX, model=replace(SMALL, alpha=0.5))
BATCHED = replace(ONNX, batch=8)
CALLED = replace(ONNX, model=replace(SMALL, called="Mine"))
VARIANTS = (ONNX, TFLITE, WIDER, BATCHED, CALLED)
NAMES = {
    "MobileNet-a0.25-64x64/MobileNet-a0.25-64x64-float32.onnx",
    "MobileNet-a0.25-64x64/MobileNet-a0.25-64x64-float32.tflite",
    "MobileNet-a0.25-64x64/MobileNet-a0.25-64x64-float32-batch8.onnx",
    "MobileNet-a0.5-64x64/MobileNet-a0.5-64x64-float32.onnx",
    "Mine/Mine-float32.onnx",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> Path:
    """One run after the other into one folder."""
    directory = tmp_path_factory.mktemp("variants")
    for cells in ((ONNX, TFLITE), (WIDER, BATCHED, CALLED)):
        assert [record.status for record in made(directory, cells, saved)] == [Status.PASS] * len(cells)
    return directory


def made(directory: Path, cells: tuple[Cell, ...], saved: Path, *, resume: bool = False) -> tuple[Record, ...]:
    """A Keras process would find the same network under each name; what it says of the request is the request's."""
    real = ask.command

    def command(kind: str, asked: Path, answered: Path) -> tuple[str, ...]:
        if kind != "prepare":
            return real(kind, asked, answered)
        spec = decode_as(PrepareRequest, asked.read_bytes()).model
        facts = replace(
            prepared.load(saved).facts, options={"alpha": spec.alpha, "input_shape": list(spec.input_shape)}
        )
        told = asked.parent / "told"
        shutil.copytree(saved, told)
        if spec.called:
            facts.options["called"] = spec.called
        ready = replace(prepared.load(saved), facts=facts)
        prepared.save(ready, told)
        (told / "prepare-answer.json").write_text(encode(ready))
        return (sys.executable, "-c", f"SAVED = {str(told)!r}\n{COPY}", kind, str(asked), str(answered))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "command", command)
        return pipeline.run(Request(cells=cells, directory=directory, jobs=1, resume=resume), Silent())


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


def artifacts(records: tuple[Record, ...]) -> set[str]:
    return {record.artifact.path for record in records if record.artifact is not None}


def test_side_by_side_in_the_folder_the_manifest_and_the_report(original: Path) -> None:
    records = store.read_records(original)
    assert artifacts(records) == NAMES
    assert store.verify(original) == ()
    assert len({record.label for record in records}) == len(VARIANTS)
    for record in records:
        assert record.label in {cell.label for cell in VARIANTS}
    assert "| MobileNet-a0.25-64x64 | onnx | float32-batch8 |" in render(records, "md")
    told = json.loads(render(records, "json"))["records"]
    assert {(row["scheme"], row["variant"]) for row in told} == {("float32", ""), ("float32", "batch8")}
    assert diff(records, records).compared == len(VARIANTS)
    assert render(records, "csv").count("batch8") == 1


def test_a_record_leads_back_to_its_cell_and_its_command(original: Path) -> None:
    records = store.read_records(original)
    assert {cell_of(record) for record in records} == set(VARIANTS)
    assert all(reproduce(cell_of(record), original) == record.reproduce for record in records)
    assert any("--alpha 0.25 --input-shape 64,64,3 --name Mine" in record.reproduce for record in records)
    assert any("--batch 8" in record.reproduce for record in records)


def test_resume_knows_each(folder: Path, saved: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.onnx*")}
    assert [record.label for record in made(folder, VARIANTS, saved, resume=True)] == [cell.label for cell in VARIANTS]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.onnx*")} == before


def test_one_checked_again_and_the_manifest_forgets_no_other(folder: Path) -> None:
    before = json.loads((folder / store.MANIFEST).read_text())["files"]
    lost, edited = (folder / "Mine" / name for name in ("Mine-float32.onnx", "Mine-float32.onnx.json"))
    lost.unlink()
    edited.write_text(edited.read_text().replace('"reason": ""', '"reason": "as I like it"'))
    told = store.verify(folder)
    assert {line.partition(": ")[0] for line in told} == {"Mine/Mine-float32.onnx", "Mine/Mine-float32.onnx.json"}
    path = folder / "MobileNet-a0.5-64x64" / "MobileNet-a0.5-64x64-float32.onnx"
    assert [record.label for record in pipeline.recheck([path], Silent())] == [WIDER.label]
    after = json.loads((folder / store.MANIFEST).read_text())["files"]
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} <= {f"{path.parent.name}/{path.name}.json"}
    assert store.verify(folder) == told


def test_all_checked_again(folder: Path) -> None:
    assert [record.status for record in pipeline.recheck([folder], Silent())] == [Status.PASS] * len(VARIANTS)
    assert artifacts(store.read_records(folder)) == NAMES
    assert store.verify(folder) == ()


def test_what_has_the_same_name_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older, seeded = replace(ONNX, opset=17), replace(ONNX.model.weights, seed=7)
    other = replace(TFLITE, model=replace(SMALL, weights=seeded))
    place = "MobileNet-a0.25-64x64/MobileNet-a0.25-64x64-float32"
    assert list(same_name.replaced((older, other), folder)) == [
        f"{place}.onnx is replaced: it was made with --opset 18, now 17",
        f"{place}.tflite is replaced: it was made with --weights random:0, now random:7",
    ]
    assert list(same_name.replaced(VARIANTS, folder)) == []
    assert list(same_name.replaced((older,), folder / "absent")) == []
    (folder / f"{place}.onnx.json").write_text("{")
    assert list(same_name.replaced((older,), folder)) == []
    asked = "export MobileNet --alpha 0.25 --input-shape 64,64,3 --weights no.h5 --formats onnx"
    assert main([*asked.split(), "-o", str(folder)]) == 2
    assert "replaced" not in capsys.readouterr().err, "of a request that cannot be"


def test_a_folder_of_before_is_read_as_it_is(folder: Path) -> None:
    """Variants had the application's name, and no other file of the batch or type of inputs."""
    old = folder / "MobileNet"
    (folder / "MobileNet-a0.25-64x64").rename(old)
    shutil.rmtree(folder / "MobileNet-a0.5-64x64")
    shutil.rmtree(folder / "Mine")
    for path in sorted(old.iterdir()):
        path.rename(old / path.name.replace("MobileNet-a0.25-64x64", "MobileNet"))
    (old / "MobileNet-float32.onnx").unlink()
    (old / "MobileNet-float32.onnx.json").unlink()
    for end in ("", ".json"):
        (old / f"MobileNet-float32-batch8.onnx{end}").rename(old / f"MobileNet-float32.onnx{end}")
    for path in old.glob("*.json"):
        text = path.read_text().replace("MobileNet-a0.25-64x64", "MobileNet").replace("-batch8", "")
        path.write_text(text.replace('"variant": "batch8"', '"variant": ""'))
    store.write_manifest(folder)
    assert store.verify(folder) == ()
    cells = [cell_of(record) for record in store.read_records(folder)]
    assert [(cell.model.name, cell.file_name, cell.batch) for cell in cells] == [
        ("MobileNet", "MobileNet-float32.onnx", 8),
        ("MobileNet", "MobileNet-float32.tflite", None),
    ]
    assert [record.status for record in pipeline.recheck([folder], Silent())] == [Status.PASS] * 2
    assert store.verify(folder) == ()


def test_integer_borders_of_before() -> None:
    cell = Cell(model=SMALL, format=Format.TFLITE, scheme=Scheme.INT8, io=Boundary.UINT8, calibration="synthetic:0")
    assert replace(cell, stem="MobileNet-int8").file_name == "MobileNet-int8.tflite"
    assert replace(cell, stem="MobileNet-int8") != cell
