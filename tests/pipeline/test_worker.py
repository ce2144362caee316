"""The cell boundary: whatever happens inside becomes a record; only bugs carry a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import (
    DeviceError,
    DownloadError,
    EnvironmentFailure,
    KexportError,
    UnknownNameError,
    UnsupportedError,
    UsageError,
)
from kexport.pipeline import tasks, worker
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Failure
from kexport.pipeline.tasks.cell import CellRequest
from kexport.pipeline.tasks.prepare import PrepareRequest
from kexport.records import Status, decode_as, encode
from kexport.sources import build
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec

SPEC = ModelSpec(application="VGG16", weights=WeightsSpec(kind="random", seed=0))


def failure(task: str, request: PrepareRequest | CellRequest, folder: Path) -> Failure:
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(encode(request))
    assert worker.main([task, str(asked), str(answered)]) == 1
    assert not answered.exists()
    found: Failure = decode_as(Failure, Path(f"{answered}{worker.FAILED}").read_bytes())
    return found


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: KexportError, status: Status, code: int
) -> None:
    def fail(_: ModelSpec) -> None:
        raise error

    monkeypatch.setattr(build, "make", fail)
    found = failure("prepare", PrepareRequest(model=SPEC, folder=str(tmp_path)), tmp_path)
    assert type(found.error) is type(error)
    assert (found.status, found.error.exit_code, found.message, found.hint) == (status, code, error.message, "right")
    assert found.traceback == ""


def test_bugs_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ModelSpec) -> None:
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(build, "make", fail)
    found = failure("prepare", PrepareRequest(model=SPEC, folder=str(tmp_path)), tmp_path)
    assert (found.status, found.error.exit_code, found.message) == (Status.ERROR, 1, "ZeroDivisionError: one by none")
    assert "in fail" in found.traceback
    assert "please report it" in str(found.hint)


def _too_many_numbers() -> None:
    np.empty(2**60, np.uint8)


def _no_runtime_memory() -> None:
    raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc")


def _no_arena() -> None:
    raise RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 9663676416")


@pytest.mark.parametrize("fail", [_too_many_numbers, _no_runtime_memory, _no_arena])
def test_memory_that_was_refused_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]
) -> None:
    monkeypatch.setattr(build, "make", lambda _: fail())
    found = failure("prepare", PrepareRequest(model=SPEC, folder=str(tmp_path)), tmp_path)
    assert (type(found.error), found.status, found.traceback) == (EnvironmentFailure, Status.ERROR, "")
    assert re.fullmatch(
        r"\w.*: needs more memory than the \d+\.\d GiB that a process may take here", found.message
    )  # fmt: skip
    assert "more memory" in str(found.hint)


def test_a_cell_whose_model_is_not_there(tmp_path: Path) -> None:
    cell = Cell(model=SPEC, format=Format.ONNX)
    request = CellRequest(cell=cell, folder=str(tmp_path / "none"), directory=str(tmp_path), reproduce="again")
    found = failure("cell", request, tmp_path)
    assert found.status is Status.ERROR
    assert "FileNotFoundError" in found.message


def test_steps_are_told_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with clock.step("build"):
        pass
    with pytest.raises(KeyError), clock.step("build"):
        raise KeyError
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"step": "build"}] * 2
    assert list(clock.seconds) == ["build"]
    assert clock.seconds["build"] > 0


def test_only_errors_of_the_tree_come_back_as_themselves() -> None:
    assert type(Failure(kind="SystemExit", message="m").error) is KexportError
    assert type(Failure(kind="difflib", message="m").error) is KexportError
    assert type(Failure(kind="DeviceError", message="m").error) is DeviceError
    assert type(Failure(kind="UnknownNameError", message="m").error) is UsageError


def test_a_task_is_registered_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file is all that a new task takes; worker processes find it as this one does."""
    (tmp_path / "echo.py").write_text(
        "from kexport.pipeline.tasks import Task\nfrom kexport.specs import WeightsSpec\n"
        "def same(request, clock):\n    with clock.step('echo'):\n        return request\n"
        "TASK = Task(request=WeightsSpec, answer=WeightsSpec, run=same)\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    asked, answered = tmp_path / "asked.json", tmp_path / "answered.json"
    asked.write_text(encode(WeightsSpec(kind="random", seed=3)))
    assert worker.main(["echo", str(asked), str(answered)]) == 0
    assert decode_as(tasks.find("echo").answer, answered.read_bytes()) == WeightsSpec(kind="random", seed=3)
    with pytest.raises(UnknownNameError, match="did you mean echo"):
        tasks.find("ehco")
