"""The int8 comparison: its bounds can be missed, absent peers are told, its tables and bar show what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.formats.tflite import writer as tflite
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation, GlobalPool, PoolKind
from tests.benchmarks.script_modules import script_modules

FOLDER = Path(__file__).parent
SCRIPTS = (
    "int8_vs_peers", "int8_blocks", "int8_speed", "int8_accuracy", "int8_networks", "int8_peers", "measured_blocks",
    "harness", "side_by_side", "processes", "evidence", "md_text", "profile_block", "int8_profile", "litert_times",
    "ort_times", "operator_times",
)  # fmt: skip
MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0"}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found


def accuracy_row(**changes: Any) -> dict[str, Any]:
    accuracy = {
        "images": 400, "keras_top1": 0.5575, "top1": 0.555, "top1_drop_points": 0.25, "top1_agreement": 0.93,
        "right_to_wrong": 3, "wrong_to_right": 2, "logits_sqnr_db": 24.5, "output_sqnr_db": 22.0,
    }  # fmt: skip
    row = {
        "network": "MobileNet 0.25", "tool": "kexport", "title": "kexport", "format": "tflite", "reason": "",
        "seconds": 12.0, "peak_bytes": 5 * 10**8, "file_bytes": 29, "float_bytes": 100, "load_problem": "",
        "operators": {"delegated": 34, "all": 34}, "versions": {}, "broken": [],
        "recorded": {"images": 400, "right_to_wrong": 3, "wrong_to_right": 2},
    }  # fmt: skip
    nested = {key: changes.pop(key) for key in list(changes) if key in accuracy}
    return row | {"accuracy": accuracy | nested} | changes


def speed_row(**changes: Any) -> dict[str, Any]:
    row = {
        "model": "ResNet50", "format": "onnx", "reason": "", "parameters": 25_000_000, "file_bytes": 25,
        "float_bytes": 100, "calibration_images": 100, "seconds": 60.0, "peak_bytes": 10**9, "sqnr_db": 30.0,
        "int8_seconds": 0.01, "float_seconds": 0.03, "speedup": 3.0, "speedup_range": [2.9, 3.1], "effective": "x",
        "broken": [],
    }  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"top1_drop_points": 0.75}, ["drop 0.75, at most 0.5"]),
        ({"top1_drop_points": "nan"}, ["drop nan, at most 0.5"]),
        ({"top1_agreement": 0.899}, ["agreement 0.899, at least 0.9"]),
        ({"load_problem": "failed to create XNNPACK runtime"}, ["does not load with the default delegate"]),
        ({"operators": {"delegated": 33, "all": 34}}, ["the delegate takes 33 of 34 operators"]),
        ({"operators": None}, []),
        ({"right_to_wrong": 4}, ["kexport's record says otherwise: "]),
        ({"reason": "int8 FAIL: sqnr"}, ["int8 FAIL: sqnr"]),
    ],
)
def test_bounds_of_accuracy(scripts: SimpleNamespace, changes: dict[str, Any], expected: list[str]) -> None:
    network = scripts.int8_networks.NETWORKS["MobileNet 0.25"]
    found = scripts.int8_accuracy.broken(network, accuracy_row(**changes))
    assert [message[: len(told)] for message, told in zip(found, expected, strict=True)] == expected
    assert scripts.int8_accuracy.broken(network, accuracy_row(**changes) | {"tool": "nncf-full"}) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"speedup": 2.79}, ["2.79 times faster, at least 2.8"]),
        ({"speedup": float("nan")}, ["nan times faster, at least 2.8"]),
        ({"file_bytes": 27}, ["size 0.270 of float, at most 0.26"]),
        ({"file_bytes": 31, "parameters": 4_000_000}, ["size 0.310 of float, at most 0.3"]),
        ({"file_bytes": 90, "parameters": 3_000_000}, []),
        ({"peak_bytes": 1_600_000_000}, ["calibration took 1.60 GB, at most 1.5"]),
        ({"peak_bytes": 0}, ["calibration took 0.00 GB, at most 1.5"]),
        ({"peak_bytes": 1_600_000_000, "calibration_images": 32}, []),
        ({"model": "MobileNetV2", "parameters": 1, "speedup": 1.9}, ["1.90 times faster, at least 2"]),
        ({"reason": "killed after 900 s"}, ["killed after 900 s"]),
    ],
)
def test_bounds_of_speed(scripts: SimpleNamespace, changes: dict[str, Any], expected: list[str]) -> None:
    assert scripts.int8_speed.broken(speed_row(**changes)) == expected


@pytest.mark.parametrize("called", ["MobileNet", "MobileNet-a0.25"])
def test_files_that_disagree_miss_the_bound(scripts: SimpleNamespace, tmp_path: Path, called: str) -> None:
    """Whatever the variant is called."""
    network = scripts.int8_networks.NETWORKS["MobileNet 0.25"]
    assert scripts.int8_accuracy.mutual(network, tmp_path)["broken"], "no answers, no agreement"
    same = np.eye(50, dtype=np.float32)
    np.save(tmp_path / "answers-ort-default.onnx.npy", same)
    for name in ("onnx", "tflite"):
        np.save(tmp_path / f"answers-{called}-int8.{name}.npy", same)
    assert scripts.int8_accuracy.mutual(network, tmp_path) == {
        "network": "MobileNet 0.25", "agreement": 1.0, "images": 50, "broken": [],
    }  # fmt: skip
    np.save(tmp_path / f"answers-{called}-int8.onnx.npy", np.vstack([same[1:2], same[1:]]))
    found = scripts.int8_accuracy.mutual(network, tmp_path)
    assert found["broken"] == ["the two int8 files agree on 0.98, at least 0.99"]


def test_a_peer_that_is_not_installed_is_told(scripts: SimpleNamespace, tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "import sys; sys.path[:0] = sys.argv[1:3]; import int8_peers as p; "]
    command[-1] += "p.METHODS['nncf-fast'] = p.Method(title='', quantize=print, packages=('no_such_package',), "
    command[-1] += "source='', suffix=''); sys.exit(p.main(['nncf-fast', 'a', 'b', 'c']))"
    site = str(Path(np.__file__).parents[1])
    done = subprocess.run([*command, str(FOLDER), site], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"missing": "no_such_package"}
    tools = SimpleNamespace(quantize=lambda *_: (done.stdout, ""))
    source = tmp_path / scripts.int8_peers.METHODS["nncf-fast"].source
    assert "could not be made" in scripts.int8_accuracy.peer_row("nncf-fast", tmp_path / "x", tmp_path, tools)["reason"]
    source.touch()
    row = scripts.int8_accuracy.peer_row("nncf-fast", tmp_path / "x", tmp_path, tools)
    assert row == {"reason": "not installed (no_such_package)"}


def test_a_file_is_judged_against_the_answers_of_keras(scripts: SimpleNamespace, tmp_path: Path) -> None:
    networks = scripts.int8_networks
    pooled = Node(name="mean", operation=GlobalPool(kind=PoolKind.AVERAGE), inputs=("x",), shape=(None, 3))
    nodes = (pooled, Node(name="p", operation=Activate(function=Activation.SOFTMAX), inputs=("mean",), shape=(None, 3)))
    image = TensorSpec(name="x", shape=(None, 4, 4, 3))
    path = tmp_path / "a.tflite"
    tflite.write(Graph(name="g", inputs=(image,), nodes=nodes, outputs={"y": "p"}), path)
    images = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype(np.float32)
    powers = np.exp(images.mean(axis=(1, 2)))
    answers = powers / powers.sum(axis=1, keepdims=True)
    decided = answers.argmax(axis=1)
    np.save(tmp_path / networks.EVALUATION, images)
    np.save(tmp_path / networks.LABELS, np.array([(decided[0] + 1) % 3, *decided[1:]]))
    np.save(tmp_path / networks.KERAS, answers)
    found = networks.evaluate(path, tmp_path, tmp_path / "answers.npy")
    assert found["load_problem"] == ""
    assert found["operators"]["all"] > 0
    assert (found["accuracy"]["images"], found["accuracy"]["top1_agreement"]) == (6, 1.0)
    assert found["accuracy"]["keras_top1"] == found["accuracy"]["top1"] == pytest.approx(5 / 6, abs=1e-3)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), answers, atol=1e-5)


def test_the_lab_folder_is_asked_for(scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KEXPORT_LAB", raising=False)
    with pytest.raises(UsageError, match="KEXPORT_LAB='': expected a folder with images/ and weights"):
        scripts.int8_networks.lab_folder()
    (tmp_path / "images").mkdir()
    for index in (0, 7, 10, 12, 20):
        (tmp_path / "images" / f"{index:04}_n.jpg").touch()
    monkeypatch.setenv("KEXPORT_LAB", str(tmp_path))
    calibration, evaluation = scripts.int8_networks.split(scripts.int8_networks.lab_folder())
    assert [path.name[:4] for path in calibration] == ["0000", "0010", "0020"]
    linked = scripts.int8_networks.link(evaluation, tmp_path / "eval")
    assert sorted(path.name for path in linked.iterdir()) == ["0007_n.jpg", "0012_n.jpg"]


def test_tables_and_bar(scripts: SimpleNamespace) -> None:
    blocks = scripts.int8_blocks
    assert blocks.accuracy(None) == blocks.speed(None)
    assert blocks.accuracy(None) == "Not measured yet. `python tests/benchmarks/tables.py --int8 FILE` fills this in."
    assert {row[2] for row in blocks.bar(None)} == {"not measured yet"}
    hidden = {"logits_sqnr_db": None, "title": "TFLiteConverter, full int8", "tool": "tflite-converter"}
    peer = accuracy_row(**hidden, load_problem="failed", versions={"tensorflow": "2.21.0"})
    lost = {"network": "MobileNet 0.25", "tool": "nncf", "title": "NNCF", "format": "onnx", "broken": []}
    lost["reason"] = "not installed (nncf)"
    missed = speed_row(model="VGG16", speedup=1.0, broken=["1.00 times faster, at least 2.5"], profile={"Conv": 3.25})
    data = {
        "machine": MACHINE, "rows": [accuracy_row(), peer, lost], "speed": [speed_row(), missed],
        "mutual": [{"network": "MobileNet 0.25", "agreement": 0.98, "images": 400, "broken": ["low"]}],
    }  # fmt: skip
    text = blocks.accuracy(data)
    assert "Peers: tensorflow 2.21.0." in text
    assert (
        "Top-1 of Keras: MobileNet 0.25 55.75 %. kexport's two int8 files decide alike: MobileNet 0.25 98.00 %." in text
    )
    shown = "+0.25 | 0.930 | 3 / 2 | 24.5 | 22.0 | 0.290 | 12.0 | 500 | 34 of 34 delegated | met |"
    assert f"| MobileNet 0.25 | kexport | tflite | 55.50 | {shown}" in text
    assert "| - | 22.0 | 0.290 | 12.0 | 500 | **not with the default delegate** |  |" in text
    assert "| NNCF | onnx |" + " - |" * 10 + " not installed (nncf) |" in text
    speeds = blocks.speed(data)
    assert "| ResNet50 | ONNX Runtime | 30.00 | 10.00 | 3.00 | 2.90 to 3.10 | 2.8 |" in speeds
    assert "| missed: 1.00 times faster, at least 2.5 |" in speeds
    assert "| VGG16 | ONNX Runtime | Conv | - | 3.250 | - |" in speeds
    assert speeds.endswith("| VGG16 | ONNX Runtime | whole file | 30.000 | 10.000 | 1.00 |")
    bar = {row[0]: row[1:] for row in blocks.bar(data)}
    assert bar["int8 of MobileNet 0.25: the ONNX and the TFLite file decide alike"][1:] == ("0.9800", "**missed**")
    assert bar["int8 of ResNet50: times faster than float; size; on both runtimes"] == (
        "at least 2.8; at most 0.26", "ONNX Runtime: 3.00; 0.250", "met",
    )  # fmt: skip
    assert bar["int8 of ResNet50: peak memory of the calibration, 100 images"][1:] == ("1.00 GB", "met")
    assert bar["int8 of VGG16: times faster than float; size; on both runtimes"][2] == "**missed**"
    assert bar["int8 of MobileNetV2: times faster than float; size; on both runtimes"][1] == "not measured yet"
