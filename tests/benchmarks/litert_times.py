"""What every operator of a TFLite file takes in LiteRT, run alone: `tflite_parts` cuts it out of the file.

With the default delegate and the whole file's number of threads; median, less that of an almost empty invocation which
is measured the same way. What a part does not show: its inputs lie warm in the cache, nothing is fused across
operators. Operators that do the same work are timed once and counted as often as they stand in the file.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import int8_networks
import numpy as np
import numpy.typing as npt
from operator_times import Spent

from kexport.formats.tflite import parts as tflite_parts
from kexport.runtimes.litert import delegation

WARM_RUNS = 5
ROUND_SECONDS, ROUND_RUNS = 0.02, 10  # of one part in one round, at least


class LitertFile:
    """The operators of the TFLite file at ``path``; of which application it is, is not asked: inputs are random."""

    def __init__(self, path: Path, _application: str) -> None:
        self._model = tflite_parts.read(path)
        self._operators = tflite_parts.operators(self._model)
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._delegated: dict[str, bool] = {}
        self._empty: list[float] = []

    def measure(self) -> None:
        """One round."""
        self._empty += timed(tflite_parts.empty())[0]
        for identity, operator in {each.identity: each for each in self._operators}.items():
            samples, self._delegated[identity] = timed(tflite_parts.cut(self._model, operator.place))
            self._samples[identity] += samples

    def spent(self) -> Iterator[Spent]:
        """One value per operator of the file; never less than nothing."""
        nothing = median(self._empty)
        for each in self._operators:
            ms = 1000 * max(0.0, median(self._samples[each.identity]) - nothing)
            in_float, delegated = ms if each.in_float else 0.0, int(self._delegated[each.identity])
            yield Spent(name=each.name, count=1, ms=ms, float_ms=in_float, delegated=delegated)


def timed(content: bytes, *, threads: int = int8_networks.THREADS) -> tuple[list[float], bool]:
    """Seconds of invocations of a part on random inputs, and whether the default delegate takes its operator."""
    interpreter = _opened(content, threads)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(tuple(detail["shape"]), np.dtype(detail["dtype"])))
    for _ in range(WARM_RUNS):
        interpreter.invoke()
    samples, end = [], time.perf_counter() + ROUND_SECONDS
    while len(samples) < ROUND_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        samples.append(time.perf_counter() - start)
    return samples, delegation(interpreter._get_ops_details())[-1][1]


def random_input(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Normal numbers, or integers of the whole range. ValueError for another dtype: what is plausible is not known."""
    random = np.random.default_rng(0)
    if dtype == np.float32:
        return random.normal(size=shape).astype(dtype)
    if dtype in (np.int8, np.uint8, np.int16):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
    raise ValueError(f"an operator reads computed numbers of {dtype}, expected float32, int8, uint8 or int16")


def _opened(content: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
