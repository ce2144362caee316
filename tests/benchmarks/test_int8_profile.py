"""Profiles by operator: every part computes what the whole file computes there, all time is counted, tables show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kexport.errors import UnsupportedError
from kexport.formats.onnx import writer as onnx
from kexport.formats.onnx.qdq import writer as onnx_qdq
from kexport.formats.tflite import parts as tflite_parts
from kexport.formats.tflite import writer as tflite
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.operations import Activation, Conv, Pad
from tests.benchmarks.script_modules import script_modules
from tests.formats.plans import Sketch
from tests.formats.tflite.quantized.test_writer import block_plan, hard_swish_block
from tests.formats.tflite.test_writer import numbers

FOLDER = Path(__file__).parent
SCRIPTS = (
    "int8_profile", "litert_times", "ort_times", "operator_times", "profile_block", "int8_speed",
    "int8_accuracy", "int8_networks", "int8_peers", "side_by_side", "processes", "measured_blocks", "harness",
    "evidence", "md_text",
)  # fmt: skip


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found


@pytest.fixture(params=["float32", "int8"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A part of MobileNetV3; the int8 file ends in float, with kernels that are stored in int8."""
    made = tmp_path / f"{request.param}.tflite"
    if request.param == "float32":
        tflite.write(hard_swish_block().graph().with_batch(1), made)
    else:
        tflite_int8.write(block_plan(), made, batch=1)
    return made


