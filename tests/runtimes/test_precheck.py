"""Files from elsewhere are looked at in a process of its own before a runtime maps them."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.formats.onnx.sound import require_sound
from kexport.formats.tflite.check.bounds import require_bounds
from kexport.runtimes import precheck
from tests.fuzzing import fuzz
from tests.places import ROOT

TINY = ROOT / "tests/data/artifacts-0.1/tiny"
ONNX, TFLITE = (TINY / f"tiny-float32.{kind}" for kind in ("onnx", "tflite"))


def test_sound_files_pass_in_a_process_of_their_own() -> None:
    precheck.require_sound(runtimes.find("onnxruntime"), ONNX)
    precheck.require_sound(runtimes.find("litert"), TFLITE)


def test_the_reason_comes_back_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"x" * 100)
    with pytest.raises(ArtifactError, match="not a sound TFLite file: identifier b'xxxx'") as caught:
        precheck.require_sound(runtimes.find("litert"), tmp_path / "a.tflite")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended its process (signal SIGSEGV)"),
        ("raise SystemExit(9)", "ended its process (exit code 9)"),
        ("import time; time.sleep(60)", "took more than 0.5 s"),
    ],
)
def test_a_crash_and_a_hang_are_one_line(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    run = subprocess.run

    def other(_: list[str], **options: object) -> object:
        return run([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", other)
    with pytest.raises(ArtifactError) as caught:
        precheck.require_sound(runtimes.find("litert"), TFLITE, seconds=0.5 if "sleep" in code else 30)
    assert caught.value.message.endswith(message)


def test_a_runtime_without_files_has_nothing_to_look_at(tmp_path: Path) -> None:
    precheck.require_sound(runtimes.find("null"), tmp_path)


def model(weight: onnx.TensorProto) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def weight() -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")


def outside(location: str, **more: str) -> onnx.TensorProto:
    tensor = weight()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


LOCATIONS = ["w.bin", "../w.bin", "/etc/passwd", "link", "hard", "fifo", "a/../../w.bin", ""]


@pytest.mark.parametrize("location", LOCATIONS)
def test_onnx_data_in_another_file(tmp_path: Path, location: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(outside(location, offset=str(2**63), length="16")).SerializeToString())
    with pytest.raises(ArtifactError, match=r"the data of 'w' is in .*, expected all of it in the file"):
        require_sound(path)


def test_onnx_data_in_another_file_deep_inside(tmp_path: Path) -> None:
    """In a branch of an If, a constant's attribute, and a function."""
    constant = helper.make_node("Constant", [], ["c"], value=outside("w.bin"))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])])
    chosen = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    plain = model(weight())
    for change in ("branch", "function"):
        made = onnx.ModelProto()
        made.CopyFrom(plain)
        if change == "branch":
            made.graph.node.append(chosen)
        else:
            made.functions.append(helper.make_function("d", "f", ["x"], ["c"], [constant], []))
        path = tmp_path / f"{change}.onnx"
        path.write_bytes(made.SerializeToString())
        with pytest.raises(ArtifactError, match="expected all of it in the file"):
            require_sound(path)


def shape_bomb() -> bytes:
    tensor = weight()
    tensor.dims[:] = [2**40, 2**20]
    return bytes(model(tensor).SerializeToString())


def unknown_operator() -> bytes:
    made = model(weight())
    made.graph.node[0].op_type = "NoSuchOperator"
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("make", [lambda: b"", lambda: b"\xff" * 64, shape_bomb, unknown_operator], ids=range(4))
def test_onnx_that_is_none(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "m.onnx").write_bytes(make())
    with pytest.raises(ArtifactError, match="not a sound ONNX model: "):
        require_sound(tmp_path / "m.onnx")


def behind(offset: int, size: int) -> bytes:
    """The tiny file whose last buffer says that its data lie behind the flatbuffer."""
    content = bytearray(TFLITE.read_bytes())
    (root,) = struct.unpack_from("<I", content)
    fields = root - struct.unpack_from("<i", content, root)[0]
    (slot,) = struct.unpack_from("<H", content, fields + 4 + 2 * 4)
    vector = root + slot + struct.unpack_from("<I", content, root + slot)[0]
    (count,) = struct.unpack_from("<I", content, vector)
    last = vector + 4 * count
    table = (len(content) + 7) // 8 * 8
    content += bytes(table - len(content))
    content += struct.pack("<HHHHHxx", 10, 24, 0, 8, 16)  # the field list: no data, offset at 8, size at 16
    content += bytes(4)
    start = len(content)
    content += struct.pack("<iiQQ", start - table, 0, offset, size)
    struct.pack_into("<I", content, last, start - last)
    return bytes(content)


@pytest.mark.parametrize(
    ("offset", "size"), [(2**64 - 16, 2**5), (2**63, 2**63), (10**9, 16), (16, 2**64 - 1)], ids=str
)
def test_a_tflite_buffer_behind_the_file(tmp_path: Path, offset: int, size: int) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(behind(16, 16))
    require_bounds(path)
    path.write_bytes(behind(offset, size))
    with pytest.raises(ArtifactError, match=r"bytes at \d+ lie outside of the file's"):
        require_bounds(path)


def test_any_damage_to_tflite_is_told_or_harmless(tmp_path: Path) -> None:
    whole, path = TFLITE.read_bytes(), tmp_path / "fuzz.tflite"

    def holds(place: int, value: bytes, cut: int) -> None:
        content = bytearray(whole)
        content[place : place + len(value)] = value
        path.write_bytes(content[: cut if cut % 4 == 0 else None])
        with contextlib.suppress(ArtifactError):
            require_bounds(path)

    fuzz(
        holds,
        place=st.integers(0, len(whole) - 1),
        value=st.binary(min_size=1, max_size=8),
        cut=st.integers(0, len(whole)),
    )


def test_any_damage_to_onnx_is_told_or_harmless(tmp_path: Path) -> None:
    whole, path = ONNX.read_bytes(), tmp_path / "fuzz.onnx"

    def holds(place: int, value: bytes, cut: int) -> None:
        content = bytearray(whole)
        content[place : place + len(value)] = value
        path.write_bytes(content[: cut if cut % 4 == 0 else None])
        with contextlib.suppress(ArtifactError):
            require_sound(path)

    fuzz(
        holds,
        place=st.integers(0, len(whole) - 1),
        value=st.binary(min_size=1, max_size=8),
        cut=st.integers(0, len(whole)),
    )
