"""What makes a stored record answer a request no more: images that a CSV lists, and code that is not in the file."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import replace
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from kexport.pipeline import resume
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.store.test_store import add

OWN = WeightsSpec(kind="model")


def fingerprint(cell: Cell) -> str:
    return resume.fingerprint(cell, resume.Surroundings(bounds="", makers={}))


@pytest.mark.parametrize("changed", ["a.png", "inner/b.png", "listed.csv"])
def test_images_that_a_csv_lists(tmp_path: Path, changed: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "listed.csv").write_text("path,label\na.png,0\ninner/b.png,1\nabsent.png,1\n")
    for name in ("a.png", "inner/b.png", "other.png"):
        (tmp_path / name).write_bytes(b"an image")
    cell = Cell(model=ModelSpec(application="VGG16"), format=Format.ONNX, evaluation=str(tmp_path / "listed.csv"))
    before = fingerprint(cell)
    (tmp_path / "other.png").write_bytes(b"another image")
    assert fingerprint(cell) == before, "an image that it does not list"
    path = tmp_path / changed
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(1, 1))
    assert fingerprint(cell) != before


def saved(path: Path, *modules: str) -> str:
    """A .keras archive whose configuration names classes of these modules."""
    layers = [{"class_name": "Scale", "module": name, "config": {"name": f"s{i}"}} for i, name in enumerate(modules)]
    described = {"class_name": "Functional", "module": "keras", "config": {"name": "net", "layers": layers}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(described))
    return str(path)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Of a file whose classes are of a module, of a package and of Keras; imports of the module would end the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    for name in ("alone.py", "unused.py", "pack/__init__.py", "pack/layers.py", "pack/deep/numbers.py"):
        (tmp_path / name).write_text("raise SystemExit\n")
    file = saved(tmp_path / "net.keras", "alone", "pack.layers", "keras.layers", "not_there.at_all")
    return Cell(model=ModelSpec(file=file, weights=OWN, trust=True), format=Format.ONNX)


@pytest.mark.parametrize("changed", ["alone.py", "pack/layers.py", "pack/deep/numbers.py", "pack/new.py"])
def test_the_code_of_a_trusted_file(tmp_path: Path, trusted: Cell, changed: str) -> None:
    before = fingerprint(trusted)
    (tmp_path / "unused.py").write_text("FACTOR = 5\n")
    assert fingerprint(trusted) == before, "a module that the file does not name"
    (tmp_path / changed).write_text("FACTOR = 5\n")
    assert fingerprint(trusted) != before


def test_the_code_of_an_editable_install(tmp_path: Path, trusted: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finder knows where it is, no entry of ``sys.path`` does."""
    elsewhere = tmp_path / "elsewhere" / "src"
    elsewhere.mkdir(parents=True)
    (elsewhere / "mine.py").write_text("FACTOR = 2\n")

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> Any:
            return spec_from_file_location(name, elsewhere / "mine.py") if name == "mine" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    saved(Path(str(trusted.model.file)), "mine.layers")
    before = fingerprint(trusted)
    (elsewhere / "mine.py").write_text("FACTOR = 5\n")
    assert fingerprint(trusted) != before


@pytest.mark.parametrize("changed", ["alone.py", "pack/layers.py"])
def test_code_that_is_not_trusted_does_not_run_and_does_not_count(tmp_path: Path, trusted: Cell, changed: str) -> None:
    cell = replace(trusted, model=replace(trusted.model, trust=False))
    before = fingerprint(cell)
    (tmp_path / changed).write_text("FACTOR = 5\n")
    assert fingerprint(cell) == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x89HDF\r\n\x1a\n and no more"])
def test_a_trusted_file_that_is_damaged_is_told_by_who_loads_it(trusted: Cell, content: bytes) -> None:
    Path(str(trusted.model.file)).write_bytes(content)
    assert len(fingerprint(trusted)) == 64


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        (ModelSpec(application="Tiny", weights=WeightsSpec(kind="random", seed=0)), True),
        (ModelSpec(factory="mine:Tiny", weights=OWN), False),
        (ModelSpec(live="Tiny", weights=OWN), False),
    ],
    ids=["application", "factory", "live"],
)
def test_what_code_builds_is_built_again(tmp_path: Path, model: ModelSpec, *, kept: bool) -> None:
    cell = Cell(model=model, format=Format.ONNX)
    add(tmp_path, cell)
    assert (cell in resume.complete([cell], tmp_path)) is kept
