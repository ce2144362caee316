"""One walk says what lies in a directory; what is asked of ten thousand records grows as they do."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from kexport import store
from kexport.files import digest
from kexport.pipeline import resume
from kexport.records import Artifact, Record, Status
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from kexport.store.listing import Kind, inner_files, walk


def test_a_walk_names_everything_and_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "x").touch()
    (tmp_path / "a-b").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / ".kexport-1-x" / "inside").mkdir(parents=True)
    (tmp_path / "a" / ".kexport-2-x").touch()
    assert list(walk(tmp_path).items()) == [
        ("a", Kind.FOLDER), ("a/deep", Kind.FOLDER), ("a/deep/x", Kind.FILE), ("a/pipe", Kind.OTHER),
        ("a-b", Kind.FILE), ("link", Kind.LINK),
    ]  # fmt: skip


def test_inner_files_lie_in_plain_sight_one_folder_down(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/1.json", "b/.hidden.json", "b/other.txt", ".git/3.json", "a/deep/4.json", "a-b/5.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "0.json").touch()
    names = [path.relative_to(tmp_path).as_posix() for path in inner_files(tmp_path, ".json")]
    assert names == ["a-b/5.json", "b/1.json", "b/2.json"]
    assert inner_files(tmp_path / "nowhere", ".json") == inner_files(tmp_path / "0.json", ".json") == []


def filled(folder: Path, count: int) -> tuple[Path, list[Cell]]:
    """So many records of a small artifact each, of as many sources, as a run leaves them."""
    out, cells = folder / "out", []
    out.mkdir(parents=True)
    for number in range(count):
        source = folder / f"m{number}.keras"
        source.write_bytes(b"model")
        cell = Cell(model=ModelSpec(file=str(source), weights=WeightsSpec(kind="model")), format=Format.ONNX)
        path = out / cell.model.name / cell.file_name
        path.parent.mkdir()
        path.write_bytes(b"weights")
        artifact = Artifact(
            path=f"{cell.model.name}/{cell.file_name}", format="onnx", scheme="float32", size_bytes=7,
            sha256=digest(path), engine="native", engine_reason="asked", operations={}, inputs=(), outputs=(),
        )  # fmt: skip
        versions = {resume.REQUEST: resume.fingerprint(cell)}
        record = Record(
            model=cell.model.name,
            format="onnx",
            scheme="float32",
            status=Status.PASS,
            artifact=artifact,
            versions=versions,
        )
        store.write_record(out, record, cell.file_name)
        cells.append(cell)
    store.write_manifest(out)
    return out, cells


class Looks:
    """How often the system was asked to open or list something, while it is patched in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: Counter[str] = Counter()
        for name in ("open", "scandir"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, asked):
        def count(place, *arguments, **words):
            self.seen[str(place).rstrip("/")] += 1
            return asked(place, *arguments, **words)

        return count


@pytest.mark.parametrize("count", [2, 30])
def test_every_file_is_read_once_or_twice_however_many_there_are(tmp_path: Path, monkeypatch, count: int) -> None:
    out, cells = filled(tmp_path, count)
    looks = Looks(monkeypatch)
    assert store.verify(out) == ()
    assert len(looks.seen) == 3 * count + 2  # record, artifact and folder of each; the directory, the manifest
    assert max(looks.seen.values()) <= 4  # the folders: what is there, what a dead run left, where records are
    looks.seen.clear()
    twice = [*cells, *(replace(cell, format=Format.TFLITE) for cell in cells)]
    assert set(resume.complete(twice, out)) == set(cells)
    reads = {name: times for name, times in looks.seen.items() if name.endswith((".keras", ".onnx"))}
    assert len(reads) == 2 * count
    assert set(reads.values()) == {1}


def test_a_sound_reference_is_not_read_again_and_another_is_found(tmp_path: Path) -> None:
    from kexport.records import ParityRecord
    from kexport.store import references

    out, _ = filled(tmp_path, 1)
    (record,) = store.read_records(out)
    made = tmp_path / "answers.npz"
    made.write_bytes(b"what Keras said")
    parity = ParityRecord(
        samples=1, runtime="onnxruntime", effective="CPU", outputs=(), checks=(), reference_sha256=digest(made)
    )
    judged = replace(record, parity=parity)
    references.keep(out, judged, made)
    store.write_record(out, judged, "m0-float32.onnx")
    store.write_manifest(out)
    assert store.verify(out) == ()
    other = replace(judged, parity=replace(parity, reference_sha256=digest(made)[:12] + "0" * 52))
    store.write_record(out, other, "m0-float32.onnx")
    store.write_manifest(out)
    (problem,) = store.verify(out)
    assert "was changed: its sha256 is" in problem
