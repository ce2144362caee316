"""The client in C++: compiled, linked against the library of LiteRT's wheel, run; it decides as the one in Python."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.bundles.conftest import Made

TOOLS = [tool for tool in ("cmake", "g++") if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(TOOLS), reason=f"no {' and no '.join(TOOLS)}")
pytestmark = needs_tools


def built(folder: Path, *options: str) -> Path:
    for words in (["cmake", "-B", "build", "-DCMAKE_BUILD_TYPE=Debug", *options], ["cmake", "--build", "build"]):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "classify"


def run(program: Path, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    told = None if folder is None else {"KEXPORT_BUNDLE": str(folder)}
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False, env=told)


def litert() -> str:
    found = importlib.util.find_spec("ai_edge_litert")
    assert found is not None
    assert found.submodule_search_locations is not None
    return f"-DLITERT_ROOT={found.submodule_search_locations[0]}"


@pytest.mark.parametrize("name", ["uint8.tflite"])
def test_integers_and_swapped_channels(name: str, small: Callable[..., Path], made: Made, tmp_path: Path) -> None:
    program = built(made(small(name, "caffe"), "cpp"), litert())
    done = run(program, "--self-test")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "self-test passed"), done.stdout + done.stderr
    Image.new("RGB", (30, 20), (20, 40, 220)).save(tmp_path / "sky.ppm")
    assert run(program, str(tmp_path / "sky.ppm")).stdout.splitlines()[1].split()[1] == "blue"


def test_onnx_runtime_needs_a_header(small: Callable[..., Path], made: Made) -> None:
    """No registry package brings onnxruntime_c_api.h: CMake finds it, or says how to get it."""
    folder = made(small("a.onnx"), "cpp")
    done = subprocess.run(["cmake", "-B", "build"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        told = " ".join(done.stderr.split())
        assert "onnxruntime_c_api.h or libonnxruntime.so was not found: unpack a release of" in told
    else:
        assert run(built(folder), "--self-test").returncode == 0
