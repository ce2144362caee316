"""``--reference tensorflow,jax``: files are compared with what Keras says on another backend too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kexport.errors import KexportError, MissingDependencyError, UnknownNameError, UsageError
from kexport.options import PYTHON, ExportOptions, read
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.requests import cells, skipped
from kexport.pipeline.waiting import groups_of
from kexport.sources import backend
from kexport.sources.catalog import select
from kexport.specs import Backend, Cell, Format, ModelSpec, WeightsSpec

SMALL = ("MobileNetV3Small", "--input-shape", "32,32,3", "--classes", "10", "--weights", "random:0")
FACTORY = """
import keras
import numpy as np


def build():
    inputs = keras.Input((8, 8, 3))
    values = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(values), name="plain")
    drawn = np.random.default_rng(3)
    model.set_weights([drawn.normal(size=weight.shape) for weight in model.weights])
    return model


def louder():
    model = build()
    if keras.backend.backend() != "jax":
        return model
    return keras.Model(model.inputs, keras.layers.Rescaling(1.02)(model.outputs[0]), name="plain")


def wider():
    inputs = keras.Input((8, 8, 3))
    values = keras.layers.Conv2D(5 if keras.backend.backend() == "jax" else 4, 3)(inputs)
    return keras.Model(inputs, values)


def cut():
    inputs = keras.Input((8, 8, 3))
    values = keras.layers.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, values[:, 1:] if keras.backend.backend() == "jax" else values)


def refuses():
    if keras.backend.backend() == "jax":
        raise RuntimeError("not on jax")
    return build()
