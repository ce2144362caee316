"""The benchmark step: what is kept, how it ends, and how another process's failure arrives."""

from __future__ import annotations

import gc
import os
import textwrap
from pathlib import Path

import numpy as np
import pytest

from kexport import runtimes
from kexport.errors import ArtifactError, DeviceError, KexportError, UsageError
from kexport.evidence.benchmark import BenchRequest, BenchSettings, make_inputs, measure
from kexport.evidence.latency import summarize
from kexport.evidence.protocols import settings_of
from kexport.pipeline import measuring
from kexport.pipeline.measuring import alone
from kexport.records import Signature
from kexport.specs import ModelSpec

QUICK = BenchSettings(warmup=2, repetitions=12, max_seconds=5, threads=1)


class CountingSession(runtimes.find("null")):  # type: ignore[misc]
    runs = 0

    def execute(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        type(self).runs += 1
        assert not gc.isenabled() or self.runs <= QUICK.warmup
        return super().execute(inputs)


def null_inputs() -> dict[str, np.ndarray]:
    return {"x": np.zeros((1, 1), np.float32)}


def test_every_sample_is_kept_and_the_warm_up_is_not() -> None:
    CountingSession.runs = 0
    samples = measure(CountingSession(), null_inputs(), settings=QUICK)
    assert len(samples) == 12
    assert CountingSession.runs == 14
    assert gc.isenabled()
    assert all(0 < sample < 1 for sample in samples)


def test_the_time_limit_ends_sampling_after_three() -> None:
    settings = BenchSettings(warmup=0, repetitions=10**6, max_seconds=1e-9, threads=1)
    assert len(measure(runtimes.find("null")(), null_inputs(), settings=settings)) == 3  # type: ignore[abstract]


def test_the_harness_costs_microseconds() -> None:
    settings = BenchSettings(warmup=50, repetitions=500, threads=1)
    samples = measure(runtimes.find("null")(), null_inputs(), settings=settings)  # type: ignore[abstract]
    assert summarize(samples).median_seconds < 1e-3


@pytest.mark.parametrize(
    ("field", "value"), [("warmup", -1), ("repetitions", 0), ("threads", 0), ("batch", 0), ("max_seconds", 0)]
)
def test_settings_are_legal_by_construction(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{field} {value}: expected"):
        BenchSettings(**{field: value})


def test_inputs_are_seeded_smooth_and_in_range() -> None:
    specs = (Signature(name="image", shape=(None, None, 32, 3), dtype="float32"),)
    request = BenchRequest(runtime="null", settings=BenchSettings(batch=2), low=0, high=255, static_size=(48, 1))
    images = make_inputs(specs, request=request)["image"]
    assert images.shape == (2, 48, 32, 3)
    assert images.min() >= 0
    assert images.max() <= 255
    assert images.std() > 20  # there is a picture
    assert np.abs(np.diff(images, axis=1)).mean() < images.std()  # and it is no noise
    assert np.abs(images[0] - images[1]).mean() > 10  # rows differ
    np.testing.assert_array_equal(images, make_inputs(specs, request=request)["image"])


@pytest.mark.parametrize(("shape", "batch"), [((None, 16, 16, 3), 10**9), ((None, 4), 10**10), ((1, 10**9, 10**9), 1)])
def test_more_inputs_than_a_machine_is_asked_for(shape: tuple[int | None, ...], batch: int) -> None:
    """A record from elsewhere may say any batch."""
    request = BenchRequest(runtime="null", settings=BenchSettings(batch=batch), low=0, high=1)
    with pytest.raises(UsageError, match="expected at most 2147483648"):
        make_inputs((Signature(name="x", shape=shape, dtype="float32"),), request=request)


def test_a_process_of_its_own_returns_the_record() -> None:
    record = alone(BenchRequest(runtime="null", settings=QUICK), timeout_seconds=60)
    assert record.effective == "null (no computation)"
    assert len(record.samples_seconds) == 12
    assert 2**20 < record.peak_memory_bytes < 2**30
    assert record.load_seconds >= 0
    assert record.machine["cores"]


def test_a_deliberate_error_keeps_its_type(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.onnx does not exist") as caught:
        alone(BenchRequest(runtime="onnxruntime", path=str(tmp_path / "absent.onnx"), settings=QUICK))
    assert caught.value.hint == "kexport export MODEL"


def test_cuda_without_cuda_gives_no_number(tmp_path: Path) -> None:
    settings = BenchSettings(device="cuda", repetitions=3)
    with pytest.raises(DeviceError, match="runtime null has no device 'cuda'"):
        alone(BenchRequest(runtime="null", settings=settings))


def test_an_unknown_runtime_arrives_as_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean litert") as caught:
        alone(BenchRequest(runtime="litret", settings=QUICK))
    assert caught.value.exit_code == 2


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the measuring process can import: `build` makes a tiny model or misbehaves."""
    source = """
        import os, sys, time
        def build(spec):
            if spec.application == "dies":
                print("last words", file=sys.stderr); sys.stderr.flush(); os.kill(os.getpid(), 9)
            if spec.application == "hangs":
                time.sleep(60)
            import keras
            image = keras.Input((8, 8, 3), name="image")
            return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    """
    (tmp_path / "tiny_factory.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return "tiny_factory:build"


def keras_request(application: str, *, factory: str) -> BenchRequest:
    return BenchRequest(runtime="keras", model=ModelSpec(application=application), factory=factory, settings=QUICK)


def test_a_long_protocol_has_the_time_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(measuring, "ask", lambda *_, timeout_seconds, **__: limits.append(timeout_seconds))
    for settings in (QUICK, *settings_of("keras.io")):
        alone(BenchRequest(runtime="null", settings=settings))
    assert limits == [600 + 2 * 5, 600 + 2 * 6 * 3600]


def test_keras_is_built_and_measured_with_the_threads_asked_for(factory: str) -> None:
    record = alone(keras_request("Tiny", factory=factory), timeout_seconds=120)
    assert len(record.samples_seconds) == 12
    assert "CPU:0" in record.effective


def test_a_killed_process_is_told_with_its_last_words(factory: str) -> None:
    with pytest.raises(KexportError, match=r"dies in keras ended by SIGKILL \(out of memory\?\)") as caught:
        alone(keras_request("dies", factory=factory), timeout_seconds=120)
    assert "last words" in str(caught.value)


def test_a_process_that_hangs_is_stopped(factory: str) -> None:
    with pytest.raises(KexportError, match="the benchmark of hangs in keras took more than 8 seconds"):
        alone(keras_request("hangs", factory=factory), timeout_seconds=8)


def test_a_request_names_one_source() -> None:
    with pytest.raises(UsageError, match="path and model were both given"):
        BenchRequest(runtime="keras", path="a", model=ModelSpec(application="ResNet50"))


def test_limits_are_those_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from kexport.evidence import roofline

    monkeypatch.setattr(roofline, "SECONDS", 0.0)
    found = roofline.limits(1, moved_bytes=10)
    assert found.copied_bytes == roofline.LEAST_BYTES
    for value in (found.float_macs_per_second, found.integer_macs_per_second, found.copy_bytes_per_second):
        assert 1e8 < value < 1e14


def test_every_device_of_the_runtimes_can_be_asked_for() -> None:
    from kexport.evidence.protocols import settings_of

    devices = {name for kind in runtimes.registry().values() for name in kind.devices}
    assert {"cpu", "cuda", "tensorrt", "cpu-builtin"} <= devices
    assert {settings_of(device=name)[0].device for name in devices} == devices
