"""Stored references: artifacts are judged again, and measured, where there is neither Keras nor TensorFlow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kexport
from kexport import pipeline, reports, store
from kexport.api import Quiet
from kexport.errors import UsageError
from kexport.images.seeded import seeded_images
from kexport.pipeline import Request
from kexport.pipeline.by_layer import by_layer
from kexport.records import Record, Status
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from kexport.store import references

SMALL = ModelSpec(application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0), input_shape=(64, 64, 3))
CELLS = (Cell(model=SMALL, format=Format.ONNX), Cell(model=SMALL, format=Format.TFLITE))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    for index, image in enumerate(seeded_images(6, (80, 90, 3), seed=5)):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{index}_photo.png")
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    directory = tmp_path_factory.mktemp("original")
    cells = tuple(replace(cell, evaluation=str(photographs)) for cell in CELLS)
    records = pipeline.run(Request(cells=cells, directory=directory), Quiet())
    assert [record.status for record in records] == [Status.PASS] * 2
    return directory


@pytest.fixture
def made(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


@pytest.fixture
def without_keras(tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line where neither package can be imported."""
    for name in ("keras", "tensorflow"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text(f"raise ImportError('{name} is not here')")
    package = str(Path(kexport.__file__).parents[1])

    def run(*words: str) -> tuple[int, str, str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path / "blocked"), package))}
        done = subprocess.run(
            [sys.executable, "-m", "kexport", *words], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return run


def reference_of(directory: Path) -> Path:
    (path,) = directory.glob("*/*-reference-*.npz")
    return path


def test_one_reference_for_both_formats_in_the_manifest(original: Path) -> None:
    records = store.read_records(original)
    path = reference_of(original)
    assert {references.find(original, record) for record in records} == {path}
    assert path.name == f"MobileNetV3Small-64x64-reference-{digest(records[0])[:12]}.npz"
    assert f"MobileNetV3Small-64x64/{path.name}" in (original / "manifest.json").read_text()
    assert path.stat().st_size < 1_200_000, "seeded inputs are drawn again, layers are sampled"
    assert store.verify(original) == ()


def digest(record: Record) -> str:
    assert record.parity is not None
    return record.parity.reference_sha256


def test_parity_and_bench_without_keras(made: Path, without_keras: Callable[..., tuple[int, str, str]]) -> None:
    before = [record.parity for record in store.read_records(made)]
    code, out, told = without_keras("parity", str(made), "--json")
    assert code == 0, told
    assert [record["status"] for record in json.loads(out)["records"]] == ["PASS", "PASS"]
    assert "keras" not in told
    assert [record.parity for record in store.read_records(made)] == before
    assert all("keras" in record.versions for record in store.read_records(made)), "of the Keras that answered"
    code, out, told = without_keras("bench", str(made), "--repetitions", "3", "--warmup", "1", "--json")
    assert code == 0, told
    assert [len(record["benchmarks"]) for record in json.loads(out)["records"]] == [1, 1]


def test_accuracy_without_keras(
    made: Path, photographs: Path, tmp_path: Path, without_keras: Callable[..., tuple[int, str, str]]
) -> None:
    before = [record.accuracy for record in store.read_records(made)]
    assert [record.images for record in before if record is not None] == [6, 6]
    assert len(list(made.glob("*/*-answers-*.npz"))) == 1
    for path in made.glob("*/*.json"):
        text = path.read_text()
        path.write_text(text.replace('"top1_agreement": 1.0', '"top1_agreement": 0.5'))
    code, _, told = without_keras("parity", str(made), "--eval", str(photographs))
    assert code == 0, told
    assert [record.accuracy for record in store.read_records(made)] == before
    assert store.verify(made) == ()
    others = Path(shutil.copytree(photographs, tmp_path / "others"))
    (others / "0_photo.png").rename(others / "9_photo.png")
    code, _, told = without_keras("parity", str(made), "--eval", str(others))
    assert code == 2
    assert "6 images, and not the 6 that Keras saw (" in told


def test_photographs_that_keras_did_not_see_are_refused(made: Path, photographs: Path) -> None:
    next(made.glob("*/*-answers-*.npz")).unlink()
    records = pipeline.recheck([made], Quiet(), photographs=str(photographs))
    assert {record.status for record in records} == {Status.ERROR}
    assert "nothing is kept of what Keras answered on photographs" in records[0].reason


def test_without_reference_keras_is_asked_and_missed(
    made: Path, without_keras: Callable[..., tuple[int, str, str]]
) -> None:
    reference_of(made).unlink()
    code, _, told = without_keras("parity", str(made))
    assert code == 3, told
    assert "MobileNetV3Small-64x64 keras (no stored reference)" in told
    assert "Keras is needed to build a model: keras is not here" in told


def test_a_changed_reference_is_told_and_not_used(made: Path) -> None:
    path = reference_of(made)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    before = {file: file.read_bytes() for file in made.rglob("*.onnx.json")}
    records = pipeline.recheck([made], Quiet())
    assert {record.status for record in records} == {Status.ERROR}
    assert f"{path.name} was changed: its sha256 is " in records[0].reason
    assert records[0].hint == f"kexport parity --with-keras {made} makes it again"
    assert {file: file.read_bytes() for file in made.rglob("*.onnx.json")} == before
    assert any(path.name in problem for problem in store.verify(made))


def test_keras_on_request_gives_a_lost_reference_back(made: Path) -> None:
    path = reference_of(made)
    content = path.read_bytes()
    path.unlink()
    (record,) = pipeline.recheck([next(made.glob("*/*.onnx"))], Quiet(), with_keras=True)
    assert record.status is Status.PASS
    assert path.read_bytes() == content


def test_an_artifact_that_differs_fails_against_the_stored_reference(made: Path) -> None:
    """The other network's file, under the first one's name and digest: what the answers are for."""
    import dataclasses

    from kexport import files

    path = next(made.glob("*/*.onnx"))
    record = next(record for record in store.read_records(made) if record.format == "onnx")
    assert record.artifact is not None
    _scale_a_kernel(path)
    changed = dataclasses.replace(record.artifact, sha256=files.digest(path), size_bytes=path.stat().st_size)
    store.write_record(made, dataclasses.replace(record, artifact=changed), path.name)
    (again,) = pipeline.recheck([path], Quiet())
    assert again.status is Status.FAIL
    assert "the bound is" in again.reason


def _scale_a_kernel(path: Path, place: int = 20) -> str:
    """Damage one kernel of the file; its name."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    kernels = [item for item in model.graph.initializer if len(item.dims) == 4]
    weight = next(item for item in kernels[place:] if "/line:" not in item.name)  # a layer's own, not a folded gate
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, path)
    return str(weight.name)


def _scale_a_tflite_kernel(path: Path, place: int = 20) -> str:
    """As `_scale_a_kernel`; the name of the tensor that the kernel's operator makes."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (graph,) = model.subgraphs
    kinds = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D}
    found = [each for each in graph.operators if model.operatorCodes[each.opcodeIndex].builtinCode in kinds][place]
    buffer = model.buffers[graph.tensors[found.inputs[1]].buffer]
    buffer.data = (np.frombuffer(bytes(buffer.data), np.float32) * np.float32(1.5)).view(np.uint8)
    builder = flatbuffers.Builder(path.stat().st_size + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return str(graph.tensors[found.outputs[0]].name.decode())


def test_by_layer_finds_nothing_in_a_right_file(made: Path) -> None:
    onnx, tflite = by_layer([made], Quiet())
    for found in (onnx, tflite):
        assert found.first == ()
        assert len(found.layers) > 90
        assert min(layer.sqnr_db for layer in found.layers) > 90
        assert found.unseen < 10
    kept = {str(record.format): record.by_layer for record in store.read_records(made)}
    for form, found in (("onnx", onnx), ("tflite", tflite)):
        record = kept[form]
        assert record is not None
        assert [each.layer for each in record.layers] == [each.layer for each in found.layers]
        assert not any(each.begins for each in record.layers)
    assert store.verify(made) == ()
    assert '"depths": [{' in reports.render(store.read_records(made), "html")


@pytest.mark.parametrize(
    ("suffix", "damage"), [("onnx", _scale_a_kernel), ("tflite", _scale_a_tflite_kernel)], ids=["onnx", "tflite"]
)
def test_by_layer_names_the_damaged_kernel(made: Path, suffix: str, damage: Callable[..., str]) -> None:
    path = next(made.glob(f"*/*.{suffix}"))
    tensor = damage(path).removesuffix(":kernel")
    (found,) = by_layer([path], Quiet())
    (first,) = found.first
    (row,) = (layer for layer in found.layers if layer.tensor == tensor)
    assert first in (*row.group, row.layer), "the layer whose kernel it is"
    assert "conv" in first
    assert found.notes == ("the file was changed since its record was written",)
    assert all(record.by_layer is None for record in store.read_records(made)), "it is not the record's file"


def test_by_layer_of_a_changed_file_that_lies_outside_of_any_directory(made: Path, tmp_path: Path) -> None:
    """With the record and the reference beside it, as somebody took it along."""
    taken = Path(shutil.copytree(next(made.glob("*/*.onnx")).parent, tmp_path / "taken"))
    paths = [next(taken.glob("*.onnx")), next(taken.glob("*.tflite"))]
    _scale_a_kernel(paths[0])
    _scale_a_tflite_kernel(paths[1])
    for found in by_layer(paths, Quiet()):
        (first,) = found.roots
        assert first.layer.startswith("expanded_conv")
        assert found.notes == ("the file was changed since its record was written",)


@pytest.mark.parametrize("record", [None, "", "{}"], ids=["none", "empty", "of nothing"])
def test_by_layer_of_a_file_that_nothing_is_known_of(made: Path, tmp_path: Path, record: str | None) -> None:
    path = Path(shutil.copyfile(next(made.glob("*/*.onnx")), tmp_path / "lone.onnx"))
    if record is not None:
        path.with_name("lone.onnx.json").write_text(record)
    with pytest.raises(
        UsageError, match=r"lone\.onnx: no whole record lies beside it.*expected lone\.onnx\.json"
    ) as caught:
        by_layer([path], Quiet())
    assert f"kexport parity {path} --by-layer --reference" in str(caught.value)


def test_by_layer_without_keras(made: Path, without_keras: Callable[..., tuple[int, str, str]]) -> None:
    path = next(made.glob("*/*.onnx"))
    _scale_a_kernel(path)
    code, out, told = without_keras("parity", str(path), "--by-layer")
    assert code == 1, told
    assert "begins to differ from Keras in expanded_conv_" in told
    assert "FIRST" in out
    code, _, told = without_keras("parity", str(path), "--by-layer", "-o", str(made.parent / "difference"))
    script = made.parent / "difference" / path.name / "reproduce.py"
    assert f"{script} shows it again without kexport" in told
    done = subprocess.run(
        [sys.executable, script.name, str(path)], cwd=script.parent, capture_output=True, text=True, check=True
    )
    assert re.search(r"expanded_conv_\w+ \(expanded_conv_\w+\): largest difference .* SQNR \d+\.\d dB", done.stdout)
    alone = subprocess.run([sys.executable, script.name], cwd=script.parent, capture_output=True, text=True, check=True)
    assert alone.stdout == done.stdout, "one layer shows what the whole file does"
    assert "noise added" in (script.parent / "by-layer.html").read_text(encoding="utf-8")
    assert (script.parent / "layer.onnx").stat().st_size < path.stat().st_size / 5
    (copy,) = (made / "elsewhere.onnx",)
    shutil.copyfile(path, copy)
    code, _, told = without_keras("parity", str(copy), "--by-layer", "--reference", str(reference_of(made)))
    assert code == 1, told
    assert "elsewhere.onnx begins to differ from Keras in expanded_conv_" in told


def test_what_no_record_names_goes_with_the_next_manifest(made: Path) -> None:
    kept = reference_of(made)
    stray = kept.with_name(references.file_name("MobileNetV3Small-64x64", "0" * 64))
    stray.write_bytes(b"old")
    own = kept.with_name("MobileNetV3Small-64x64-reference-notes.npz.bak")
    own.write_bytes(b"mine")
    store.write_manifest(made)
    assert (kept.exists(), stray.exists(), own.exists()) == (True, False, True)


def test_one_tflite_layer_shows_what_the_file_does(made: Path) -> None:
    path = next(made.glob("*/*.tflite"))
    _scale_a_tflite_kernel(path)
    (found,) = by_layer([path], Quiet(), reproduce=made.parent / "why")
    folder = made.parent / "why" / path.name
    said = [
        subprocess.run(
            [sys.executable, "reproduce.py", *more], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        for more in ([], [str(path)])
    ]
    assert said[0] == said[1]
    assert said[0].startswith(f"{found.roots[0].layer} (")
    assert (folder / "layer.tflite").stat().st_size < path.stat().st_size / 5