"""


def run(*words: str, folder: Path, keras: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), *filter(None, sys.path)))}
    environment.pop(backend.VARIABLE, None)
    environment |= {} if keras is None else {backend.VARIABLE: keras}
    return subprocess.run(
        [sys.executable, "-m", "kexport", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def with_jax() -> None:
    if find_spec("jax") is None:
        pytest.skip("jax is not installed (pip install 'kexport[dev]')")


@pytest.mark.usefixtures("with_jax")
def test_both_formats_and_int8_agree_with_both_backends_and_again_without_keras(tmp_path: Path) -> None:
    asked = ("--schemes", "float32,int8", "--calibration", "synthetic:0", "--reference", "tensorflow,jax", "-o", "made")
    done = run("export", *SMALL, *asked, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "keras on jax: reference" in done.stderr
    records = json.loads(done.stdout)["records"]
    assert [record["status"] for record in records] == ["PASS"] * 4
    for record in records:
        (other,) = record["parity"]["others"]
        assert other["backend"] == "jax"
        assert any(check["name"].startswith("jax: ") for check in record["parity"]["checks"])
        assert {"tensorflow", "jax"} <= set(record["versions"])
        assert "--reference tensorflow,jax" in record["reproduce"]
        assert record["parity"]["backend"] == "tensorflow"
        assert record["cost"]["seconds"]["reference on jax"] > 0
    again = run("parity", "made", "--json", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "keras" not in {line.split()[2].rstrip(":") for line in again.stderr.splitlines() if line.startswith("[")}
    found = json.loads(again.stdout)["records"]
    assert [record["parity"]["others"] for record in found] == [record["parity"]["others"] for record in records]
    assert run("export", *SMALL, *asked, "--resume", folder=tmp_path).returncode == 0


@pytest.mark.usefixtures("with_jax")
def test_a_network_that_the_other_backend_computes_otherwise_fails(tmp_path: Path) -> None:
    """A planted difference of 2 %: the file is the first backend's, and alone it would pass."""
    (tmp_path / "planted.py").write_text(FACTORY)
    asked = ("--formats", "onnx", "-o", "made", "--json")
    assert run("export", "planted:louder", *asked, folder=tmp_path).returncode == 0
    done = run("export", "planted:louder", *asked, "--reference", "jax", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["status"] == "FAIL"
    assert record["reason"].startswith("jax: ")
    assert all(part.startswith("jax: ") for part in record["reason"].split("; "))


@pytest.mark.usefixtures("with_jax")
@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("wider", "Keras on jax: builds another network, with weights of shapes "),
        ("cut", "Keras on jax: builds another network, with outputs {"),
    ],
)
def test_another_network_on_the_other_backend_is_no_bug_of_kexport(factory: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(FACTORY)
    done = run("export", f"planted:{factory}", "--formats", "onnx", "--reference", "jax", "-o", "m", folder=tmp_path)
    assert done.returncode == 2
    assert f"error: {told}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.usefixtures("with_jax")
def test_a_recheck_asks_all_backends_whichever_is_usual_then(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(FACTORY)
    asked = ("--formats", "onnx", "--reference", "jax", "-o", "made")
    assert run("export", "planted:build", *asked, folder=tmp_path).returncode == 0
    words = ("parity", "made", "--with-keras", "--trust", "planted:build", "--json")
    done = run(*words, folder=tmp_path, keras="jax")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["parity"]["backend"] == "jax"
    assert [other["backend"] for other in record["parity"]["others"]] == ["tensorflow"]
    assert {"jax", "tensorflow"} <= set(record["versions"])


@pytest.mark.usefixtures("with_jax")
def test_a_network_that_the_other_backend_cannot_build(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(FACTORY)
    done = run("export", "planted:refuses", "--formats", "onnx", "--reference", "jax", "-o", "made", folder=tmp_path)
    assert done.returncode == 2
    assert "error: Keras on jax: planted:refuses raised RuntimeError: not on jax (" in done.stderr
    assert "hint: KERAS_BACKEND=jax kexport export planted:refuses --formats onnx --schemes float32" in done.stderr
    assert not list((tmp_path / "made").rglob("*.onnx"))


def test_the_backend_that_builds_the_model_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "chosen", lambda: "tensorflow")
    assert backend.beside((Backend.TENSORFLOW, Backend.JAX, Backend.JAX)) == ("jax",)
    options = ExportOptions(formats=(Format.ONNX,), reference=(Backend.TENSORFLOW,))
    (cell,) = cells(select(["MobileNet"]), options)
    assert cell.reference == ()
    (line,) = skipped(options)
    assert line.startswith(
        "--reference tensorflow: Keras computes with tensorflow here, so files are compared with nothing"
    )
    assert skipped(ExportOptions(reference=(Backend.JAX,))) == ()


@pytest.mark.parametrize("asked", [("jax",), ("jax", "tensorflow"), ("tensorflow", "jax", "jax")])
@pytest.mark.parametrize("builder", ["tensorflow", "jax"])
def test_equal_requests_are_equal_and_name_the_builder(
    asked: tuple[str, ...], builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the command that a record keeps makes the same comparison where another backend is usual."""
    monkeypatch.setattr(backend, "chosen", lambda: builder)
    monkeypatch.setattr(backend, "installed", lambda name: True)
    names = tuple(map(Backend, asked)) if builder == "tensorflow" else (*map(Backend, asked), Backend.TENSORFLOW)
    (cell,) = cells(select(["MobileNet"]), ExportOptions(formats=(Format.ONNX,), reference=names))
    assert cell.reference == (("tensorflow", "jax") if builder == "tensorflow" else ("jax", "tensorflow"))
    assert f"--reference {','.join(cell.reference)}" in reproduce(cell, Path("out"))


def test_cells_that_ask_other_backends_are_prepared_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "chosen", lambda: "tensorflow")
    plain, compared = (
        Cell(model=ModelSpec(application="MobileNet"), format=form, reference=names)
        for form, names in ((Format.ONNX, ()), (Format.TFLITE, (Backend.TENSORFLOW, Backend.JAX)))
    )
    assert [(group.cells, group.left) for group in groups_of((plain, compared), tmp_path)] == [
        ((plain,), ()), ((compared,), ("jax",)),
    ]  # fmt: skip


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "installed", lambda name: name != "jax")
    with pytest.raises(MissingDependencyError) as caught:
        cells(select(["MobileNet"]), ExportOptions(reference=(Backend.JAX,)))
    assert str(caught.value) == ("--reference jax: Keras on jax needs jax, which is absent\nhint: pip install jax")


def test_a_backend_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean tensorflow") as caught:
        read(PYTHON, {"reference": "tensorflwo"})
    assert isinstance(caught.value, KexportError)


@pytest.mark.parametrize("made", [("live", ""), ("served", "a SavedModel")])
def test_a_model_that_only_this_program_or_tensorflow_has(
    made: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kexport.pipeline import elsewhere

    monkeypatch.setattr(backend, "installed", lambda name: True)
    source = {"live": "flowers"} if made[0] == "live" else {"file": str(tmp_path)}
    with pytest.raises(UsageError, match=made[1] or "a model of this program") as caught:
        elsewhere.asked((Backend.JAX,), ModelSpec(weights=WeightsSpec(kind="model"), **source))
    assert "model.save('model.keras')" in str(caught.value)
    elsewhere.asked((Backend.TENSORFLOW,), ModelSpec(weights=WeightsSpec(kind="model"), **source))
