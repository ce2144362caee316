"""Keras's backend is what is installed or asked for; what TensorFlow alone can do says so where it is absent."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

import kexport
from kexport.sources import backend
from tests.places import ROOT

EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
FINDER = """
import sys
from importlib.machinery import ModuleSpec

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in {faked!r}:
            return ModuleSpec(name, None, origin="faked")
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Finder())
"""
ALL = {"tensorflow", "jax", "openvino", "scipy", "torch"}
TOLD = """
from kexport.sources import backend
from kexport.errors import KexportError
told = ""
try:
    backend.select()
except KexportError as error:
    told = str(error)
import json, os
print(json.dumps([backend.chosen(), os.environ.get("KERAS_BACKEND", ""), told]))
"""


def python(
    words: Sequence[str], folder: Path, *, faked: set[str] = frozenset(), absent: set[str] = frozenset(),  # type: ignore[assignment]
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Python where packages are faked or absent, in every process that it starts as well."""
    (folder / "finder").mkdir()
    (folder / "finder" / "sitecustomize.py").write_text(FINDER.format(faked=set(faked), absent=set(absent)))
    path = os.pathsep.join((str(folder / "finder"), str(Path(kexport.__file__).parents[1])))
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment = {**own, "PYTHONPATH": path, "KERAS_HOME": str(folder), **(variables or {})}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("there", "asked", "chosen", "set_to"),
    [
        ({"tensorflow"}, ("", ""), "tensorflow", ""),
        ({"tensorflow", "jax"}, ("", ""), "tensorflow", ""),
        ({"jax"}, ("", ""), "jax", "jax"),
        ({"openvino", "scipy"}, ("", ""), "openvino", "openvino"),
        ({"jax", "openvino", "scipy"}, ("", ""), "jax", "jax"),
        ({"jax"}, ("", "tensorflow"), "jax", "jax"),  # Keras writes its default there itself
        ({"tensorflow", "jax"}, ("", "jax"), "jax", ""),
        ({"tensorflow", "jax"}, ("jax", ""), "jax", "jax"),
        ({"tensorflow", "openvino", "scipy"}, ("openvino", "jax"), "openvino", "openvino"),
    ],
)
def test_the_backend(tmp_path: Path, there: set[str], asked: tuple[str, str], chosen: str, set_to: str) -> None:
    """``asked``: by the variable, and by the file."""
    variable, file = asked
    if file:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": file}))
    variables = {"KERAS_BACKEND": variable} if variable else {}
    done = python(["-c", TOLD], tmp_path, faked=there, absent=ALL - there, variables=variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [chosen, set_to, ""]


@pytest.mark.parametrize("text", ['{"backend": null}', '{"backend": ["jax"]}', '{"backend": 5}', '["jax"]', "{", ""])
def test_a_file_that_names_nothing_is_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "keras.json").write_text(text)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert backend._of_file() == ""


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("KERAS_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    assert backend._of_file() == ""


@pytest.mark.parametrize(
    ("there", "variable", "told"),
    [
        (
            set(),
            "",
            (
                "Keras has no backend: none of tensorflow, jax, openvino is installed\n"
                "hint: pip install 'kexport[cpu]', or 'kexport[light]', which is without TensorFlow"
            ),
        ),
        (
            {"jax"},
            "tensorflow",
            (
                "Keras's backend is 'tensorflow' (KERAS_BACKEND), which is not installed; installed: jax\n"
                "hint: export KERAS_BACKEND=jax"
            ),
        ),
        (
            {"openvino"},
            "openvino",
            (
                "Keras's backend is 'openvino' (KERAS_BACKEND), which needs scipy; installed: none\n"
                "hint: pip install scipy"
            ),
        ),
        (
            {"tensorflow"},
            "torch",
            (
                "Keras's backend is 'torch' (KERAS_BACKEND), which is not installed; installed: tensorflow\n"
                "hint: export KERAS_BACKEND=tensorflow"
            ),
        ),
    ],
)
def test_a_backend_that_cannot_work(tmp_path: Path, there: set[str], variable: str, told: str) -> None:
    variables = {"KERAS_BACKEND": variable} if variable else {}
    done = python(["-c", TOLD], tmp_path, faked=there, absent=ALL - there, variables=variables)
    assert json.loads(done.stdout)[2] == told, done.stderr


def test_a_mere_folder_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    asked = "from kexport.sources import backend; print(backend.installed('jax'), backend.installed('json'))"
    done = python(["-c", asked], tmp_path, absent={"tensorflow"})
    if find_spec("jax") is None:
        assert done.stdout.split() == ["False", "True"], done.stderr


def test_every_worker_process_has_the_backend(tmp_path: Path) -> None:
    asked = (
        "from kexport.pipeline.runners.child import child_environment; "
        "print(child_environment(jobs=1).get('KERAS_BACKEND'))"
    )
    done = python(["-c", asked], tmp_path, faked={"jax"}, absent=ALL - {"jax"})
    assert done.stdout.strip() == "jax", done.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--formats", "savedmodel"], "savedmodel float32 cannot be made: a SavedModel"),
        (["--formats", "onnx", "--engine", "tf2onnx"], "onnx float32 cannot be made: the engine tf2onnx"),
        (
            ["--formats", "tflite", "--engine", "tflite-converter"],
            "tflite float32 cannot be made: the engine tflite-converter",
        ),
    ],
)
@pytest.mark.parametrize(
    ("there", "told"),
    [
        (set(), "needs TensorFlow, which is not installed\nhint: pip install 'kexport[cpu]'"),
        (
            {"tensorflow", "jax"},
            ("needs Keras on TensorFlow; here it computes with jax\nhint: export KERAS_BACKEND=tensorflow"),
        ),
    ],
)
def test_what_only_tensorflow_writes_is_refused_before_work(
    tmp_path: Path, words: list[str], what: str, there: set[str], told: str
) -> None:
    asked = ["-m", "kexport", "export", "MobileNetV3Small", "--weights", "random:0", *words]
    variables = {"KERAS_BACKEND": "jax"} if there else {}
    done = python(asked, tmp_path, faked=there, absent=ALL - there, variables=variables)
    assert done.returncode == 3
    assert done.stderr == f"error: {what} {told}\n"


