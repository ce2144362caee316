"""Runs that go wrong: workers that crash or hang, interruptions, two runs at once, a re-export that fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from kexport import pipeline, store
from kexport.errors import StoreError, UsageError
from kexport.pipeline import Request, ask
from kexport.pipeline.events import Event
from kexport.records import Record, Status
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.pipeline.prepared_once import CELLS, COPY

SMALL = ModelSpec(application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0), input_shape=(64, 64, 3))
ONNX, TFLITE = Cell(model=SMALL, format=Format.ONNX), Cell(model=SMALL, format=Format.TFLITE)
Faulty = Callable[[str, str], None]


@dataclass
class Silent:
    def observe(self, event: Event) -> None:
        del event


def make(directory: Path, *cells: Cell, **options: object) -> tuple[Record, ...]:
    request = Request(cells=cells or (ONNX, TFLITE), directory=directory, **options)  # type: ignore[arg-type]
    return pipeline.run(request, Silent())


def staged(directory: Path) -> list[Path]:
    """What a run that ended must not leave; the lock's own file stays."""
    return [path for path in directory.rglob(".kexport-*") if path.name != ".kexport.lock"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("original")
    assert [record.status for record in make(directory)] == [Status.PASS] * 2
    return directory


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Run other code in place of the workers of one kind, or of the cells whose request names a format."""
    real = ask.command

    def install(kind: str, code: str, containing: str = "") -> None:
        def worker(asked: str, request: Path, result: Path) -> tuple[str, ...]:
            path = Path(request)
            if asked == kind and (not containing or (path.exists() and containing in path.read_text())):
                return (sys.executable, "-c", code, str(request), str(result))
            return real(asked, request, result)

        monkeypatch.setattr(ask, "command", worker)

    return install


HOLD = (
    "import sys, time; from pathlib import Path; from kexport import store\n"
    "with store.lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
)
CRASHES = {
    "killed": ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    "aborted": ("import os; os.abort()", "SIGABRT"),
    "gone": ("import sys; sys.stderr.write('cannot go on'); sys.exit(7)", "7"),
    "damaged result": ("import sys; open(sys.argv[2], 'w').write('{')", ""),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_keras_process_that_crashes(tmp_path: Path, faulty: Faulty, crash: str) -> None:
    code, told = CRASHES[crash]
    faulty("prepare", code)
    records = make(tmp_path)
    assert [record.status for record in records] == [Status.ERROR] * 2
    assert all("its process ended without a result" in record.reason and told in record.reason for record in records)
    assert [(record.model, record.format) for record in records] == [
        ("MobileNetV3Small-64x64", "onnx"),
        ("MobileNetV3Small-64x64", "tflite"),
    ]
    assert store.read_records(tmp_path) == records
    assert staged(tmp_path) == []
    assert store.verify(tmp_path) == ()


def test_a_keras_process_that_hangs(tmp_path: Path, faulty: Faulty) -> None:
    faulty("prepare", "import time; time.sleep(100)")
    started = time.monotonic()
    (record,) = make(tmp_path, ONNX, timeout_seconds=1.0)
    assert time.monotonic() - started < 20
    assert record.status is Status.ERROR
    assert "--timeout" in record.hint
    assert staged(tmp_path) == []


def test_one_crashed_cell_takes_no_other_with_it(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, crashing = ask.command, [True]

    def worker(kind: str, request: Path, result: Path) -> tuple[str, ...]:
        if kind == "prepare":
            return (sys.executable, "-c", f"SAVED = {str(saved)!r}\n{COPY}", kind, str(request), str(result))
        if kind == "cell" and Path(request).name == "cell0.json" and crashing:
            return (sys.executable, "-c", "import os; os.abort()")
        return real(kind, request, result)

    monkeypatch.setattr(ask, "command", worker)
    first, second = make(tmp_path, *CELLS)
    assert (first.status, second.status) == (Status.ERROR, Status.PASS)
    assert "SIGABRT" in first.reason
    assert store.verify(tmp_path) == ()
    crashing.clear()
    records = make(tmp_path, *CELLS, resume=True)
    assert [record.status for record in records] == [Status.PASS] * 2
    assert store.verify(tmp_path) == ()


def test_a_failed_export_leaves_the_good_artifact(original: Path, tmp_path: Path, faulty: Faulty) -> None:
    out = tmp_path / "out"
    shutil.copytree(original, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    faulty("prepare", "import os; os.abort()")
    assert [record.status for record in make(out, force=True)] == [Status.ERROR] * 2
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    manifest = out / store.MANIFEST
    assert {path for path in before if after[path] != before[path]} <= {manifest}
    added = sorted(path.name for path in after.keys() - before.keys())
    assert added == sorted(f"{path.name}.failed.json" for path in before if path.suffix in (".onnx", ".tflite"))
    statuses = sorted(record.status for record in store.read_records(out))
    assert statuses == sorted([Status.PASS] * 2 + [Status.ERROR] * 2), "a report shows that the last run failed"
    assert store.verify(out) == ()


def test_a_directory_in_use(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    shutil.copytree(original, out)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"is in use by process {holder.pid}; waited 5 s"):
            make(out)
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()
    assert store.verify(out) == ()


def test_every_cell_refused_alike_is_told_once(tmp_path: Path, faulty: Faulty) -> None:
    code = (
        "import sys\nfrom kexport.records import encode\nfrom kexport.pipeline.tasks import Failure\n"
        "open(sys.argv[2] + '.failure', 'w').write(encode(Failure(kind='UsageError', message='no such thing',"
        " hint='another')))"
    )
    faulty("prepare", code)
    with pytest.raises(UsageError, match="no such thing\nhint: another"):
        make(tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed(tmp_path: Path, number: signal.Signals) -> None:
    """Children are dead, nothing half done is left, and --resume completes the run."""
    arguments = ["export", "MobileNet", "--alpha", "0.25", "--weights", "random:0", "--input-shape", "64,64,3",
                 "--formats", "onnx,tflite", "--jobs", "1", "-o", str(tmp_path / "out")]  # fmt: skip
    command = [sys.executable, "-m", "kexport", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "build" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.kill(process.pid, number)
    process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=20) == (130 if number is signal.SIGINT else 128 + number)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert staged(tmp_path) == []
    assert not list(tmp_path.rglob("*.onnx"))
    if number is signal.SIGTERM:
        return  # what is left is the same, and so is its end
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert store.verify(tmp_path / "out") == ()
    assert len(store.read_records(tmp_path / "out")) == 2


def test_left_overs_of_a_killed_run_are_cleared(original: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(original, out)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (out / f".kexport-{dead.pid}-x").mkdir()
    (out / f".kexport-{dead.pid}-x" / "half.onnx").write_text("half")
    assert store.verify(out) != ()
    make(out, replace(ONNX), resume=True)
    assert store.verify(out) == ()


def test_a_worker_that_was_killed_is_tried_once_more(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = ask.command, []

    def command(kind: str, asked: Path, answered: Path) -> tuple[str, ...]:
        if kind == "prepare":
            return (sys.executable, "-c", f"SAVED = {str(saved)!r}\n{COPY}", kind, str(asked), str(answered))
        started.append(asked.name)
        kill = asked.name == "cell0.json" and started.count(asked.name) == 1
        return (sys.executable, "-c", CRASHES["killed"][0]) if kill else real(kind, asked, answered)

    monkeypatch.setattr(ask, "command", command)
    records = pipeline.run(Request(cells=CELLS, directory=tmp_path, jobs=1), Silent())
    assert [record.status for record in records] == [Status.PASS] * 2
    assert sorted(started) == ["cell0.json", "cell0.json", "cell1.json"]
