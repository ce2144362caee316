"""Latency of int8 beside the peers: what is judged, what is told, and what a session reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.script_modules import script_modules

SCRIPTS = (
    "int8_latency", "int8_accuracy", "processes", "int8_latency_page", "turns", "int8_networks", "int8_peers",
    "evidence", "measured_blocks", "md_text",
)  # fmt: skip
MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0"}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found


def row(scripts: SimpleNamespace, *ratios: float, **changes: Any) -> dict[str, Any]:
    rounds = [{"native": [ratio * 1e-3] * 3, "peer": [1e-3] * 3} for ratio in ratios]
    good = {"network": "MobileNetV2", "other": "nncf-fast", "title": "NNCF", "format": "onnx", "reason": ""}
    ran = {"peer_effective": "onnxruntime 1.32.0 CPUExecutionProvider (7 nodes on CPUExecutionProvider)"}
    return good | {"versions": {"nncf": "3.4.0"}} | ran | scripts.turns.summary(rounds) | changes


@pytest.mark.parametrize(
    ("form", "ratios", "missed"),
    [
        ("onnx", [0.5] * 9, False),
        ("onnx", [0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4], True),
        ("onnx", [1.5] * 9, True),
        ("tflite", [0.9, 0.9, 0.9, 1.0, 1.1, 1.1, 1.1, 1.1, 1.2], False),
        ("tflite", [1.2] * 9, True),
        ("onnx", [float("nan")] * 9, True),
        ("tflite", [float("nan")] * 9, True),
    ],
)
def test_a_peer_that_may_be_as_fast_is_told(scripts: Any, form: str, ratios: list[float], missed: bool) -> None:
    assert scripts.int8_latency_page.missed(row(scripts, *ratios, format=form)) == missed


def test_the_page_tells_what_is_missed_and_what_does_not_run(scripts: SimpleNamespace) -> None:
    rows = [
        row(scripts, *[0.5] * 9),
        row(scripts, *[1.5] * 9, title="ORT", refused="ValueError: one input more"),
        row(scripts, *[1.25] * 9, other="kexport-float32", title="kexport, float32"),
        {"network": "ResNet50", "other": "x", "title": "X", "format": "tflite", "reason": "does not run: no kernel"},
    ]
    page = "\n".join(scripts.int8_latency_page.lines({"machine": MACHINE, "images": 8, "rows": rows}))
    assert "1 of 3 met: missed MobileNetV2 beside ORT; ResNet50 beside X." in page
    assert "| 2.00 | 2.00 to 2.00 | 7 nodes on CPUExecutionProvider | met |" in page
    assert "not surely faster than kexport's own float32: MobileNetV2 on ONNX Runtime (0.80)" in page
    assert "does not run: no kernel" in page
    assert "| ORT, of kexport's float file |" in page
    assert "ORT could not read Keras's own file of MobileNetV2: ValueError: one input more" in page
    assert "9 rounds" in page


def test_what_a_peer_could_not_make_is_no_pair_and_nothing_measured_is_a_page(scripts: SimpleNamespace) -> None:
    rows = [{"network": "ResNet50", "other": "x", "title": "X", "format": "onnx", "reason": "exit code 1: KeyError"}]
    page = "\n".join(scripts.int8_latency_page.lines({"machine": MACHINE, "images": 8, "rows": rows}))
    assert "0 of 0 met." in page
    assert "exit code 1: KeyError" in page


@pytest.mark.parametrize(
    ("effective", "told"),
    [
        ("LiteRT 2.3.0 XNNPACK (93 of 113 operators), static batch 1", "XNNPACK, 93 of 113 operators"),
        ("onnxruntime 1.32.0 CPUExecutionProvider (7 nodes on CPU)", "7 nodes on CPU"),
        ("something else", "something else"),
    ],
)
def test_where_a_file_runs_in_short(scripts: SimpleNamespace, effective: str, told: str) -> None:
    assert scripts.int8_latency_page.where(effective) == told


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("float32", [0.0, 127.5, 255.0]),
        ("int8", [-128, 0, 127]),
        ("uint8", [0, 128, 255]),
        ("int16", [-32768, 0, 32767]),
    ],
)
def test_an_image_for_files_with_integer_inputs(scripts: SimpleNamespace, dtype: str, wanted: list[float]) -> None:
    image = np.array([0.0, 127.5, 255.0], np.float32)
    found = scripts.turns.as_read(image, dtype, (0.0, 255.0))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, atol=1)


class Peers:
    """Tools whose peers read some files and refuse the others."""

    def __init__(self, *readable: str) -> None:
        self.readable, self.asked = readable, list[str]()

    def quantize(self, name: str, source: Path, calibration: Path, path: Path) -> tuple[str, str]:
        del name, calibration
        self.asked.append(source.name)
        if source.name not in self.readable:
            return "", "exit code 1: ValueError: one input more"
        path.write_bytes(b"made")
        return json.dumps({"versions": {"onnx": "1"}}), ""


@pytest.mark.parametrize(
    ("readable", "refused", "asked"),
    [
        (("keras.onnx", "kexport.onnx"), False, ["keras.onnx"]),
        (("kexport.onnx",), True, ["keras.onnx", "kexport.onnx"]),
        ((), True, ["keras.onnx", "kexport.onnx"]),
    ],
)
def test_a_peer_that_cannot_read_kerass_file_is_given_kexports(
    scripts: SimpleNamespace, tmp_path: Path, readable: tuple[str, ...], refused: bool, asked: list[str]
) -> None:
    peers, path = Peers(*readable), tmp_path / "ort-per-tensor.onnx"
    found = scripts.int8_latency._quantized("ort-per-tensor", path, tmp_path, peers)
    assert (bool(found["reason"]), bool(found["refused"]), peers.asked) == (not readable, refused, asked)
    again = scripts.int8_latency._quantized("ort-per-tensor", path, tmp_path, peers)
    assert again == found
    assert peers.asked == (asked if readable else asked * 2), "what was made is kept, what was not is tried again"


@pytest.mark.parametrize("text", ["MobileNetV4", "MobileNetV2,", "mobilenetv2", ""])
def test_a_network_that_is_not_compared_is_refused_before_anything_is_measured(
    scripts: SimpleNamespace, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        scripts.int8_latency.main([str(tmp_path), "--peers-python", "python", "--networks", text])
    assert ended.value.code == 2
    assert "expected some of MobileNetV2, " in capsys.readouterr().err
