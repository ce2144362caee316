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
from kexport.pipeline.requests import cells
from kexport.sources import backend
from kexport.sources.catalog import select
from kexport.specs import Backend, Format

SMALL = ("MobileNetV3Small", "--input-shape", "32,32,3", "--classes", "10", "--weights", "random:0")
FACTORY = """
import keras


def build():
    inputs = keras.Input((8, 8, 3))
    keras.utils.set_random_seed(3)
    values = keras.layers.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, keras.layers.Flatten()(values), name="plain")


def louder():
    model = build()
    if keras.backend.backend() != "jax":
        return model
    return keras.Model(model.inputs, keras.layers.Rescaling(1.02)(model.outputs[0]), name="plain")


def refuses():
    if keras.backend.backend() == "jax":
        raise RuntimeError("not on jax")
    return build()
"""


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), *filter(None, sys.path)))}
    environment.pop(backend.VARIABLE, None)
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
        assert "--reference jax" in record["reproduce"] or "--reference tensorflow,jax" in record["reproduce"]
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
def test_a_network_that_the_other_backend_cannot_build(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(FACTORY)
    done = run("export", "planted:refuses", "--formats", "onnx", "--reference", "jax", "-o", "made", folder=tmp_path)
    assert done.returncode == 2
    assert "error: Keras on jax: planted:refuses raised RuntimeError: not on jax (" in done.stderr
    assert "hint: KERAS_BACKEND=jax kexport export planted:refuses" in done.stderr
    assert not list((tmp_path / "made").rglob("*.onnx"))


def test_the_backend_that_builds_the_model_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "chosen", lambda: "tensorflow")
    assert backend.beside((Backend.TENSORFLOW, Backend.JAX, Backend.JAX)) == ("jax",)
    options = ExportOptions(formats=(Format.ONNX,), reference=(Backend.TENSORFLOW,))
    (cell,) = cells(select(["MobileNet"]), options)
    assert cell.reference == (Backend.TENSORFLOW,)


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "installed", lambda name: name != "jax")
    with pytest.raises(MissingDependencyError) as caught:
        cells(select(["MobileNet"]), ExportOptions(reference=(Backend.JAX,)))
    assert str(caught.value) == (
        "--reference jax: Keras on jax needs it, and it is not installed\nhint: pip install jax"
    )


def test_a_backend_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean tensorflow") as caught:
        read(PYTHON, {"reference": "tensorflwo"})
    assert isinstance(caught.value, KexportError)


@pytest.mark.parametrize("made", [("live", ""), ("served", "a SavedModel")])
def test_a_model_that_only_this_program_or_tensorflow_has(
    made: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kexport.pipeline import elsewhere
    from kexport.specs import ModelSpec, WeightsSpec

    monkeypatch.setattr(backend, "installed", lambda name: True)
    source = {"live": "flowers"} if made[0] == "live" else {"file": str(tmp_path)}
    with pytest.raises(UsageError, match=made[1] or "a model of this program") as caught:
        elsewhere.check((Backend.JAX,), ModelSpec(weights=WeightsSpec(kind="model"), **source))
    assert "model.save('model.keras')" in str(caught.value)
    elsewhere.check((Backend.TENSORFLOW,), ModelSpec(weights=WeightsSpec(kind="model"), **source))
