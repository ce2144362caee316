"""``classify`` and ``inspect``: one file, nothing around it, no Keras."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.small_files import colours, photograph, write
from tests.places import ROOT

Call = Callable[..., Any]
TINY = ROOT / "tests" / "data" / "artifacts-0.1" / "tiny"


def test_classify_tells_names_and_where_they_are_from(call: Call, tmp_path: Path) -> None:
    file, red = write(tmp_path / "a.tflite", colours()), photograph(tmp_path / "red.png")
    done = call("classify", str(file), str(red), "--top", "2")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == str(red)
    assert [line.split()[1] for line in lines[1:]] == ["red", "green"]
    assert "contract (in the file): 8x8 RGB, tf, resize crop; labels: in the file" in done.err
    assert "no record beside the file" in done.err


def test_classify_as_json_and_a_folder_of_images(call: Call, tmp_path: Path) -> None:
    file = write(tmp_path / "a.onnx", colours())
    (tmp_path / "photos").mkdir()
    for name, colour in (("a.png", (250, 0, 0)), ("b.png", (0, 250, 0))):
        photograph(tmp_path / "photos" / name, colour)
    found = json.loads(call("classify", str(file), str(tmp_path / "photos"), "--top", "1", "--json").out)
    assert [image["answers"][0]["guesses"][0]["name"] for image in found["images"]] == ["red", "green"]
    assert found["contract"]["mode"] == "tf"


def test_a_truncated_image_is_told_and_the_exit_code_says_it(call: Call, tmp_path: Path) -> None:
    file, good = write(tmp_path / "a.onnx", colours()), photograph(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(good.read_bytes()[:200])
    done = call("classify", str(file), str(tmp_path / "bad.jpg"), str(good))
    assert done.code == 2
    assert "bad.jpg: the image cannot be read" in done.err
    assert "hint: replace or remove the file" in done.err
    assert "red" in done.out


@pytest.mark.parametrize("name", ["absent.jpg", "no folder", "no/where/a.png"])
def test_an_image_that_is_not_there_is_not_to_be_replaced(call: Call, tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "a.onnx", colours())
    done = call("classify", str(file), str(tmp_path / name), str(photograph(tmp_path / "good.jpg")))
    assert done.code == 2
    told = done.err.splitlines()
    assert f"error: {tmp_path / name}: the image cannot be read: there is no such file or folder" in told
    assert f"hint: kexport classify {file} FILE.jpg, or a folder of images" in told
    assert "red" in done.out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("net-int8.onnx", "did you mean {}/net-int8-batch1.onnx?"),
        ("net-int8-batch1.tflite", "did you mean {}/net-int8-batch1.onnx?"),
        ("else.onnx", "kexport export MobileNetV3Small"),
    ],
)
def test_a_file_that_is_not_there_has_its_neighbour_named(call: Call, tmp_path: Path, name: str, hint: str) -> None:
    for there in ("net-int8-batch1.onnx", "net-int8-batch1.json", "labels.txt"):
        (tmp_path / there).touch()
    done = call("classify", str(tmp_path / name), str(tmp_path / "photo.jpg"))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {tmp_path / name} does not exist\nhint: {hint.format(tmp_path)}\n"


@pytest.mark.parametrize("arguments", [("nothing.onnx",), ("a.txt",), ("--top", "0")])
def test_mistakes_are_messages(call: Call, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file, red = write(tmp_path / "a.onnx", colours()), photograph(tmp_path / "r.png")
    (tmp_path / "a.txt").write_text("no model")
    first = [str(file)] if arguments[0] == "--top" else [str(tmp_path / arguments[0])]
    done = call("classify", *first, str(red), *(arguments if arguments[0] == "--top" else ()))
    assert done.code == 2
    assert "error: " in done.err
    assert "hint: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["tiny-float32.onnx", "tiny-float32.tflite"])
def test_inspect_a_file_of_an_earlier_version(call: Call, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = call("inspect", str(TINY / name))
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    for title in ("Signature", "Precision", "Operators", "Contract of an image", "Provenance", "Size by layer"):
        assert title in done.out.splitlines()
    found = json.loads(call("inspect", str(TINY / name), "--json").out)
    assert found["record"]["model"] == "tiny"
    assert sum(weight["size_bytes"] for weight in found["contents"]["weights"]) < found["size_bytes"]


def test_inspect_a_file_without_anything_around_it(call: Call, tmp_path: Path) -> None:
    file = write(tmp_path / "a.tflite", colours("sigmoid"), io="uint8", entries={})
    found = json.loads(call("inspect", str(file), "--json").out)["contents"]
    assert (found["inputs"][0]["dtype"], found["ends"]) == ("uint8", {"output": "sigmoid"})
    assert found["stored"]["output"] == [1 / 256, 0]
    assert found["operations"]["FULLY_CONNECTED"] == 1
    shown = call("inspect", str(file)).out
    assert "no record beside the file" in shown


def test_inspect_a_saved_model_without_tensorflow(call: Call, tmp_path: Path) -> None:
    """The bytes are a SavedModel's: one signature with one input and one output."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def entry(name: str, *sizes: int) -> bytes:
        axes = b"".join(field(2, b"\x08" + (b"\xff" * 9 + b"\x01" if size < 0 else bytes([size]))) for size in sizes)
        return field(1, name.encode()) + field(2, b"\x10\x01" + field(3, axes))

    signature = field(1, entry("image", -1, 8, 8, 3)) + field(2, entry("classes", -1, 3))
    graph = field(2, field(1, field(1, b"node") + field(2, b"MatMul")))
    meta = graph + field(5, field(1, b"serving_default") + field(2, signature))
    folder = tmp_path / "net-savedmodel"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(field(2, meta))
    found = json.loads(call("inspect", str(folder), "--json").out)["contents"]
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 8, 8, 3]}]
    assert found["outputs"][0]["shape"] == [None, 3]
    assert found["operations"] == {"MatMul": 1}
    assert call("classify", str(folder), str(photograph(tmp_path / "a.png"))).code == 2
    (folder / "saved_model.pb").write_bytes(field(2, meta)[:-3])
    assert "is not a SavedModel" in call("inspect", str(folder)).err


def test_neither_keras_nor_a_place_to_write_is_needed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tflite", colours())
    shutil.copy(photograph(tmp_path / "red.png"), tmp_path / "r.png")
    tmp_path.chmod(0o555)
    script = (
        "import sys; from kexport.cli import main\n"
        f"code = main(['classify', {str(file)!r}, {str(tmp_path / 'r.png')!r}])\n"
        f"code += main(['inspect', {str(file)!r}])\n"
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules], code)\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    tmp_path.chmod(0o755)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tflite", "r.png", "red.png"]
