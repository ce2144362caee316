"""Files from elsewhere are looked at in a process of its own before a runtime maps them."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.evidence import artifact_file
from kexport.formats.onnx.contents import read as read_onnx
from kexport.formats.onnx.sound import require_sound
from kexport.formats.tflite.check import reader
from kexport.formats.tflite.check.bounds import require_bounds
from kexport.formats.tflite.check.reader import Reader
from kexport.formats.tflite.contents import read as read_tflite
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


def operators(count: int, *, inputs: int) -> bytes:
    """The tiny file with ``count`` operators, all of them one table: it has ``inputs`` inputs and makes nothing."""
    content = bytearray(TFLITE.read_bytes())
    content += bytes(-len(content) % 4)
    found = Reader(bytes(content))
    graph = found.table(found.number("I", 0), "model").tables(2, "subgraphs")[0]
    place, vector = graph.field(3, 4), len(content)
    assert place is not None
    struct.pack_into("<I", content, place, vector - place)
    fields = vector + 4 + 4 * count
    start = fields + 8  # the field list: an operator's number, left out, and its inputs at 4
    entries = [start - (vector + 4 + 4 * number) for number in range(count)]
    content += struct.pack(f"<I{count}I", count, *entries) + struct.pack("<HHHH", 8, 8, 0, 4)
    content += struct.pack("<iI", start - fields, 4) + struct.pack(f"<I{inputs}I", inputs, *[0] * inputs)
    return bytes(content)


def test_operators_that_make_nothing(tmp_path: Path) -> None:
    """As those that store a variable: the file is right."""
    path = tmp_path / "m.tflite"
    path.write_bytes(operators(3, inputs=1))
    require_bounds(path)
    assert sum(read_tflite(path).operations.values()) == 3


def test_a_tflite_file_of_a_megabyte_with_gigabytes_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_FREE_BYTES", 2**16)
    path = tmp_path / "m.tflite"
    path.write_bytes(operators(20_000, inputs=20_000))
    for look in (require_bounds, read_tflite):
        with pytest.raises(ArtifactError, match="its tables share their contents more than 8 times over"):
            look(path)


def chained(length: int) -> onnx.ModelProto:
    """Constants that each join one long way of reshapes."""
    made = model(weight())
    shape = onnx.numpy_helper.from_array(np.array([1, 4], np.int64))
    before = "x"
    for number in range(length):
        shape.name = f"s{number}"
        made.graph.initializer.append(shape)
        made.graph.node.append(helper.make_node("Reshape", [before, shape.name], [f"r{number}"]))
        before = f"r{number}"
    return made


def test_a_long_way_is_gone_once(tmp_path: Path) -> None:
    """10,000 constants with 50,000,000 steps between them and what they end in."""
    path = tmp_path / "m.onnx"
    path.write_bytes(chained(10_000).SerializeToString())
    started = time.process_time()
    found = read_onnx(path)
    assert time.process_time() - started < 5
    assert {weight.layer for weight in found.weights} == {"y", "r9999"}


def test_nodes_without_outputs_and_types_of_the_future(tmp_path: Path) -> None:
    made = model(weight())
    made.graph.node.append(helper.make_node("Reshape", ["w"], []))
    made.graph.node.append(helper.make_node("Constant", [], [], value=weight()))
    made.graph.initializer.append(weight())
    made.graph.initializer[1].data_type = 99
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    assert [each.dtype for each in read_onnx(tmp_path / "m.onnx").weights] == ["float32", "unknown"]


def test_a_runtime_that_a_file_crashes_does_not_take_the_caller_along(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import os, signal, sys; sys.argv[-1] == 'run' and os.kill(os.getpid(), signal.SIGSEGV)"
    real = subprocess.run

    def other(words: list[str], **options: object) -> object:
        return real([sys.executable, "-c", crash, *words[3:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", other)
    precheck.require_sound(runtimes.find("litert"), TFLITE)
    with pytest.raises(ArtifactError, match=r"looking at it and running it ended its process \(signal SIGSEGV\)"):
        artifact_file.read(TFLITE, run=True)


def test_a_sound_file_is_run_once() -> None:
    for name, path in (("litert", TFLITE), ("onnxruntime", ONNX)):
        precheck.main([name, str(path), "run"])


def test_any_damage_to_tflite_is_told_or_harmless(tmp_path: Path) -> None:
    whole, path = TFLITE.read_bytes(), tmp_path / "fuzz.tflite"

    def holds(place: int, value: bytes, cut: int) -> None:
        content = bytearray(whole)
        content[place : place + len(value)] = value
        path.write_bytes(content[: cut if cut % 4 == 0 else None])
        with contextlib.suppress(ArtifactError):
            require_bounds(path)
            read_tflite(path)

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
            read_onnx(path)

    fuzz(
        holds,
        place=st.integers(0, len(whole) - 1),
        value=st.binary(min_size=1, max_size=8),
        cut=st.integers(0, len(whole)),
    )
