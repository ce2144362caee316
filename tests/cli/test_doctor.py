"""``kexport doctor``: what is in the way is named, with its cure."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from kexport import machine
from kexport.cli import doctor
from kexport.cli.doctor import Finding, Level


def test_everything_that_is_not_ok_has_a_cure() -> None:
    findings = tuple(doctor.examine())
    assert {"python", "cores", "memory", "exporting", "onnx runtime package"} <= {item.name for item in findings}
    assert all(item.cure for item in findings if item.level is not Level.OK)


def test_json(call) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(call("doctor", "--json").out)
    assert {"level": "ok", "name": "cores", "value": str(machine.cores()), "cure": ""} in rows


def test_blocked_is_exit_3(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    blocked = Finding(level=Level.BLOCKED, name="x", value="is broken", cure="mend it")
    monkeypatch.setattr(doctor, "examine", lambda: iter([blocked]))
    ended = call("doctor")
    assert (ended.code, ended.out) == (3, "blocked x  is broken\n           cure: mend it\n")


def test_warnings_do_not_block(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    warning = Finding(level=Level.WARNING, name="x", value="is slow", cure="wait")
    monkeypatch.setattr(doctor, "examine", lambda: iter([warning]))
    assert call("doctor").code == 0


def test_both_onnxruntimes_are_detected() -> None:
    both = doctor._onnxruntime({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"})
    assert both.level is Level.BLOCKED
    assert "overwrite each other" in both.value
    assert doctor._onnxruntime({"onnxruntime-gpu": "1.32.0"}).level is Level.OK
    assert doctor._onnxruntime({}).level is Level.WARNING


@pytest.mark.parametrize(
    ("listed", "gpu", "level"),
    [
        (["CPUExecutionProvider"], False, Level.OK),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], True, Level.OK),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], False, Level.WARNING),
        (["CPUExecutionProvider"], True, Level.WARNING),
    ],
)
def test_providers(monkeypatch: pytest.MonkeyPatch, listed: list[str], gpu: bool, level: Level) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=lambda: listed))
    assert doctor._providers(gpu=gpu).level is level


def test_an_onnxruntime_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert doctor._providers(gpu=False).level is Level.BLOCKED


def test_a_version_that_is_too_old_is_named_with_its_cure() -> None:
    finding = doctor._bounds({"onnx": "1.16.0"}, {"onnx": "1.23"})
    assert (finding.value, finding.cure) == ("onnx 1.16.0 is older than 1.23", "pip install 'onnx>=1.23'")


def test_the_lowest_versions_are_read_from_the_package() -> None:
    assert doctor.required()["keras"] == "3.15.1"
    assert {"numpy", "onnx", "tensorflow", "pydantic"} <= set(doctor.required())


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (doctor._python((3, 10)), Level.BLOCKED),
        (doctor._python((3, 12)), Level.OK),
        (doctor._keras("3.15.0"), Level.BLOCKED),
        (doctor._keras("3.16.0"), Level.OK),
        (doctor._bounds({"keras": "3.15.0", "numpy": "9"}, {"keras": "3.15.1", "numpy": "2.4"}), Level.WARNING),
        (doctor._bounds({"keras": "3.15.1.dev2"}, {"keras": "3.15", "absent": "1"}), Level.OK),
        (doctor._memory(2**30), Level.WARNING),
        (doctor._memory(8 * 2**30), Level.OK),
        (doctor._int8(("avx2",), "old"), Level.WARNING),
        (doctor._int8(("avx2", "avx_vnni"), "new"), Level.OK),
        (doctor._exporting(("keras",)), Level.BLOCKED),
        (doctor._exporting(()), Level.OK),
    ],
)
def test_judgements(finding: Finding, level: Level) -> None:
    assert finding.level is level
