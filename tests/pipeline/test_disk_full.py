"""A disk that fills up in the middle of a run: on a small file system of its own where one may be mounted.

A worker fills the disk as one of its steps begins. The model is found prepared: Keras does not run.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kexport import pipeline, store
from kexport.cli import main
from kexport.errors import StoreError
from kexport.pipeline import Request, ask
from kexport.records import Status
from tests.pipeline.prepared_once import CELLS, COPY, Silent
from tests.pipeline.test_faults import staged

FILL = """
import errno, os, sys
from pathlib import Path
def fill():
    path = Path(DISK) / "filler"
    small = os.path.ismount(DISK) and os.statvfs(DISK).f_blocks * os.statvfs(DISK).f_frsize < 2**28
    if not (MOUNTED and small):  # never a disk of somebody else
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with path.open("ab", buffering=0) as file:
        for block in (2**20, 4096, 1):
            try:
                while file.write(bytes(block)):
                    pass
            except OSError:
                pass
"""
WORKER = """
import dataclasses
from kexport import machine
from kexport.pipeline import worker
from kexport.pipeline.tasks import cell, prepare
machine.end_with_parent()
def filled(step):
    def run(state):
        fill()
        if KIND == "prepare":  # in place of what Keras does there
            (state.folder / "more").write_bytes(bytes(2**20))
        return step.run(state)
    return dataclasses.replace(step, run=run)
cell.CELL = tuple(filled(s) if s.name == STEP else s for s in cell.CELL)
prepare.PREPARE = tuple(s for s in prepare.PREPARE if s.name == STEP)
prepare.PREPARE = tuple(map(filled, prepare.PREPARE))
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """A file system of 90 MiB, and whether it is one: where mounting is not permitted, the workers are refused."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", str(folder)]
    mounted = bool(shutil.which("mount")) and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def out(disk: tuple[Path, bool]) -> Iterator[Path]:
    yield disk[0] / "out"
    shutil.rmtree(disk[0] / "out", ignore_errors=True)
    (disk[0] / "filler").unlink(missing_ok=True)


Filling = Callable[..., None]


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch, disk: tuple[Path, bool], saved: Path) -> Filling:
    """Fill the disk at a step of the Keras process, or at one of the first cell's."""
    real = ask.command

    def install(step: str | None, *, task: str = "cell") -> None:
        code = FILL + (WORKER if step else "")
        known = f"DISK, MOUNTED, STEP, SAVED, KIND = {str(disk[0])!r}, {disk[1]}, {step!r}, {str(saved)!r}, {task!r}\n"

        def command(kind: str, asked: Path, answered: Path) -> tuple[str, ...]:
            ours = kind == task and (kind == "prepare" or asked.name == "cell0.json")
            if step and ours:
                return (sys.executable, "-c", known + code, kind, str(asked), str(answered))
            if kind == "prepare":
                return (sys.executable, "-c", known + COPY, kind, str(asked), str(answered))
            return real(kind, asked, answered)

        monkeypatch.setattr(ask, "command", command)

    return install


def make(out: Path, **options: object) -> list[Status]:
    return [record.status for record in pipeline.run(_request(out, **options), Silent())]


def _request(out: Path, **options: object) -> Request:
    return Request(cells=CELLS, directory=out, jobs=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", ["write", "publish"])
def test_a_cell_ends_and_the_run_goes_on(out: Path, disk: tuple[Path, bool], filling: Filling, step: str) -> None:
    filling(step)
    first, second = pipeline.run(_request(out), Silent())
    assert first.status is Status.ERROR
    assert first.exit_code == 3
    assert re.search(
        rf"{out}: no space left for MobileNet-a0.25-64x64 onnx float32 at {step}: [\d,]+ bytes \(.*\) free, "
        r"about [\d,]+ bytes \(.*\) needed$",
        first.reason,
    )
    assert first.traceback == second.traceback == ""
    assert "--resume" in first.hint
    assert second.status in (Status.PASS, Status.ERROR), "it may fit into what the first has given back"
    assert store.verify(out) == ()
    assert len(store.read_records(out)) == 2
    assert staged(out) == []
    (disk[0] / "filler").unlink(missing_ok=True)
    filling(None)
    assert make(out, resume=True) == [Status.PASS] * 2
    assert store.verify(out) == ()


def test_what_was_made_before_stays(out: Path, disk: tuple[Path, bool], filling: Filling) -> None:
    filling(None)
    assert make(out) == [Status.PASS] * 2
    before = {path: path.read_bytes() for path in out.rglob("MobileNet*") if path.is_file()}
    filling("write")
    assert Status.ERROR in make(out, force=True)
    assert {path: path.read_bytes() for path in before} == before
    assert store.verify(out) == ()


@pytest.mark.parametrize("step", ["build", "lower"])
def test_the_keras_process_ends(out: Path, disk: tuple[Path, bool], filling: Filling, step: str) -> None:
    filling(step, task="prepare")
    records = pipeline.run(_request(out), Silent())
    assert [record.status for record in records] == [Status.ERROR] * 2
    for record in records:
        assert f" at {step}: " in record.reason or not disk[1]
        assert "no space left for MobileNet-a0.25-64x64 " in record.reason
        assert record.traceback == ""
    assert store.verify(out) == ()
    assert len(store.read_records(out)) == 2
    (disk[0] / "filler").unlink(missing_ok=True)
    filling(None)
    assert make(out, resume=True) == [Status.PASS] * 2


def test_the_manifest(out: Path, filling: Filling, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message; the artifacts stay, and the same request with --resume writes nothing but the manifest."""
    filling(None)
    real = store.write_manifest

    def refused(_directory: Path, **_more: object) -> Path:
        raise StoreError("no room") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write_manifest", refused)
    with pytest.raises(StoreError, match="no room"):
        pipeline.run(_request(out), Silent())
    assert len(store.read_records(out)) == 2
    assert staged(out) == []
    monkeypatch.setattr(store, "write_manifest", real)
    filling("write")  # nothing is made again: this would fail
    assert make(out, resume=True) == [Status.PASS] * 2
    assert store.verify(out) == ()


def test_a_directory_that_is_removed_midway(
    out: Path, filling: Filling, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filling(None)
    real = ask.command

    def command(kind: str, asked: Path, answered: Path) -> tuple[str, ...]:
        if kind == "cell":
            code = f"import shutil; shutil.rmtree({str(out)!r})"
            return (sys.executable, "-c", code)
        return real(kind, asked, answered)

    monkeypatch.setattr(ask, "command", command)
    arguments = ["export", "MobileNet", "--alpha", "0.25", "--weights", "random:0", "--input-shape", "64,64,3"]
    assert main([*arguments, "-o", str(out)]) == 3
    told = capsys.readouterr().err
    assert f"{out} was removed while the run wrote into it" in told
    assert "Traceback" not in told
    assert not out.exists()
