"""The cell boundary: whatever happens inside becomes a record; only bugs carry a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kexport.errors import DownloadError, UnsupportedError, UsageError
from kexport.pipeline import worker
from kexport.pipeline.worker import CellRequest, Clock, PrepareRequest
from kexport.records import Record, Status, decode, encode
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec

SPEC = ModelSpec(application="VGG16", weights=WeightsSpec(kind="random", seed=0))


def outcome(kind: str, request: PrepareRequest | CellRequest, folder: Path) -> Record:
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(encode(request))
    assert worker.main([kind, str(asked), str(answered)]) == 0
    return decode(answered.read_bytes())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UsageError("wrong", hint="right"), Status.ERROR, 2),
        (DownloadError("no network", hint="right"), Status.ERROR, 3),
        (UnsupportedError("layer Foo", hint="right"), Status.UNSUPPORTED, 1),
    ],
    ids=["usage", "environment", "unsupported"],
)
def test_deliberate_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: worker.KexportError, status: Status, code: int
) -> None:
    def fail(_: ModelSpec) -> None:
        raise error

    monkeypatch.setattr(worker.source, "make", fail)
    record = outcome("prepare", PrepareRequest(model=SPEC, folder=str(tmp_path)), tmp_path)
    assert (record.status, record.exit_code, record.reason, record.hint) == (status, code, error.message, "right")
    assert (record.model, record.traceback) == ("VGG16", "")


def test_bugs_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ModelSpec) -> None:
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(worker.source, "make", fail)
    record = outcome("prepare", PrepareRequest(model=SPEC, folder=str(tmp_path)), tmp_path)
    assert (record.status, record.exit_code, record.reason) == (Status.ERROR, 1, "ZeroDivisionError: one by none")
    assert "in fail" in record.traceback
    assert "please report it" in record.hint


def test_a_cell_whose_model_is_not_there(tmp_path: Path) -> None:
    cell = Cell(model=SPEC, format=Format.ONNX)
    request = CellRequest(cell=cell, folder=str(tmp_path / "none"), directory=str(tmp_path), reproduce="again")
    record = outcome("cell", request, tmp_path)
    assert (record.model, record.format, record.scheme) == ("VGG16", "onnx", "float32")
    assert (record.status, record.reproduce) == (Status.ERROR, "again")
    assert "FileNotFoundError" in record.reason


def test_steps_are_told_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with clock.step("build"):
        pass
    with pytest.raises(KeyError), clock.step("build"):
        raise KeyError
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"step": "build"}] * 2
    assert list(clock.seconds) == ["build"]
    assert clock.seconds["build"] > 0
