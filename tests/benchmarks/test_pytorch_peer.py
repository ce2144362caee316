"""The comparison with PyTorch's export: turns, what is counted, and what is judged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kexport.formats.onnx import writer
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import GlobalPool, PoolKind
from tests.benchmarks.script_modules import script_modules

SCRIPTS = (
    "turns", "int8_networks", "int8_peers", "evidence", "onnx_counts", "pytorch_blocks", "pytorch_peer",
    "measured_blocks", "md_text", "harness", "side_by_side", "processes",
)  # fmt: skip
MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0"}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found


def written(path: Path) -> str:
    images = (TensorSpec(name="x", shape=(None, 8, 6, 3)),)
    pooled = Node(name="mean", operation=GlobalPool(kind=PoolKind.AVERAGE), inputs=("x",), shape=(None, 3))
    writer.write(Graph(name="g", inputs=images, nodes=(pooled,), outputs={"y": "mean"}), path)
    return str(path)


def row(scripts: SimpleNamespace, *ratios: float, **changes: Any) -> dict[str, Any]:
    rounds = [{"native": [ratio * 1e-3] * 3, "peer": [1e-3] * 3} for ratio in ratios]
    counts = {
        "native": {"operators": {"Conv": 3, "Add": 1}, "multiplications": 2_500_000},
        "peer": {"operators": {"Conv": 3, "Mul": 2}, "multiplications": 2_400_000},
    }
    made = {"versions": {"torch": "2.13.0"}, "exporter": "dynamo"}
    good = {"model": "ResNet50", "network": "resnet50", "reason": "", "counts": counts, "pytorch": made}
    return good | {"dynamo_failed": ""} | scripts.turns.summary(rounds) | changes


def test_rounds_are_by_turns_with_one_session_alive(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scripts.turns, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(scripts.turns, "TURN_SECONDS", 1e-6)
    alive: list[str] = []
    open_session = scripts.turns.runtimes.open_session

    def opened(kind: Any, path: Path, **options: Any) -> Any:
        session = open_session(kind, path, **options)
        alive.append(path.stem)
        return session

    monkeypatch.setattr(scripts.turns.runtimes, "open_session", opened)
    files = [written(tmp_path / f"{name}.onnx") for name in ("ours", "theirs")]
    assert scripts.turns.worker(*files, "0", "255", "3") == 0
    found = json.loads(capsys.readouterr().out)
    assert alive == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert [len(each["native"]) for each in found["rounds"]] == [3, 3, 3]
    assert found["native"]["input"] == [None, 8, 6, 3]
    assert found["native"]["signal"] > 1 > found["peer"]["signal"] > 0


def test_channels_may_come_first(scripts: SimpleNamespace) -> None:
    first, last = scripts.turns.image((None, 3, 8, 6), (0, 1)), scripts.turns.image((None, 8, 6, 3), (0, 1))
    assert first.shape == (1, 3, 8, 6)
    assert (first == last.transpose(0, 3, 1, 2)).all()


def test_the_ratio_is_that_of_rounds(scripts: SimpleNamespace) -> None:
    found = row(scripts, *[0.9] * 5, *[1.3] * 4)
    assert (found["ratio"], found["rounds"], found["peer_runs"]) == (pytest.approx(0.9), 9, 27)
    assert (found["ratio_low"], found["ratio_high"]) == (pytest.approx(0.9), pytest.approx(1.3))
    assert found["coverage"] >= 0.95


@pytest.mark.parametrize(
    ("ratios", "changes", "said"),
    [
        ([0.9] * 8, {}, "met"),
        ([0.99, 1.02] * 8, {}, "met within noise"),
        ([1.02] * 8, {}, "missed: 1.020 of PyTorch's time"),
        ([0.9] * 8, {"ratio": math.nan, "ratio_low": math.nan}, "missed: nan of PyTorch's time"),
        ([0.9] * 8, {"reason": "exit code 1"}, "missed: exit code 1"),
    ],
)
def test_verdicts(scripts: SimpleNamespace, ratios: list[float], changes: dict[str, Any], said: str) -> None:
    found = row(scripts, *ratios, **changes)
    assert scripts.pytorch_blocks.verdict(found) == said
    assert scripts.pytorch_blocks.held(found) is said.startswith("met")
    data = {"machine": MACHINE, "rows": [found]}
    assert f"{said} |" in scripts.pytorch_blocks.whole(data)
    assert ("missed" in next(scripts.pytorch_blocks.bar(data))[-1]) is said.startswith("missed")


def test_the_page_shows_what_differs(scripts: SimpleNamespace) -> None:
    data = {"machine": MACHINE, "rows": [row(scripts, *[0.9] * 8, dynamo_failed="no such operator")]}
    text = scripts.pytorch_blocks.whole(data)
    assert "| 0.9 | 1 | 0.900 | 0.900 to 0.900 | 8 | 24 / 24 | 2.5 | 2.4 | 4 | 5 | met |" in text
    assert "| ResNet50 | `Add` | 1 | 0 |" in text
    assert "`Conv`" not in text
    assert "ResNet50: PyTorch's older exporter, as `torch.export` failed: no such operator." in text
    assert scripts.pytorch_blocks.whole(None).startswith("Not measured yet.")


def test_products_of_a_file_are_counted(scripts: SimpleNamespace, tmp_path: Path) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    kernels = {"k": (8, 1, 3, 3), "w": (8, 5)}
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in kernels.items()]
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], group=4, pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["batch", 4, 10, 6]), ("y", ["batch", 5]))
    )
    save(helper.make_model(helper.make_graph(nodes, "g", [given], [made], weights)), tmp_path / "m.onnx")
    assert scripts.onnx_counts.multiplications(tmp_path / "m.onnx") == 8 * 10 * 6 * 9 + 8 * 5
    assert scripts.onnx_counts.operators(tmp_path / "m.onnx")["GlobalAveragePool"] == 1


def test_a_network_that_cannot_be_exported_is_told(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts.pytorch_peer, "_run", lambda command: ("", f"no {command[-1]}"))
    assert scripts.pytorch_peer._peer("ResNet50", tmp_path / "r.onnx", "python") == ({}, "no dynamo")
    (tmp_path / "r.json").write_text('{"pytorch": {"exporter": "torchscript"}, "failed": "no dynamo"}', "utf-8")
    assert scripts.pytorch_peer._peer("ResNet50", tmp_path / "r.onnx", "")[0] == {"exporter": "torchscript"}
