"""Gates of size and latency through a run: what is over a bound is not published, what cannot be told is unproven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kexport
from kexport.pipeline import measuring, reproduce
from kexport.records import BenchRecord, Record, Status
from tests.evidence.test_gates import bench

SCHEMES = "float32,float16,dynamic"


@pytest.fixture(scope="module")
def model() -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 3))
    value = layers.Conv2D(64, 3, activation="relu")(image)
    return keras.Model(image, layers.Dense(300)(layers.Flatten()(value)), name="gated")


def export(made: Any, output: Path, **more: Any) -> dict[str, Record]:
    records = kexport.export(made, formats="onnx", schemes=SCHEMES, output=output, **more)
    return {record.scheme: record for record in records}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.onnx"))


def test_a_file_over_the_size_is_not_published(model: Any, tmp_path: Path) -> None:
    usual = export(model, tmp_path / "usual")
    size = {scheme: record.artifact.size_bytes for scheme, record in usual.items() if record.artifact is not None}
    assert size["float32"] > size["float16"] > size["dynamic"]
    found = export(model, tmp_path / "held", max_size=str(size["float16"]))
    assert {scheme: record.status for scheme, record in found.items()} == {
        "float32": Status.FAIL, "float16": Status.PASS, "dynamic": Status.PASS,
    }  # fmt: skip
    assert f"the bound is --max-size {size['float16']}" in found["float32"].reason
    assert files(tmp_path / "held") == ["gated-dynamic.onnx", "gated-float16.onnx"]
    assert f"max_size='{size['float16']}'" in found["dynamic"].reproduce
    assert reproduce.cell_of(found["dynamic"], built=False).max_size == str(size["float16"])


Times = Callable[[str], BenchRecord]


def measured(monkeypatch: pytest.MonkeyPatch, times: Times) -> None:
    """In place of the process that measures: what it would say of a file."""
    monkeypatch.setattr(
        measuring,
        "alone",
        lambda request, **_: times(Path(request.path).stem.partition("-")[2]),
    )


def test_a_file_over_the_time_is_withdrawn(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"float32": 2.0, "float16": 3.0, "dynamic": 1.0}
    measured(monkeypatch, lambda scheme: bench(times[scheme]))
    found = export(model, tmp_path, max_latency_ratio=0.8, bench=True)
    assert {scheme: record.status for scheme, record in found.items()} == {
        "float32": Status.PASS, "float16": Status.FAIL, "dynamic": Status.PASS,
    }  # fmt: skip
    said = "it takes 1.50 times as long as float32 on onnxruntime, the bound is --max-latency-ratio 0.8"
    assert found["float16"].reason == said
    assert files(tmp_path) == ["gated-dynamic.onnx", "gated-float32.onnx"]
    assert kexport.verify(tmp_path) == ()
    assert "max_latency_ratio=0.8, bench=True" in found["dynamic"].reproduce
    (stored,) = [each for each in _stored(tmp_path) if each.scheme == "float16"]
    assert (stored.status, stored.reason, stored.artifact) == (Status.FAIL, said, None)


def test_what_a_noisy_machine_cannot_tell_is_unproven(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, lambda scheme: bench(9.0, noisy=scheme == "dynamic"))
    found = export(model, tmp_path, max_latency_ratio=1.0, bench=True)
    assert found["dynamic"].status is Status.UNPROVEN
    assert "the machine was too noisy to say" in found["dynamic"].reason
    assert found["float16"].status is Status.PASS
    assert len(files(tmp_path)) == 3
    assert kexport.verify(tmp_path) == ()


def _stored(folder: Path) -> tuple[Record, ...]:
    from kexport import store

    return store.read_records(folder)
