"""Shared fixtures: ONNX files through ONNX Runtime, graphs through a small numpy reference."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.graph import Graph
from kexport.pipeline.runners.child import ONEDNN
from tests.demonstrated import demonstrated
from tests.numpy_reference import compute

__all__ = ["demonstrated"]

Arrays = list[np.ndarray]


def pytest_configure() -> None:
    """A shell that starts its jobs in the background has them ignore SIGINT, and their children with them.

    No test finds what another, or the user, has left behind: planning int8 remembers nothing unless a test wants it.
    Keras computes here as in workers.
    """
    os.environ["KEXPORT_CACHE"] = ""
    for name, value in ONEDNN.items():
        os.environ.setdefault(name, value)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long run has every test; the gate leaves out what is marked so, and says it."""
    if not os.environ.get("KEXPORT_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="of the long run: set KEXPORT_LONG=1"))


@pytest.fixture
def interpret() -> Callable[[Graph, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Every value of a graph in float64, by plain numpy: graph inputs by name in, values by name out."""

    def run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {name: np.asarray(array, np.float64) for name, array in inputs.items()}
        for node in graph:
            values[node.name] = compute(node.operation, *(values[name] for name in node.inputs))
            assert values[node.name].shape[1:] == node.shape[1:], node
        return values | {public: values[name] for public, name in graph.outputs.items()}

    return run


@pytest.fixture
def run_onnx(tmp_path: Path) -> Callable[..., Arrays]:
    """Write a graph as ONNX, check the file with `onnx.checker`, run it on ORT's CPU provider."""

    def run(graph: Graph, inputs: Arrays, **options: Any) -> Arrays:
        import onnx
        import onnxruntime

        from kexport.formats.onnx import writer

        path = tmp_path / "model.onnx"
        writer.write(graph, path, **options)
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run


@pytest.fixture
def run_tflite(tmp_path: Path) -> Callable[..., tuple[Arrays, tuple[tuple[str, bool], ...]]]:
    """Write a graph as TFLite, run it on LiteRT with its default delegate; outputs, and what it delegated."""

    def run(graph: Graph, inputs: Arrays, **options: Any) -> tuple[Arrays, tuple[tuple[str, bool], ...]]:
        from kexport.formats.tflite import writer as tflite
        from kexport.runtimes import SessionOptions
        from kexport.runtimes.litert import LitertSession

        path = tmp_path / "model.tflite"
        tflite.write(graph, path, **{"batch": len(inputs[0]), **options})
        session = LitertSession.open(path, options=SessionOptions(threads=1))
        names = [spec.name for spec in graph.inputs]
        found = session.execute(dict(zip(names, inputs, strict=True)))
        return [found[name] for name in graph.outputs], session.operators

    return run


@pytest.fixture
def seeded() -> Callable[..., Any]:
    """Give every weight of a Keras model seeded numbers: nothing stays 0 or 1, variances are positive."""

    def fill(model: Any, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        for variable in model.weights:
            positive = "variance" in variable.path
            numbers = rng.uniform(0.5, 2.0, variable.shape) if positive else rng.normal(0.1, 0.5, variable.shape)
            if "int" not in str(variable.dtype):
                variable.assign(numbers.astype(np.float32))
        return model

    return fill
