"""Latency of a session: knows no model. All samples are kept, in a process of its own.

`measure` times a session that is open. `run_isolated` starts ``python -m kexport.evidence.benchmark request result``,
so that load time, peak memory and threads are those of one runtime with one model.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import errors, machine, runtimes
from kexport.errors import KexportError, UsageError
from kexport.images.seeded import seeded_images
from kexport.records import BenchRecord, Signature, decode_as, encode
from kexport.specs import ModelSpec

FEWEST_SAMPLES = 3
STDERR_LINES = 20


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How to measure. Sampling ends after ``repetitions`` or, with at least three samples, after ``max_seconds``."""

    warmup: int = 5
    repetitions: int = 50
    max_seconds: float = 20.0
    threads: int = field(default_factory=machine.cores)
    batch: int = 1
    device: str = runtimes.DEFAULT_DEVICE

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("repetitions", 1), ("threads", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: expected {least} or more", hint="kexport bench --help")
        if not self.max_seconds > 0:
            raise UsageError(f"max_seconds {self.max_seconds}: expected above 0", hint="kexport bench --help")


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """One measurement: a file (``path``) or a Keras model (``model``), in one runtime.

    ``factory`` names the function that builds ``model``, as ``module:function``; it is resolved in the measuring
    process, because steps do not import each other. ``low`` and ``high`` bound the input values, ``seed`` makes
    them, ``static_size`` replaces open height and width.
    """

    runtime: str
    path: str | None = None
    model: ModelSpec | None = None
    factory: str = "kexport.sources.build:build"
    settings: BenchSettings = field(default_factory=BenchSettings)
    low: float = -1.0
    high: float = 1.0
    seed: int = 0
    static_size: tuple[int, int] = (224, 224)

    def __post_init__(self) -> None:
        if self.path is not None and self.model is not None:
            raise UsageError("path and model were both given, expected one of them", hint="kexport bench --help")
        if not self.low < self.high:
            raise UsageError(f"input range {self.low} to {self.high}: expected low < high", hint="kexport bench --help")

    @property
    def label(self) -> str:
        """What is measured, for messages."""
        return f"{self.path or (self.model and self.model.name) or 'nothing'} in {self.runtime}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A deliberate error of the measuring process, as it travels to the one that asked."""

    kind: str
    message: str
    hint: str | None = None


def measure(
    session: runtimes.Session, inputs: Mapping[str, runtimes.Tensor], *, settings: BenchSettings
) -> tuple[float, ...]:
    """Seconds of each `run`, in order, after the warm-up. Garbage collection waits until the end."""
    begin = perf_counter()
    for _ in range(settings.warmup):
        session.run(inputs)
        if perf_counter() - begin > settings.max_seconds:
            break
    gc.collect()
    gc.disable()
    try:
        return _sample(session, inputs, settings=settings)
    finally:
        gc.enable()


def _sample(
    session: runtimes.Session, inputs: Mapping[str, runtimes.Tensor], *, settings: BenchSettings
) -> tuple[float, ...]:
    samples: list[float] = []
    end = perf_counter() + settings.max_seconds
    while len(samples) < settings.repetitions:
        start = perf_counter()
        session.run(inputs)
        now = perf_counter()
        samples.append(now - start)
        if now > end and len(samples) >= FEWEST_SAMPLES:
            break
    return tuple(samples)


def make_inputs(specs: tuple[Signature, ...], *, request: BenchRequest) -> dict[str, runtimes.Tensor]:
    """Seeded inputs for a signature: images for (batch, height, width, channels), ramps for everything else."""
    return {spec.name: _input(spec, request=request).astype(spec.dtype) for spec in specs}


def _input(spec: Signature, *, request: BenchRequest) -> npt.NDArray[Any]:
    rows = request.settings.batch
    if len(spec.shape) != 4:
        sizes = (rows, *(size or 1 for size in spec.shape[1:]))
        return np.linspace(request.low, request.high, int(np.prod(sizes))).reshape(sizes)
    height, width = (size or static for size, static in zip(spec.shape[1:3], request.static_size, strict=True))
    shape = (height, width, spec.shape[3] or 3)
    return seeded_images(rows, shape, seed=request.seed, low=request.low, high=request.high)


def execute(request: BenchRequest) -> BenchRecord:
    """Measure in this process. Use `run_isolated` for numbers that are to be believed."""
    settings = request.settings
    source = _source(request)
    start = perf_counter()
    session = runtimes.open_session(
        runtimes.find(request.runtime),
        source,
        options=runtimes.SessionOptions(device=settings.device, threads=settings.threads, batch=settings.batch),
    )
    load_seconds = perf_counter() - start
    samples = measure(session, make_inputs(session.signature[0], request=request), settings=settings)
    return BenchRecord(
        runtime=request.runtime,
        device=settings.device,
        effective=session.effective,
        threads=settings.threads,
        batch=settings.batch,
        warmup=settings.warmup,
        load_seconds=load_seconds,
        samples_seconds=samples,
        peak_memory_bytes=machine.peak_memory_bytes(),
        machine=machine.describe(),
    )


def _source(request: BenchRequest) -> Any:
    if request.path is not None:
        return Path(request.path)
    if request.model is None:
        return None
    from kexport.runtimes.tensorflow_ import limit_threads

    limit_threads(request.settings.threads)  # before the build: afterwards TensorFlow no longer changes it
    module, _, function = request.factory.partition(":")
    return getattr(importlib.import_module(module), function)(request.model)


def run_isolated(request: BenchRequest, *, timeout_seconds: float = 600.0) -> BenchRecord:
    """Measure in a fresh process. Its deliberate errors are raised here again, with their own type.

    A crash or a process over ``timeout_seconds`` raises KexportError with the end of its standard error.
    """
    with tempfile.TemporaryDirectory(prefix="kexport-bench-") as folder:
        asked, answered = Path(folder, "request.json"), Path(folder, "result.json")
        asked.write_text(encode(request), encoding="utf-8")
        done = _start(request, [str(asked), str(answered)], timeout_seconds=timeout_seconds)
        text = answered.read_text(encoding="utf-8") if answered.exists() else ""
    if done.returncode == 0 and text:
        record: BenchRecord = decode_as(BenchRecord, text)
        return record
    if text:
        raise revive(decode_as(Failure, text))
    raise KexportError(
        f"the benchmark of {request.label} ended {_ending(done.returncode)} without a result\n{_tail(done.stderr)}",
        hint="kexport doctor (memory, packages)",
    )


def _start(request: BenchRequest, arguments: list[str], *, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kexport.evidence.benchmark", *arguments]
    try:
        return subprocess.run(
            command, env=environment(request.settings), capture_output=True, text=True, check=False,
            timeout=timeout_seconds, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise KexportError(
            f"the benchmark of {request.label} took more than {timeout_seconds:g} seconds and was stopped",
            hint="fewer repetitions, or a longer time limit",
        ) from error


def environment(settings: BenchSettings) -> dict[str, str]:
    """The environment of the measuring process: its threads, quiet TensorFlow, and no GPU unless asked for."""
    changes = {"OMP_NUM_THREADS": str(settings.threads), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    if settings.device.startswith("cpu"):
        changes["CUDA_VISIBLE_DEVICES"] = "-1"
    return {**os.environ, **changes}


def revive(failure: Failure) -> KexportError:
    """The error of the measuring process, of its own class where that can be built from message and hint."""
    named = getattr(errors, failure.kind, KexportError)
    for kind in getattr(named, "__mro__", ()):
        # UnknownNameError makes its own message, which is already made here: its base carries it
        if issubclass(kind, KexportError) and kind.__init__ is KexportError.__init__:
            revived: KexportError = kind(failure.message, hint=failure.hint)
            return revived
    return KexportError(failure.message, hint=failure.hint)


def _ending(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    cause = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"by {signal.Signals(-code).name}{cause}"


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:]) or "(nothing on standard error)"


def main(arguments: list[str]) -> int:
    """The measuring process: request file in, result file out; a deliberate error is the result as well."""
    asked, answered = Path(arguments[0]), Path(arguments[1])
    try:
        record = execute(decode_as(BenchRequest, asked.read_text(encoding="utf-8")))
    except KexportError as error:
        failure = Failure(kind=type(error).__name__, message=error.message, hint=error.hint)
        answered.write_text(encode(failure), encoding="utf-8")
        return error.exit_code
    answered.write_text(encode(record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
