"""Mistakes that users make, through the real program: one message, exit code 2 or 3, no traceback, no file left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = "64,64,3"


class Ended:
    """How one run of the program ended, and what it left in its folder."""

    def __init__(self, folder: Path, run: Callable[[], tuple[int, str, str]]) -> None:
        before = set(folder.rglob("*"))
        self.code, self.out, self.err = run()
        self.left = sorted(str(path.relative_to(folder)) for path in set(folder.rglob("*")) - before)

    @property
    def message(self) -> list[str]:
        """The lines of stderr that are not progress."""
        return [line for line in self.err.splitlines() if not line.startswith("[")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good weights file of MobileNetV3Small and what can happen to it."""
    import h5py
    import keras

    folder = tmp_path_factory.mktemp("weights")
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3))
    model.save_weights(folder / "good.weights.h5")
    data = (folder / "good.weights.h5").read_bytes()
    (folder / "truncated.weights.h5").write_bytes(data[: len(data) // 2])
    (folder / "empty.weights.h5").write_bytes(b"")
    (folder / "text.weights.h5").write_text("these are not weights\n")
    (folder / "folder.weights.h5").mkdir()
    (folder / "nan.weights.h5").write_bytes(data)
    with h5py.File(folder / "nan.weights.h5", "r+") as file:
        kernel = file["layers/conv2d/vars/0"]
        kernel[0, 0, 0, 0] = np.nan
    return folder


def run(folder: Path, *arguments: str) -> Ended:
    """By a process of its own."""

    def start() -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "kexport", *arguments],
            cwd=folder, capture_output=True, text=True, check=False, timeout=200, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return Ended(folder, start)


@pytest.fixture
def warm(call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """By this process, whose Keras processes are forked from one that has imported it already."""

    def run(*arguments: str) -> Ended:
        def start() -> tuple[int, str, str]:
            done = call(*arguments)
            return done.code, done.out, done.err

        monkeypatch.chdir(tmp_path)
        return Ended(tmp_path, start)

    return run


def check(ended: Ended, message: str, *, code: int = 2) -> None:
    """Exactly one message and one hint, said once; nothing on stdout, nothing in the folder."""
    assert ended.code == code, ended.err
    errors = [line for line in ended.message if line.startswith("error: ")]
    hints = [line for line in ended.message if line.startswith("hint: ")]
    assert len(errors) == 1, ended.err
    assert message in errors[0]
    assert len(hints) <= 1
    assert len(ended.message) == len(errors) + len(hints), ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert ended.left == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Resnet50"], "unknown model 'Resnet50': did you mean ResNet50?"),
        (["ResNet50", "--weights", "missing.h5"], "--weights 'missing.h5': there is no such file"),
        (["ResNet50", "--weights", ""], "--weights '': there is no such file"),
        (["ResNet50", "--weights", "/"], "--weights '/': that is a folder"),
        (["ResNet50", "--weights", "~/missing.h5"], "--weights '~/missing.h5': there is no such file"),
        (
            ["ResNet50", "--weights", "random:0", "--input-shape", "17,17,3"],
            "--input-shape 17,17,3: ResNet50 needs 32x32 pixels or more",
        ),
        (["ResNet50", "--weights", "random:x"], "random:x"),
        (["ResNet50", "--formats", "onxx"], "unknown format 'onxx': did you mean onnx?"),
        (["ResNet50", "--formats", "tflite", "--engine", "tf2onnx"], "tf2onnx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_requests(tmp_path: Path, arguments: list[str], message: str) -> None:
    check(run(tmp_path, "export", *arguments), message)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("truncated.weights.h5", "truncated.weights.h5 is damaged"),
        ("empty.weights.h5", "empty.weights.h5: not an HDF5 file (0 bytes"),
        ("text.weights.h5", "text.weights.h5: not an HDF5 file (22 bytes"),
        ("folder.weights.h5", "folder.weights.h5"),
        ("nan.weights.h5", "layer 'conv', kernel: 1 of 432 values are NaN or infinite"),
    ],
)
def test_weight_files(weights: Path, warm: Callable[..., Ended], file: str, message: str) -> None:
    asked = ("export", "MobileNetV3Small", "--input-shape", SIZE, "--weights", str(weights / file), "-o", "a/b")
    check(warm(*asked), message)


def test_weights_of_another_model(weights: Path, warm: Callable[..., Ended]) -> None:
    asked = ("export", "MobileNetV2", "--input-shape", SIZE, "--weights", str(weights / "good.weights.h5"))
    check(warm(*asked), "good.weights.h5 are not of this MobileNetV2: layer ")


def test_a_refused_request_leaves_an_existing_folder_as_it_was(
    weights: Path, warm: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    ended = warm("export", "MobileNetV3Small", "--weights", str(weights / "truncated.weights.h5"), "-o", "out")
    assert ended.code == 2
    assert ended.left in ([], ["out/.kexport.lock"])
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run(tmp_path, "export", "MobileNetV3Small", "--weights", "random:0", "-o", "file/below")
    check(ended, "file/below is not a folder, or leads through a file")


@pytest.mark.parametrize(
    "words",
    [
        ("export", "MobileNetV3Small", "--weights", "random:0", "-o", "out"),
        ("all", "--weights", "random:0", "--isolate", "-o", "out"),
        ("list", "layers", "MobileNetV3Small"),
    ],
    ids=["export", "isolate", "layers"],
)
def test_no_folder_takes_temporary_files(tmp_path: Path, words: tuple[str, ...]) -> None:
    """As in a container whose file system is read-only."""
    code = (
        "import sys, tempfile\n"
        "tempfile._candidate_tempdir_list = lambda: ['/proc']\n"
        f"from kexport.cli import main\nsys.exit(main({words!r}))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 3, ended.stderr
    told = f"hint: TMPDIR=FOLDER kexport {' '.join(words)}, FOLDER: one that can be written"
    assert f"error: no folder takes temporary files: tried /proc\n{told}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["why.html", "why.md", "a/why.json"])
def test_one_file_where_a_folder_is_written(call: Callable[..., Any], tmp_path: Path, name: str) -> None:
    ended = call("parity", str(tmp_path), "--by-layer", "-o", name)
    assert ended.code == 2
    assert f"-o {name}: --by-layer writes a page, the first layer that differs and a script: expected" in ended.err
    assert f"-o {name.rsplit('.', 1)[0]}\n" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.EROFS, "its file system is read-only"), (errno.EACCES, "no permission to write there")]
)
def test_a_folder_that_refuses(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cause: str
) -> None:
    made = tempfile.TemporaryFile

    def refuse(*given: Any, **more: Any) -> Any:
        if more.get("dir") is None:
            return made(*given, **more)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    ended = call("export", "MobileNetV3Small", "--weights", "random:0", "-o", str(tmp_path / "new" / "out"))
    assert ended.code == 3
    assert ended.out == ""
    assert ended.err.splitlines() == [
        f"error: cannot write to {tmp_path}/new/out: {cause}",
        "hint: choose another directory with -o",
    ]
    assert list(tmp_path.iterdir()) == []


def test_cuda_where_none_runs(tmp_path: Path) -> None:
    """Exit 3 with the cause, and no number: not a latency that the CPU made."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/proc/driver/nvidia").exists():
        pytest.skip("CUDA really runs on this machine")
    made = run(tmp_path, "export", "MobileNetV3Small", "--weights", "random:0", "--input-shape", SIZE, "--formats",
               "onnx", "-o", "out")  # fmt: skip
    assert made.code == 0, made.err
    before = (tmp_path / "out/MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx.json").read_bytes()
    ended = run(tmp_path, "bench", "out", "--device", "cuda")
    assert ended.code == 3
    assert ended.out == ""
    assert sum(line.startswith("error: ") for line in ended.err.splitlines()) == 1
    assert "CUDA" in ended.err
    assert "Traceback" not in ended.err
    assert " ms" not in ended.err
    assert (tmp_path / "out/MobileNetV3Small-64x64/MobileNetV3Small-64x64-float32.onnx.json").read_bytes() == before
    assert run(tmp_path, "verify", "out").code == 0