LEFT_OUT = """
from kexport.options import ExportOptions
from kexport.pipeline import requests
from kexport.registry import Format
from kexport.sources.names import select
asked = ExportOptions(
    formats=tuple(map(Format, ("onnx", "tflite", "savedmodel"))), weights="random:0", skip_unsupported=True
)
print(*(cell.format for cell in requests.cells(select(["MobileNetV3Small"]), asked)))
print(*requests.skipped(asked), sep="\\n")
"""


def test_what_is_lacking_is_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    done = python(["-c", LEFT_OUT], tmp_path, absent={"tensorflow"})
    assert done.stdout.splitlines() == [
        "onnx tflite",
        "skipped savedmodel float32: a SavedModel needs TensorFlow, which is not installed",
    ], done.stderr


SOURCES = """
import sys
from pathlib import Path
from kexport.errors import MissingDependencyError
from kexport.evidence.benchmark import BenchRequest, execute
from kexport.runtimes import find, open_session
from kexport.sources.loading import served
from kexport.specs import ModelSpec, WeightsSpec
Path("saved").mkdir()
keras = BenchRequest(runtime="keras", model=ModelSpec(application="VGG16", weights=WeightsSpec(kind="random", seed=0)))
for ask in (
    lambda: served.opened(Path("saved"), trust=True),
    lambda: open_session(find("savedmodel"), Path("saved")),
    lambda: open_session(find("keras"), None),
    lambda: execute(keras),
):
    try:
        ask()
    except MissingDependencyError as error:
        print(str(error).replace("\\n", "; "))
"""


def test_what_only_tensorflow_reads_and_runs(tmp_path: Path) -> None:
    done = python(["-c", SOURCES], tmp_path, absent={"tensorflow"})
    hint = "hint: pip install 'kexport[cpu]'"
    assert done.stdout.splitlines() == [
        f"model saved is a SavedModel: it needs TensorFlow, which is not installed; {hint}",
        f"runtime savedmodel needs the package tensorflow, which is not installed (tensorflow); {hint}",
        f"the runtime keras needs TensorFlow, which is not installed; {hint}",
        f"measuring Keras itself needs TensorFlow, which is not installed; {hint}",
    ], done.stderr


