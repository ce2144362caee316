"""Latency of a session: knows no model. All samples are kept.

`measure` times a session that is open, `execute` opens one for a request. The pipeline has that done in a process of
its own, so that load time, peak memory and threads are those of one runtime with one model.
"""

from __future__ import annotations

import gc
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import machine, runtimes
from kexport.errors import UsageError
from kexport.evidence.profile import profiled
from kexport.images.seeded import seeded_images
from kexport.records import BenchRecord, Signature
from kexport.sources import backend
from kexport.specs import ModelSpec

FEWEST_SAMPLES = 3
MOST_VALUES = 2**31


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How to measure. Sampling ends after ``repetitions`` or, with at least three samples, after ``max_seconds``.

    ``profile``: the operators are measured as well, after the samples.
    """

    warmup: int = 5
    repetitions: int = 50
    max_seconds: float = 20.0
    threads: int = field(default_factory=machine.cores)
    batch: int = 1
    device: str = runtimes.DEFAULT_DEVICE
    profile: bool = False

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
    process, because evidence knows no model. ``low`` and ``high`` bound the input values, ``seed`` makes
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
    """Seeded inputs for a signature: images for (batch, height, width, channels), ramps for everything else.

    UsageError for more values than a machine should be asked for: a record may say any batch.
    """
    for spec in specs:
        values = math.prod((request.settings.batch, *(size or 1 for size in spec.shape[1:])))
        if values > MOST_VALUES:
            raise UsageError(
                f"input {spec.name!r} has {values} values in a batch of {request.settings.batch}, "
                f"expected at most {MOST_VALUES}",
                hint="--batch 1",
            )
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
    """Measure in this process. Numbers that are to be believed come from a process of its own."""
    settings = request.settings
    source = _source(request)
    start = perf_counter()
    session = _open(request, source)
    load_seconds = perf_counter() - start
    inputs = make_inputs(session.signature[0], request=request)
    start = perf_counter()
    session.run(inputs)
    first_seconds = perf_counter() - start
    samples = measure(session, inputs, settings=settings)
    record = BenchRecord(
        runtime=request.runtime,
        device=settings.device,
        effective=session.effective,
        threads=settings.threads,
        batch=settings.batch,
        warmup=settings.warmup,
        load_seconds=load_seconds,
        first_seconds=first_seconds,
        samples_seconds=samples,
        peak_memory_bytes=machine.peak_memory_bytes(),
        machine=machine.describe(),
    )
    if not settings.profile:
        return record
    del session
    return replace(record, profile=profiled(request, inputs, run_seconds=median(samples)))


def opened(request: BenchRequest) -> tuple[runtimes.Session, Callable[[], object]]:
    """A session for a request, and what runs it once on the request's inputs."""
    session = _open(request, _source(request))
    inputs = make_inputs(session.signature[0], request=request)
    return session, lambda: session.run(inputs)


def _open(request: BenchRequest, source: Any) -> runtimes.Session:
    settings = request.settings
    return runtimes.open_session(
        runtimes.find(request.runtime),
        source,
        options=runtimes.SessionOptions(device=settings.device, threads=settings.threads, batch=settings.batch),
    )


def _source(request: BenchRequest) -> Any:
    if request.path is not None:
        return Path(request.path)
    if request.model is None:
        return None
    from kexport.runtimes.tensorflow_ import limit_threads

    backend.require_tensorflow("measuring Keras itself")
    limit_threads(request.settings.threads)  # before the build: afterwards TensorFlow no longer changes it
    module, _, function = request.factory.partition(":")
    return getattr(importlib.import_module(module), function)(request.model)


def environment(settings: BenchSettings) -> dict[str, str]:
    """What the measuring process has in its environment: its threads, quiet TensorFlow, and no GPU unless asked for."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(settings.threads))
    changes = {**threads, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    if settings.device.startswith("cpu"):
        changes["CUDA_VISIBLE_DEVICES"] = "-1"
    return changes
