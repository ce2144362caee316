"""The bounds of the peer benchmarks can be broken, NaN included."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = importlib.util.spec_from_file_location("harness", Path(__file__).with_name("harness.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "harness", module)
    spec.loader.exec_module(module)
    return module


def comparison(harness: ModuleType, script: Path = Path("none.py")) -> Any:
    return harness.Comparison(
        title="t",
        script=script,
        native=print,
        peer=print,
        peer_name="peer",
        suffix=".onnx",
        runtime="null",
        models=(),
        size_counts=True,
    )


GOOD_ROW = {"max_difference": 1e-6, "signal": 0.1, "latency_ratio": 1.0}


@pytest.mark.parametrize(
    ("native", "row", "expected"),
    [
        ({}, {}, []),
        ({"peak_bytes": 411}, {}, ["memory 3.11 times the weights"]),
        ({"seconds": 2.0}, {}, ["only 5.0 times faster"]),
        ({"seconds": float("nan")}, {}, ["only nan times faster"]),
        ({"file_bytes": 51}, {}, ["file 51 bytes, the peer's 50"]),
        ({}, {"latency_ratio": 1.06}, ["latency 1.060 of the peer's"]),
        ({}, {"latency_ratio": float("nan")}, ["latency nan of the peer's"]),
        ({}, {"max_difference": float("nan")}, ["outputs differ by nan"]),
        ({}, {"latency_failed": "exit code 1"}, ["latency: exit code 1"]),
        ({}, {"signal": 0.0}, ["constant output (spread 0): comparing it proves nothing"]),
        ({"reason": "killed above 20 GiB"}, {}, ["kexport: killed above 20 GiB"]),
    ],
)
def test_bounds(harness: ModuleType, native: dict[str, Any], row: dict[str, Any], expected: list[str]) -> None:
    good = harness.Exported(seconds=1.0, peak_bytes=390, framework_bytes=100, weight_bytes=100, file_bytes=50)
    exports = {"native": replace(good, **native), "peer": replace(good, seconds=10.0)}
    assert harness.broken(comparison(harness), exports, GOOD_ROW | row, above="imports") == expected


def test_memory_above_the_model_counts_the_weights_once(harness: ModuleType) -> None:
    export = harness.Exported(peak_bytes=990, before_bytes=790, framework_bytes=100, weight_bytes=100, seconds=1.0)
    assert (export.memory_ratio, export.added_ratio, export.judged_ratio("model")) == (8.9, 2.0, 3.0)
    assert harness.broken(comparison(harness), {"native": export}, {}, above="model") == []
    found = harness.broken(comparison(harness), {"native": export}, {}, above="imports")
    assert found == ["memory 8.90 times the weights"]


@pytest.mark.parametrize(
    ("program", "limit_bytes", "expected"),
    [
        ("print('x'); print('last')", 2**30, ("last", "")),
        ("import sys; sys.exit('no such layer')", 2**30, ("", "exit code 1: no such layer")),
        (
            "import time; a = bytearray(2**27); a[::4096] = b'x' * 2**15; time.sleep(20)",
            2**26,
            ("", "killed above 0 GiB"),
        ),
    ],
)
def test_a_process_is_watched(
    harness: ModuleType, tmp_path: Path, program: str, limit_bytes: int, expected: tuple[str, str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(program, encoding="utf-8")
    assert harness._run(comparison(harness, script), [], limit_bytes=limit_bytes) == expected