def interpreted(content: bytes, **options: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(model_content=content, experimental_op_resolver_type=plain, **options)
    made.allocate_tensors()
    return made


def run_part(content: bytes, given: list[np.ndarray]) -> list[np.ndarray]:
    part = interpreted(content)
    for detail, value in zip(part.get_input_details(), given, strict=True):
        part.set_tensor(detail["index"], value)
    part.invoke()
    return [part.get_tensor(detail["index"]) for detail in part.get_output_details()]


def test_every_part_computes_what_the_whole_file_does(scripts: SimpleNamespace, path: Path) -> None:
    parts = tflite_parts
    whole = interpreted(path.read_bytes(), experimental_preserve_all_tensors=True)
    whole.set_tensor(whole.get_input_details()[0]["index"], numbers(1, 8, 8, 4, seed=3))
    whole.invoke()
    model = parts.read(path)
    found = parts.operators(model)
    assert {"CONV_2D 1 x 1", "DEPTHWISE_CONV_2D", "MUL", "MEAN", "FULLY_CONNECTED"} <= {each.name for each in found}
    for each in found:
        given = [whole.get_tensor(value) for value in parts.inputs(model, each.place)]
        made = run_part(parts.cut(model, each.place), given)
        outputs = model.subgraphs[0].operators[each.place].outputs
        assert given
        for value, wanted in zip(made, outputs, strict=True):
            assert value.dtype == whole.get_tensor(wanted).dtype
            np.testing.assert_array_equal(value, whole.get_tensor(wanted), err_msg=each.name)


def test_kernels_stored_in_int8_for_a_float_operator_go_along_with_it(scripts: SimpleNamespace, tmp_path: Path) -> None:
    tflite_int8.write(block_plan(), tmp_path / "m.tflite", batch=1)
    model = tflite_parts.read(tmp_path / "m.tflite")
    found = tflite_parts.operators(model)
    skipped = set(range(len(model.subgraphs[0].operators))) - {each.place for each in found}
    assert len(skipped) == 1
    dense = next(each for each in found if each.name == "FULLY_CONNECTED")
    assert len(tflite_parts.inputs(model, dense.place)) == 1
    part = interpreted(tflite_parts.cut(model, dense.place))
    assert [each["op_name"] for each in part._get_ops_details()] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert dense.in_float


def test_operators_that_do_the_same_work_are_known(scripts: SimpleNamespace, tmp_path: Path) -> None:
    sketch, value = Sketch((4, 4, 8)), "in0"
    for seed, more in enumerate(({}, {}, {"activation": Activation.RELU})):
        value = sketch(f"c{seed}", Conv(kernel=numbers(1, 1, 8, 8, seed=seed), **more), value)
    for index, top in enumerate((0, 1)):
        value = sketch(f"p{index}", Pad(padding=((top, 1 - top), (0, 0))), "c2")
        sketch(f"end{index}", Conv(kernel=numbers(3, 3, 8, 8, seed=index)), value)
    tflite.write(sketch.graph(a="end0", b="end1"), tmp_path / "m.tflite")
    found = tflite_parts.operators(tflite_parts.read(tmp_path / "m.tflite"))
    by_name: dict[str, list[str]] = {}
    for each in found:
        by_name.setdefault(each.name, []).append(each.identity)
    assert {name: (len(each), len(set(each))) for name, each in by_name.items()} == {
        "CONV_2D 1 x 1": (3, 2), "PAD": (2, 2), "CONV_2D other": (2, 1),
    }  # fmt: skip


def test_constants_are_aligned(scripts: SimpleNamespace, path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    parts = tflite_parts
    model = parts.read(path)
    convolution = next(each for each in parts.operators(model) if each.name == "CONV_2D 1 x 1")
    content = parts.cut(model, convolution.place)
    read = schema.Model.GetRootAs(content, 0)
    data = [read.Buffers(index) for index in range(read.BuffersLength())]
    starts = [each.DataAsNumpy().ctypes.data for each in data if each.DataLength()]
    base = np.frombuffer(content, np.uint8).ctypes.data
    assert len(starts) == 2
    assert [(start - base) % 16 for start in starts] == [0, 0]


def test_a_file_of_several_graphs_is_refused(scripts: SimpleNamespace, path: Path, tmp_path: Path) -> None:
    model = tflite_parts.read(path)
    model.subgraphs *= 2
    (tmp_path / "two.tflite").write_bytes(tflite_parts.packed(model))
    with pytest.raises(UnsupportedError, match=r"two.tflite has 2 subgraphs, expected 1: a part has no other to call"):
        tflite_parts.read(tmp_path / "two.tflite")


def test_litert_is_profiled_by_parts(scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"float32": tmp_path / "f.tflite", "int8": tmp_path / "i.tflite"}
    tflite.write(hard_swish_block().graph(), files["float32"])
    tflite_int8.write(block_plan(), files["int8"], batch=1)
    monkeypatch.setattr(scripts.litert_times, "ROUND_SECONDS", 0.0)
    found = scripts.int8_profile.profile("MobileNetV3Small", files)
    sides = {scheme: {each["name"]: each for each in parts} for scheme, parts in found.items()}
    for scheme, parts in found.items():
        assert [each["ms"] for each in parts] == sorted((each["ms"] for each in parts), reverse=True)
        assert sides[scheme]["CONV_2D 1 x 1"]["count"] == 4
        assert all(each["delegated"] == each["count"] for each in parts)
        assert all(each["ms"] >= each["float_ms"] >= 0 for each in parts)
    assert all(each["float_ms"] == each["ms"] for each in found["float32"])
    assert {name for name, each in sides["int8"].items() if each["float_ms"]} <= {"FULLY_CONNECTED", "SOFTMAX"}
    assert sides["int8"]["DEQUANTIZE"]["count"] == 1, "not the one that prepares a kernel"
    assert sides["int8"]["QUANTIZE"]["count"] == 1


def test_the_empty_invocation_is_taken_off(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    times, empty = scripts.litert_times, tflite_parts.empty()
    taken = {empty: 1e-3}
    monkeypatch.setattr(times, "timed", lambda content: ([taken.get(content, 3e-3)] * 5, content != empty))
    file = times.LitertFile(path, "")
    file.measure()
    assert {round(each.ms, 6) for each in file.spent()} == {2.0}
    taken[empty] = 5e-3
    file = times.LitertFile(path, "")
    file.measure()
    assert {each.ms for each in file.spent()} == {0.0}


def test_inputs_are_of_the_whole_range(scripts: SimpleNamespace) -> None:
    random_input = scripts.litert_times.random_input
    found = random_input((64, 64), np.dtype(np.int8))
    assert (found.dtype, found.min(), found.max()) == (np.int8, -128, 127)
    assert random_input((64, 64), np.dtype(np.float32)).std() == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="an operator reads computed numbers of int64, expected float32, int8, uint8"):
        random_input((2,), np.dtype(np.int64))


def test_onnx_runtime_is_profiled_by_kernel(scripts: SimpleNamespace, tmp_path: Path) -> None:
    files = {"float32": tmp_path / "f.onnx", "int8": tmp_path / "i.onnx"}
    onnx.write(hard_swish_block().graph(), files["float32"])
    onnx_qdq.write(block_plan(), files["int8"])
    found = scripts.int8_profile.profile("MobileNetV3Small", files)
    for parts in found.values():
        counts = {each["name"]: each["count"] for each in parts}
        assert (counts["Conv 1 x 1"], counts["Conv depthwise"]) == (4, 1)
        assert "Conv" not in counts
        assert all(each["ms"] >= 0 and each["delegated"] is None for each in parts)
        assert sum(each["ms"] for each in parts) > 0
    convolutions = {each["name"]: each for each in found["int8"] if each["name"].startswith("Conv")}
    assert {each["float_ms"] for each in convolutions.values()} == {0.0}
    assert all(each["float_ms"] == each["ms"] for each in found["float32"])


def test_first_runs_and_outliers_do_not_count(scripts: SimpleNamespace) -> None:
    times = scripts.ort_times
    names = ("a_kernel_time", "a_fence_before", "model_run")
    events = [{"name": name, "dur": run} for run in range(times.WARM_RUNS + 2) for name in names]
    assert [event["dur"] for event in times.warm(events)] == [times.WARM_RUNS, times.WARM_RUNS + 1]
    assert times.middle([9000, 3, 2, 3, 4, 3, 2, 0]) == 2.75
    assert times.middle([7]) == 7.0


def part(name: str, ms: float, **changes: Any) -> dict[str, Any]:
    return {"name": name, "count": 2, "ms": ms, "float_ms": 0.0, "delegated": None} | changes


def row(**changes: Any) -> dict[str, Any]:
    pair = {"model": "MobileNetV2", "format": "onnx", "reason": "", "speedup": 1.5}
    return pair | {"float_seconds": 0.003, "int8_seconds": 0.002} | changes


def shown(scripts: SimpleNamespace, *rows: dict[str, Any]) -> list[str]:
    text = scripts.profile_block.profiles(rows)
    assert text.startswith("\n\nWhere the time goes in what is too slow")
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_profiles_stand_side_by_side(scripts: SimpleNamespace) -> None:
    before = [part("Conv 1 x 1", 2.0), part("Transpose", 0.01), part("Flatten", 0.001, count=1)]
    after = [
        part("Conv 1 x 1", 1.0, count=3),
        part("Add", 0.5, float_ms=0.125),
        part("Transpose", 0.002, float_ms=0.002),
    ]
    named = "| MobileNetV2 | ONNX Runtime |"
    assert shown(scripts, row(profile={"float32": before, "int8": after})) == [
        f"{named} Conv 1 x 1 (2 / 3) | 2.000 | 1.000 | 2.00 |",
        f"{named} Add (0 / 2) | - | 0.500 (0.125 in float) | - |",
        f"{named} 2 more kinds (3 / 2) | 0.011 | 0.002 (0.002 in float) | 5.50 |",
        f"{named} sum of the parts (5 / 7) | 2.011 | 1.502 (0.127 in float) | 1.34 |",
        f"{named} whole file | 3.000 | 2.000 | 1.50 |",
    ]


def test_what_the_delegate_leaves_is_named(scripts: SimpleNamespace) -> None:
    taken, left = part("ADD", 1.0, delegated=2), part("MEAN", 1.0, delegated=1)
    lines = shown(scripts, row(format="tflite", profile={"float32": [taken], "int8": [taken]}))
    assert lines[-2] == "| MobileNetV2 | LiteRT | sum of the parts, all delegated (2 / 2) | 1.000 | 1.000 | 1.00 |"
    lines = shown(scripts, row(format="tflite", profile={"float32": [taken], "int8": [left]}))
    assert "| sum of the parts, not delegated: MEAN (2 / 2) |" in lines[-2]


def test_old_and_absent_profiles_are_told(scripts: SimpleNamespace) -> None:
    old = shown(scripts, row(profile={"QLinearConv": 1.5, "QGemm": 0.5}))
    assert old[0] == "| MobileNetV2 | ONNX Runtime | QLinearConv | - | 1.500 | - |"
    assert old[2] == "| MobileNetV2 | ONNX Runtime | whole file | 3.000 | 2.000 | 1.50 |"
    assert shown(scripts, row())[0] == "| MobileNetV2 | ONNX Runtime | no profile: not measured yet | - | - | - |"
    failed = shown(scripts, row(profile={"reason": "killed after 9 s"}))
    assert failed[0] == "| MobileNetV2 | ONNX Runtime | no profile: killed after 9 s | - | - | - |"


@pytest.mark.parametrize("fast", [row(speedup=2.0), row(model="Xception", speedup=0.5), {"reason": "killed"}])
def test_what_is_fast_enough_has_no_profile(scripts: SimpleNamespace, fast: dict[str, Any]) -> None:
    assert scripts.profile_block.profiles([fast]) == ""
    assert scripts.profile_block.profiles([row(speedup=float("nan")), fast])


@pytest.mark.parametrize(("speedup", "profiled"), [(2.5, False), (1.9, True)])
def test_both_formats_are_profiled_when_too_slow(scripts: SimpleNamespace, speedup: float, profiled: bool) -> None:
    files, asked = [Path("int8"), Path("float")], []

    def task(*arguments: Any) -> tuple[str, str]:
        asked.append(arguments)
        if arguments[0] == "profile":
            return "", "killed"
        found = {
            "native_latency_seconds": 1.0, "peer_latency_seconds": speedup, "latency_ratio_of_blocks": [1 / speedup],
            "max_difference": 0.0, "signal": 1.0, "effective": ["e"],
        }  # fmt: skip
        return json.dumps(found), ""

    for form in ("onnx", "tflite"):
        record = SimpleNamespace(format=form, model="MobileNetV2")
        found = scripts.int8_speed._latency(record, files, SimpleNamespace(task=task), 1)
        assert found.get("profile") == ({"reason": "killed"} if profiled else None)
    wanted = [("profile", "MobileNetV2", Path("float"), Path("int8"))] * 2 if profiled else []
    assert [each for each in asked if each[0] == "profile"] == wanted
