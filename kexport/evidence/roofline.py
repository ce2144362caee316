"""What this machine does at best: a matrix product and a copy of memory, measured where a file is profiled.

With the threads of the profile, in its process. The products are ONNX Runtime's (MatMul in float32, MatMulInteger of
uint8 by int8), the copy is numpy's, each thread its part, of as many bytes as the network moves: both run over the same
memory again and again. The fastest of several counts: a limit is what was reached once. Source of the model: Williams,
Waterman and Patterson, Roofline: an insightful visual performance model for multicore architectures, CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

from kexport.records import Limits
from kexport.runtimes import SessionOptions

SIDE = 1024
LEAST_BYTES, MOST_BYTES = 2 * 2**20, 256 * 2**20
SECONDS, FEWEST = 0.4, 5
_ROUND_BYTES = 32 * 2**20


def can_measure() -> bool:
    """Whether ONNX Runtime and onnx are installed."""
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def limits(threads: int, moved_bytes: int) -> Limits:
    """Measured now, in about a second, for a network that moves so many bytes."""
    copied = max(LEAST_BYTES, min(MOST_BYTES, moved_bytes))
    return Limits(
        float_macs_per_second=SIDE**3 / _fastest(_product("MatMul", np.float32, np.float32, threads)),
        integer_macs_per_second=SIDE**3 / _fastest(_product("MatMulInteger", np.uint8, np.int8, threads)),
        copy_bytes_per_second=_fastest_copy(copied, threads),
        copied_bytes=copied,
    )


def _fastest(run: Callable[[], Any]) -> float:
    run()
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) < FEWEST or perf_counter() < end:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def _product(kind: str, first: Any, second: Any, threads: int) -> Callable[[], Any]:
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper

    from kexport.runtimes.ort import CPU_PROVIDER, session_options

    random = np.random.default_rng(0)
    left, right = (random.integers(0, 100, (SIDE, SIDE)).astype(dtype) for dtype in (first, second))
    value = helper.make_tensor_value_info("a", helper.np_dtype_to_tensor_dtype(left.dtype), left.shape)
    result = onnx.TensorProto.FLOAT if first is np.float32 else onnx.TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(kind, ["a", "b"], ["c"])], "product", [value],
        [helper.make_tensor_value_info("c", result, left.shape)], [numpy_helper.from_array(right, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = session_options(SessionOptions(threads=threads))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU_PROVIDER])
    return lambda: session.run(None, {"a": left})


def _fastest_copy(copied_bytes: int, threads: int) -> float:
    """Bytes per second. Each thread copies its part several times over where it is small."""
    source = np.ones(copied_bytes // 16)
    target = np.zeros_like(source)
    pairs = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    times = max(1, _ROUND_BYTES // copied_bytes)

    def copy(pair: tuple[Any, Any]) -> None:
        for _ in range(times):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(threads) as pool:
        return times * copied_bytes / _fastest(lambda: list(pool.map(copy, pairs)))
