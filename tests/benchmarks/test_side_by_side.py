"""Two files against each other: what is measured, what is merged, and when there is nothing to compare."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Add, GlobalPool, PoolKind


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = importlib.import_module("side_by_side")
    monkeypatch.setattr(module, "BLOCKS", 2)
    monkeypatch.setattr(module, "BLOCK_SECONDS", 0.001)
    return module


def written(path: Path, *, inputs: int = 1) -> str:
    """Averages of photographs; of the sum of several."""
    shape = (None, 8, 8, 3)
    images = tuple(TensorSpec(name=f"x{index}", shape=shape) for index in range(inputs))
    names = tuple(spec.name for spec in images)
    pooled = Node(name="mean", operation=GlobalPool(kind=PoolKind.AVERAGE), inputs=(names[0],), shape=(None, 3))
    nodes = (pooled,)
    if inputs > 1:
        nodes = (
            Node(name="sum", operation=Add(), inputs=names, shape=shape),
            Node(name="mean", operation=pooled.operation, inputs=("sum",), shape=(None, 3)),
        )
    tflite.write(Graph(name="g", inputs=images, nodes=nodes, outputs={"y": "mean"}), path)
    return str(path)


@pytest.mark.parametrize("first", ["native", "peer"])
def test_both_files_are_run(side_by_side, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str) -> None:
    ours, theirs = written(tmp_path / "a.tflite"), written(tmp_path / "b.tflite")
    assert side_by_side.worker("litert", "MobileNet", ours, theirs, first) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["latency_ratio_of_blocks"]) == 2
    assert min(found["latency_ratio_of_blocks"]) > 0
    assert found["max_difference"] == 0.0
    assert found["signal"] > 0


def test_a_peer_that_cannot_be_compared(side_by_side, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, more = written(tmp_path / "a.tflite"), written(tmp_path / "b.tflite", inputs=2)
    (tmp_path / "c.tflite").write_bytes(b"no model")
    assert side_by_side.worker("litert", "MobileNet", ours, more, "native") == 0
    assert json.loads(capsys.readouterr().out)["peer_unusable"] == "the peer's file asks for 1 more inputs: x1"
    assert side_by_side.worker("litert", "MobileNet", ours, str(tmp_path / "c.tflite"), "peer") == 0
    assert "the peer's file does not load: c.tflite" in json.loads(capsys.readouterr().out)["peer_unusable"]
    with pytest.raises(SystemExit, match=r"c\.tflite"):
        side_by_side.worker("litert", "MobileNet", str(tmp_path / "c.tflite"), ours, "native")


def test_processes_are_merged_block_by_block(side_by_side) -> None:
    one = {
        "native_latency_seconds": 1.0, "peer_latency_seconds": 2.0, "latency_ratio_of_blocks": [0.5, 0.6],
        "max_difference": 1e-6, "signal": 0.2, "effective": ["x", "y"],
    }  # fmt: skip
    two = one | {"native_latency_seconds": 3.0, "latency_ratio_of_blocks": [0.9], "signal": 0.1}
    found = side_by_side.merged([one, two])
    assert (found["native_latency_seconds"], found["peer_latency_seconds"], found["latency_ratio"]) == (2.0, 2.0, 0.6)
    assert (found["latency_ratio_of_blocks"], found["signal"]) == ([0.5, 0.6, 0.9], 0.1)
    assert math.isnan(side_by_side.merged([one, two | {"max_difference": np.nan}, one])["max_difference"])
