"""What users import: the names, what the import costs, and that functions refuse as the command line does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import kexport
from kexport import errors
from kexport.errors import KexportError, SourceError, StoreError, UnknownNameError, UsageError
from kexport.records import Status
from tests.places import ROOT

HEAVY = ("keras", "tensorflow", "onnxruntime", "onnx", "pydantic", "rich", "click", "flatbuffers", "ai_edge_litert")


def test_public_names() -> None:
    functions = {"bench", "bundle", "classify", "export", "inspect", "parity", "report", "sensitivity", "verify"}
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(kexport.__all__) == {"__version__"} | functions | kinds
    assert set(kexport.__all__) <= set(dir(kexport))
    assert all(callable(getattr(kexport, name)) for name in functions)
    assert all(getattr(kexport, name) is getattr(errors, name) for name in kinds)


def test_the_version_stands_in_one_place() -> None:
    """The build, the package and every file that is written take it from there."""
    code = Path(kexport.version.__file__).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert [line for line in code.splitlines() if "=" in line] == [f'__version__ = "{kexport.__version__}"']
    assert 'path = "kexport/version.py"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "kexport").rglob("*.py"))
    assert "from kexport import __version__" not in sources


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'kexport' has no attribute 'exprot'"):
        _ = kexport.exprot  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", ["import kexport", "import kexport; kexport.export, kexport.report"])
def test_import_is_light(code: str) -> None:
    script = f"{code}\nimport sys, json; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


def test_functions_stay_functions_when_the_rest_is_imported() -> None:
    """A submodule of the same name would take the function's place."""
    script = (
        "import kexport, pkgutil, kexport.pipeline, kexport.pipeline.worker, kexport.cli\n"
        "print([name for name in kexport.__all__ if name[0] != '_' and not callable(getattr(kexport, name))])\n"
        "print([module.name for module in pkgutil.iter_modules(kexport.__path__) if module.name in kexport.__all__])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"sources": "Resnet50"}, UnknownNameError, "unknown model 'Resnet50': did you mean ResNet50?"),
        ({"formats": "onxx"}, UnknownNameError, "unknown format 'onxx': did you mean onnx?"),
        ({"formats": ()}, UsageError, "no format was given: expected at least one"),
        ({"scheme": "float33"}, UnknownNameError, "unknown scheme 'float33': did you mean float32?"),
        ({"engine": "tf2onx"}, UnknownNameError, "unknown engine 'tf2onx': did you mean tf2onnx?"),
        ({"weights": "missing.h5"}, SourceError, "--weights 'missing.h5': there is no such file"),
        ({"input_shape": (17, 17, 3)}, UsageError, "ResNet50 needs 32x32 pixels or more"),
        ({"batch": 0}, UsageError, 'batch: expected "dynamic" or 1 and more, got 0'),
        ({"opset": 5}, UsageError, "opset: expected 13 to 22, got 5"),
        ({"resume": True, "force": True}, UsageError, "expected one of them"),
        ({"jobs": 0}, UsageError, "--jobs 0: expected 1 or more"),
        ({"alpha": 0.5}, UsageError, "ResNet50 takes no --alpha"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_export_refuses(tmp_path: Path, wrong: dict[str, object], kind: type[KexportError], message: str) -> None:
    asked = {"sources": "ResNet50", "weights": "random:0", "directory": tmp_path / "out"} | wrong
    with pytest.raises(kind) as caught:
        kexport.export(**asked)  # type: ignore[arg-type]
    assert message in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    for function in (kexport.parity, kexport.bench, kexport.verify, kexport.report):
        with pytest.raises(UsageError, match="does not exist"):
            function(tmp_path / "nothing")  # type: ignore[operator]
    for function in (kexport.parity, kexport.bench):
        with pytest.raises(UsageError, match="neither an artifact directory nor an artifact in one"):
            function(tmp_path)  # type: ignore[operator]
    with pytest.raises(UnknownNameError, match="did you mean junit"):
        kexport.report((), "junt")


def test_export_parity_bench_report_verify(tmp_path: Path) -> None:
    """The whole, as a program uses it."""
    asked = {"weights": "random:0", "directory": tmp_path, "input_shape": (64, 64, 3)}
    (made,) = kexport.export("MobileNetV3Small", formats="onnx", **asked)  # type: ignore[arg-type]
    assert (made.status, made.reason) == (Status.PASS, "")
    assert made.artifact is not None
    before = (tmp_path / made.artifact.path).read_bytes()

    (measured,) = kexport.bench(tmp_path / made.artifact.path, threads=1, repetitions=3, warmup=1)
    assert [len(session.samples_seconds) for session in measured.benchmarks] == [3]
    (again,) = kexport.parity([tmp_path])
    assert again.parity == made.parity
    assert again.benchmarks == measured.benchmarks, "a check keeps the measurements"
    assert (tmp_path / made.artifact.path).read_bytes() == before

    assert "MobileNetV3Small" in kexport.report(tmp_path)
    assert json.loads(kexport.report([made], "json"))
    assert kexport.verify(tmp_path) == ()
    (kept,) = kexport.export(["MobileNetV3Small"], formats=["onnx"], resume=True, **asked)  # type: ignore[arg-type]
    assert kept == again, "what is complete is not made again"


def test_an_unusable_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder, or leads through a file"):
        kexport.export("MobileNet", weights="random:0", directory=tmp_path / "file" / "below")
    with kexport.api.store.lock(tmp_path):  # type: ignore[attr-defined]
        monkeypatch.setattr("kexport.store.lock.__wrapped__.__kwdefaults__", {"timeout_seconds": 0.2})
        with pytest.raises(StoreError, match="is in use by process"):
            kexport.export("MobileNet", weights="random:0", directory=tmp_path)
