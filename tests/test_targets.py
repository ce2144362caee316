"""The target files: all of them are legal, and mistakes are told all at once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from kexport import targets
from kexport.errors import UnknownNameError, UsageError
from kexport.specs import Engine, Format, Scheme
from tests.places import ROOT

KEYS = ", ".join(["description", *(key.word for key in targets.KEYS)])


@pytest.mark.parametrize("name", targets.names())
def test_every_target_is_legal(name: str) -> None:
    target = targets.load(name)
    assert target.description
    formats = target.values["formats"]
    assert all(scheme in form.schemes for form in formats for scheme in target.values["schemes"])
    assert not (target.values.get("batch") == "dynamic" and Format.TFLITE in formats)


def test_the_targets_that_users_are_told_about() -> None:
    told = {"server-cpu", "server-cuda", "android", "portable", "openvino", "triton", "tfserving"}
    integer = {"android-int8", "raspberry-pi-int8", "microcontroller-int8", "web-wasm-int8", "server-cpu-int8"}
    assert set(targets.names()) >= told | integer
    assert all(targets.load(name).values["schemes"] == (Scheme.INT8,) for name in integer)


def test_five_mistakes_are_five_messages(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "x"\nformats = ["tflite"]\nschemes = ["int9"]\noperators = "CONV_2D"\nbench_threads = 1.5\n'
        'embed_preprocessing = "yes"\nbatchsize = 1\n'
    )
    with pytest.raises(UsageError) as error:
        targets.load(str(path))
    keys = [line.split(": ")[1] for line in error.value.message.splitlines()]
    assert sorted(keys) == ["batchsize", "bench_threads", "embed_preprocessing", "operators", "schemes.0"]


def test_android_is_tflite_in_two_precisions_with_batch_one() -> None:
    assert targets.load("android").values == {
        "formats": (Format.TFLITE,),
        "schemes": (Scheme.FLOAT32, Scheme.FLOAT16),
        "batch": 1,
        "engine": Engine.NATIVE,
    }


def test_a_target_says_how_latency_is_measured() -> None:
    from kexport.options import ExportOptions
    from kexport.pipeline import requests

    asked = ExportOptions(target=("raspberry-pi-int8",), calibration="synthetic:0")
    assert requests.benchmark(asked) is None
    found = requests.benchmark(ExportOptions(target=("raspberry-pi-int8",), bench=True))
    assert found is not None
    assert found.threads == 4


def test_unknown_target_is_offered_the_closest() -> None:
    with pytest.raises(UnknownNameError) as error:
        targets.load("androit")
    assert str(error.value) == "unknown target 'androit': did you mean android?\nhint: kexport list targets"


def test_all_mistakes_at_once_with_their_path(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('formats = ["onnx", "coreml"]\nopset = "two"\nbatch = "some"\nopsett = 3\ninput_shape = [1, 2]\n')
    with pytest.raises(UsageError) as error:
        targets.read(path, label="targets/x.toml")
    assert sorted(error.value.message.splitlines()) == [
        "targets/x.toml: batch: expected int or 'dynamic', got \"some\"",
        "targets/x.toml: description: missing, expected a line `description = ...`",
        "targets/x.toml: formats.1: expected 'onnx', 'tflite' or 'savedmodel', got \"coreml\"",
        "targets/x.toml: input_shape.2: missing, expected one more number",
        'targets/x.toml: opset: expected int, got "two"',
        f"targets/x.toml: opsett: unknown key, expected one of {KEYS}",
    ]


def test_contradictions_are_mistakes_too(tmp_path: Path) -> None:
    path = tmp_path / "y.toml"
    path.write_text('description = "x"\nformats = ["savedmodel"]\nschemes = ["float16"]\nopset = 99\nbatch = 0\n')
    with pytest.raises(UsageError) as error:
        targets.load(str(path))
    assert error.value.message.splitlines() == [
        f"{path}: schemes: savedmodel cannot be float16, expected one of float32",
        f"{path}: opset: expected 13 to 22, got 99",
        f'{path}: batch: expected "dynamic" or 1 and more, got 0',
    ]


def test_no_type_is_guessed() -> None:
    with pytest.raises(UsageError, match="opset: expected int, got true"):
        targets.parse({"description": "x", "formats": ["onnx"], "opset": True})


@pytest.mark.parametrize(("content", "said"), [("a = [", "is not TOML"), (None, "cannot be read: No such file")])
def test_a_file_that_is_no_target(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "z.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=said):
        targets.load(str(path))


def test_readme_names_every_key() -> None:
    text = (ROOT / "targets" / "README.md").read_text(encoding="utf-8")
    keys = ["description", *(key.word for key in targets.KEYS)]
    assert [key for key in keys if f"| `{key}` |" not in text] == []


def test_zip_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(range(256)))
    with pytest.raises(UsageError, match="is not TOML"):
        targets.load(str(path))
