"""Profiles: every operator has its time and its place, in files of kexport and of others; what cannot tell says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import UnsupportedError, UsageError
from kexport.evidence import benchmark
from kexport.evidence.benchmark import BenchRequest, BenchSettings
from kexport.evidence.protocols import settings_of
from kexport.formats.onnx import writer as onnx_float
from kexport.formats.onnx.qdq import writer as onnx_int8
from kexport.formats.places import layer_of
from kexport.formats.tflite import parts
from kexport.formats.tflite import writer as tflite_float
from kexport.formats.tflite.quantized import writer as tflite_int8
from kexport.records import Profile
from kexport.runtimes import SessionOptions, litert_profile, ort_profile, profiling
from tests.formats.tflite.quantized.test_writer import block_plan, hard_swish_block
from tests.formats.tflite.test_writer import numbers
from tests.runtimes.test_runtimes import write_onnx

FILES = ("float32.onnx", "int8.onnx", "float32.tflite", "int8.tflite")
ONE = BenchSettings(warmup=0, repetitions=3, threads=1, profile=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of MobileNetV3 in both formats, float and int8."""
    made = tmp_path_factory.mktemp("profiled")
    graph = hard_swish_block().graph()
    onnx_float.write(graph, made / FILES[0])
    onnx_int8.write(block_plan(), made / FILES[1])
    tflite_float.write(graph, made / FILES[2])
    tflite_int8.write(block_plan(), made / FILES[3], batch=1)
    return made


def profiled(path: Path, rows: int = 1) -> Profile:
    runtime = "onnxruntime" if path.suffix == ".onnx" else "litert"
    options = SessionOptions(threads=1, batch=rows)
    session = runtimes.open_session(runtimes.find(runtime), path, options=options)
    name, shape = session.signature[0][0].name, session.signature[0][0].shape[1:]
    inputs = {name: numbers(rows, *shape, seed=0)}
    return profiling.profile(runtime, path, inputs, options=options, run_seconds=1.0)


@pytest.mark.parametrize("name", FILES)
def test_every_operator_belongs_to_a_layer(folder: Path, name: str) -> None:
    found = profiled(folder / name)
    layers = {node.name for node in hard_swish_block().graph().nodes} | {"in0", "output"}
    assert found.layers
    assert {each.place for each in found.operators} <= layers
    assert len({each.place for each in found.operators}) > len(layers) / 2
    assert all(each.seconds >= 0 for each in found.operators)
    assert sum(each.seconds for each in found.operators) > 0
    assert found.runs >= 5
    assert ("no profiler" in found.method) == name.endswith("tflite")


def test_a_file_of_another_maker_has_operators_only(tmp_path: Path) -> None:
    found = profiled(write_onnx(tmp_path / "theirs.onnx"))
    assert not found.layers
    assert [(each.place, each.kind) for each in found.operators] == [("abs", "Abs"), ("mean", "ReduceMean")]


def test_a_file_of_one_row_runs_as_often_as_there_are_rows(tmp_path: Path) -> None:
    kernel = ort_profile._Kernel(name="k", kind="Conv", micros=[9] * 4 * (ort_profile.WARM_RUNS + 5))
    assert ort_profile._seconds(kernel, runs=5) == pytest.approx(4 * 9e-6)
    tflite_float.write(hard_swish_block().graph().with_batch(1), tmp_path / "m.tflite")
    session = runtimes.open_session(runtimes.find("litert"), tmp_path / "m.tflite", options=SessionOptions(batch=4))
    assert litert_profile._shapes(tmp_path / "m.tflite", 4)[1] == 4
    assert session.times(4) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("re_lu:linear", "re_lu"), ("conv:stored", "conv"), ("conv:3", "conv"), ("act/sixth:bias", "act"),
        ("block/conv", "block/conv"), ("act/line/int8", "act"),
        ("norm/centred", "norm"), ("block/centred", "block/centred"), ("image:nchw", "image"), ("/line", "/line"),
    ],
)  # fmt: skip
def test_what_writers_add_is_not_of_the_layers_name(name: str, layer: str) -> None:
    assert layer_of(name, {"norm", "conv"}) == layer


def test_a_kernel_that_was_added_has_the_place_of_what_it_reads() -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x"], ["reorder"], name="conv_nchwc"),
        helper.make_node("ReorderOutput", ["reorder"], ["y"], name="ReorderOutput_token_4"),
        helper.make_node("QLinearConv", ["y"], ["z_token_6"], name="act_token_7"),
        helper.make_node("Strange", ["weight"], ["unknown"], name="Strange"),
    ]
    names = {"conv": "conv", "y": "later", "act": "act"}
    assert ort_profile._places(nodes, names) == ["conv", "later", "act", ""]
    kernels = [ort_profile._Kernel(name=node.name, kind=node.op_type) for node in reversed(nodes)]
    assert ort_profile._of_kernels(kernels, nodes, ["a", "b", "c", ""]) == ["", "c", "b", "a"]


def test_the_empty_invocation_is_taken_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([1e-3] + [3e-3] * 99)
    monkeypatch.setattr(litert_profile, "_samples", lambda *_, fewest: [next(taken)] * fewest)
    assert {round(each.seconds, 9) for each in profiled(folder / "int8.tflite").operators} == {2e-3}
    monkeypatch.setattr(litert_profile, "_samples", lambda *_, fewest: [fewest / 1e3])
    assert {each.seconds for each in profiled(folder / "int8.tflite").operators} == {0.0}


def test_numbers_of_every_type_are_legal() -> None:
    found = litert_profile._numbers((64, 64), np.dtype(np.int8))
    assert (found.min(), found.max()) == (-128, 127)
    assert litert_profile._numbers((64,), np.dtype(np.float32)).std() > 0.5
    assert not litert_profile._numbers((4,), np.dtype(np.int64)).any()


def test_bench_keeps_the_profile_and_its_own_memory(folder: Path) -> None:
    record = benchmark.execute(BenchRequest(runtime="litert", path=str(folder / FILES[2]), settings=ONE))
    assert record.profile is not None
    assert record.profile.operators
    assert len(record.samples_seconds) == 3


def test_what_cannot_be_told_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError, match="savedmodel tells no times of operators"):
        profiling.profile("savedmodel", folder, {}, options=SessionOptions(), run_seconds=1.0)

    def refuse(path: Path) -> None:
        raise UnsupportedError(f"{path.name} has 2 subgraphs")

    monkeypatch.setattr(parts, "read", refuse)
    record = benchmark.execute(BenchRequest(runtime="litert", path=str(folder / FILES[2]), settings=ONE))
    assert record.profile is not None
    assert record.profile.missing == "float32.tflite has 2 subgraphs"
    with pytest.raises(UsageError, match="--profile on device cuda"):
        settings_of(device="cuda", profile=True)