LOOKED_AT = """
from pathlib import Path
from kexport.errors import MissingDependencyError
from kexport.evidence import artifact_file
from kexport.runtimes import find, precheck
path = Path("x.onnx")
path.write_bytes(b"not empty, and none of its kind")
asks = (
    lambda: precheck.require_sound(find("onnxruntime"), path),
    lambda: precheck.require_sound(find("onnxruntime"), path, run=True),
    lambda: artifact_file.read(path),
)
for ask in asks:
    try:
        ask()
    except MissingDependencyError as error:
        print(error)
"""


def test_a_package_that_looks_at_a_file_is_named_where_it_is_absent(tmp_path: Path) -> None:
    done = python(["-c", LOOKED_AT], tmp_path, absent={"onnx"})
    told = "x.onnx: looking at it needs the package onnx\nhint: pip install 'kexport[run]'\n"
    assert done.stdout == 3 * told, done.stderr


def test_doctor_tells_the_backend(tmp_path: Path) -> None:
    done = python(["-m", "kexport", "doctor", "--json"], tmp_path, faked={"jax"}, absent=ALL - {"jax"})
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["keras backend"]["value"] == "jax"
    alone = found["SavedModel, tf2onnx, TFLite converter"]
    assert (alone["level"], alone["cure"]) == ("warning", "pip install 'kexport[cpu]'")
    assert "tensorflow" not in found["exporting"]["value"]


def packages(extra: str) -> dict[str, str]:
    """Every package of an extra with its lower bound, those of the extras in it as well."""
    found: dict[str, str] = {}
    for line in EXTRAS[extra]:
        inner = re.fullmatch(r"kexport\[([\w,]+)]", line)
        for name in inner[1].split(",") if inner else ():
            found |= packages(name)
        if not inner:
            name, _, bound = line.partition(">=")
            found[name] = bound
    return found


def test_the_small_extras_are_small_and_have_the_bounds_of_the_large_one() -> None:
    run, cpu = packages("run"), packages("cpu")
    assert set(run) == {"onnx", "onnxruntime", "ai-edge-litert", "pillow"}
    assert "tensorflow" in cpu
    for extra, own in {"light": {"jax"}, "light-openvino": {"openvino", "scipy"}}.items():
        light = packages(extra)
        assert not {"tensorflow", "tf2onnx"} & set(light)
        assert set(light) - set(cpu) == own
        assert all(light[name] == cpu[name] for name in set(light) & set(cpu))


@pytest.mark.parametrize(("name", "extra"), [("jax", "light"), ("openvino", "light-openvino")])
def test_an_export_with_keras_on_a_small_backend(tmp_path: Path, name: str, extra: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install 'kexport[{extra}]')")
    words = ["MobileNetV3Small", "--input-shape", "32,32,3", "--classes", "10", "--weights", "random:0"]
    asked = ["-m", "kexport", "export", *words, "--formats", "onnx,tflite", "-o", "made", "--json"]
    done = python(asked, tmp_path, absent=ALL - {name, "scipy"})
    assert done.returncode == 0, done.stderr
    assert "a fresh process" not in done.stderr
    records = json.loads(done.stdout)["records"]
    assert [record["status"] for record in records] == ["PASS", "PASS"]
    assert all(name in record["versions"] and "tensorflow" not in record["versions"] for record in records)


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_a_lazy_backend_computes_what_a_layer_gives_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """On one that is not lazy values stay the very same; structures, types and what is no tensor stay everywhere."""
    import keras

    given = {
        "a": keras.ops.convert_to_tensor([[1.5, 2.0]]),
        "b": [keras.ops.convert_to_tensor([True, False]), None],
        "c": (keras.ops.convert_to_tensor([3]), "text"),
    }
    given["a"]._keras_mask = keras.ops.convert_to_tensor([True])
    monkeypatch.setattr(backend, "_running", lambda: name)
    found = backend.settled(given)
    assert bool(found["a"]._keras_mask[0])  # which layers behind would go without
    assert not hasattr(found["c"][0], "_keras_mask")
    assert (found is given) is (name not in backend.LAZY)
    assert (found["a"] is given["a"]) is (name not in backend.LAZY)
    before, after = keras.tree.flatten(given), keras.tree.flatten(found)
    keras.tree.assert_same_structure(given, found)
    for old, new in zip(before, after, strict=True):
        if keras.ops.is_tensor(old):
            assert keras.backend.standardize_dtype(new.dtype) == keras.backend.standardize_dtype(old.dtype)
            assert (keras.ops.convert_to_numpy(old) == keras.ops.convert_to_numpy(new)).all()
        else:
            assert new == old
