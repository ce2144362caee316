"""The time of every operator of a TFLite file in LiteRT: each runs alone, cut out of the file (`formats.tflite.parts`).

With the delegate and the threads of the whole file; the median, less that of an almost empty invocation that is
measured the same way. What a part does not show: its inputs lie warm in the cache, and nothing is joined with its
neighbours. Operators that do the same work are timed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from kexport.formats.tflite import parts
from kexport.formats.tflite.work import known_values, place_of, work
from kexport.formats.work import repeated
from kexport.records import OperatorTime, Profile
from kexport.runtimes import SessionOptions, Tensor, open_session
from kexport.runtimes.litert import WITHOUT_DELEGATE, LitertSession, resolver

METHOD = (
    "each operator run alone in LiteRT, cut out of the file: its Python package has no profiler; "
    "what is saved where operators are joined is not seen"
)
WARM_RUNS, FEWEST_RUNS = 2, 5
PART_SECONDS = 0.03
_EMPTY_RUNS = 200


def operators(path: Path, inputs: Mapping[str, Tensor], *, options: SessionOptions, run_seconds: float) -> Profile:  # noqa: ARG001 - every part takes its own time
    """Every operator of the file that runs with every inference. Raises UnsupportedError for what cannot be cut."""
    model = parts.read(path)
    rows = len(next(iter(inputs.values())))
    shapes, times = _shapes(path, rows)
    known = known_values(model)
    nothing = median(_samples(_opened(parts.empty(), (), options), fewest=_EMPTY_RUNS))
    seconds: dict[str, float] = {}
    found = []
    for each in parts.operators(model):
        if each.identity not in seconds:
            given = [shapes[value] for value in parts.inputs(model, each.place)]
            samples = _samples(_opened(parts.cut(model, each.place), given, options), fewest=FEWEST_RUNS)
            seconds[each.identity] = times * max(0.0, median(samples) - nothing)
        place = place_of(each.makes, known)
        found.append(OperatorTime(name=each.makes, place=place, kind=each.kind, seconds=seconds[each.identity]))
    return Profile(
        method=METHOD,
        layers=known is not None,
        runs=FEWEST_RUNS,
        operators=tuple(found),
        work=repeated(work(model, shapes), times),
    )


def _shapes(path: Path, rows: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """The shape of every tensor with so many rows, and how often the file then runs."""
    session = open_session(LitertSession, path, options=SessionOptions(device=WITHOUT_DELEGATE, batch=rows))
    assert isinstance(session, LitertSession)
    details = session.tensors()
    return {detail["index"]: tuple(map(int, detail["shape"])) for detail in details}, session.times(rows)


def _opened(content: bytes, shapes: Sequence[tuple[int, ...]], options: SessionOptions) -> Any:
    """An interpreter of a part, fed."""
    from ai_edge_litert.interpreter import Interpreter

    kind = resolver(options.device)
    interpreter = Interpreter(model_content=content, num_threads=options.threads, experimental_op_resolver_type=kind)
    for detail, shape in zip(interpreter.get_input_details(), shapes, strict=False):
        if tuple(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _numbers(tuple(detail["shape"]), np.dtype(detail["dtype"])))
    return interpreter


def _numbers(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Normal numbers, or small integers of the whole range; zeros of other types, which are legal as indices."""
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
    return np.zeros(shape, dtype)


def _samples(interpreter: Any, *, fewest: int) -> list[float]:
    for _ in range(WARM_RUNS):
        interpreter.invoke()
    samples: list[float] = []
    end = perf_counter() + PART_SECONDS
    while len(samples) < fewest or perf_counter() < end:
        start = perf_counter()
        interpreter.invoke()
        samples.append(perf_counter() - start)
    return samples
