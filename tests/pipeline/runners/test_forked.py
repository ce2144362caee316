"""Workers forked from a warm process: what they have, how the warm process ends, and when there is none."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from kexport import machine
from kexport.pipeline.runners import forked, server
from kexport.pipeline.runners.child import child_environment
from kexport.pipeline.runners.forked import WORKER
from kexport.pipeline.runners.jobs import Job, Outcome, Progress
from kexport.pipeline.runners.local import run
from tests.pipeline.runners.test_local import gone
from tests.places import ROOT

STAND_IN = ("tests.pipeline.runners.stand_in",)
THREADED = ("tests.pipeline.runners.threaded", *STAND_IN)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No warm process of another test, before and after."""
    forked.close()
    yield
    forked.close()


def job(name: str, code: str, warm: tuple[str, ...] = STAND_IN) -> Job:
    return Job(name=name, argv=(*WORKER, code), warm=warm, result=Path("x"), memory_bytes=1, timeout_seconds=30)


def run_one(code: str, *, environment: Mapping[str, str] | None = None, seen: list[Progress] | None = None) -> Outcome:
    tell = (lambda _: None) if seen is None else seen.append
    return run([job("one", code)], jobs=1, memory_bytes=1, observe=tell, environment=environment)["one"]


def written(path: Path, value: str) -> str:
    return f"import os; open({str(path)!r}, 'a').write(str(({value})) + '\\n')"


def servers() -> list[int]:
    return [each.process.pid for each in forked._servers.values() if not each.gone]


def test_one_warm_process_serves_many(tmp_path: Path) -> None:
    for _ in range(2):
        run([job(name, written(tmp_path / "x", "os.getppid()")) for name in "ab"], jobs=2, memory_bytes=1,
            observe=lambda _: None)  # fmt: skip
    (warm,) = servers()
    assert (tmp_path / "x").read_text().split() == [str(warm)] * 4


def test_a_worker_has_the_environment_and_the_folder_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = "os.getcwd(), os.environ.get('OMP_NUM_THREADS'), 'GONE' in os.environ"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GONE", "1")
    run_one(written(tmp_path / "x", what), environment={"OMP_NUM_THREADS": "3"})
    first = servers()
    monkeypatch.chdir(tmp_path)
    run_one(written(tmp_path / "x", what), environment={"OMP_NUM_THREADS": "5"})
    assert servers() == first, "threads are counted when a worker has begun"
    monkeypatch.delenv("GONE")
    run_one(written(tmp_path / "x", what), environment={"OMP_NUM_THREADS": "5"})
    assert servers() != first, "what imports may have read has changed"
    told = [ast.literal_eval(line) for line in (tmp_path / "x").read_text().splitlines()]
    assert [line[1:] for line in told] == [("3", True), ("5", True), ("5", False)]
    assert [line[0] for line in told[1:]] == [str(tmp_path)] * 2


def test_the_folder_of_the_program_may_have_been_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    run_one(written(tmp_path / "x", "os.readlink('/proc/self/cwd')"))
    assert (tmp_path / "x").read_text() == f"{tmp_path / 'gone'} (deleted)\n"


def test_a_warm_process_that_was_killed_takes_its_workers_with_it(tmp_path: Path) -> None:
    """The death signal of a worker follows the warm process; the next worker finds another."""
    code = written(tmp_path / "x", "os.getpid()") + "; import signal, time; os.kill(os.getppid(), 9); time.sleep(60)"
    outcome = run_one(code)
    assert (outcome.signal, outcome.timed_out) == (signal.SIGKILL, False)
    assert outcome.seconds < 20
    assert gone(int((tmp_path / "x").read_text()))
    assert run_one("pass").succeeded


def test_a_killed_program_leaves_neither_worker_nor_warm_process(tmp_path: Path) -> None:
    code = written(tmp_path / "x", "f'{os.getpid()} {os.getppid()}'") + "; import time; time.sleep(60)"
    script = f"from tests.pipeline.runners.test_forked import run_one; run_one({code!r})"
    program = subprocess.Popen([sys.executable, "-c", script])
    end = time.monotonic() + 30
    while not (tmp_path / "x").exists() or not (tmp_path / "x").read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.05)
    program.kill()
    program.wait(20)
    assert all(gone(int(pid)) for pid in (tmp_path / "x").read_text().split())


def test_a_program_that_ends_leaves_no_warm_process() -> None:
    script = (
        "from tests.pipeline.runners.test_forked import run_one, servers; assert run_one('pass').succeeded;"
        "print(*servers())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (len(done.stdout.split()), done.stderr) == (1, "")
    assert gone(int(done.stdout))


def test_what_a_warm_process_says_when_it_cannot_start() -> None:
    broken = [job("one", "pass", warm=("tests.places", "os.nothing.of.this"))]
    assert run(broken, jobs=1, memory_bytes=1, observe=lambda _: None)["one"].exit_code == 1, "no stand-in: no task"
    forked.close()
    told = run([job("one", "pass", warm=("tests.pipeline.runners.dies",))], jobs=1, memory_bytes=1,
               observe=lambda _: None)["one"]  # fmt: skip
    assert (told.exit_code, told.signal) == (7, None)
    assert "cannot be imported here" in told.stderr_tail


def test_an_import_that_fails_is_left_to_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise AttributeError('an odd version')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    asked = job("one", "import broken", warm=("broken", *STAND_IN))
    outcome = run([asked], jobs=1, memory_bytes=1, observe=lambda _: None)["one"]
    assert outcome.exit_code == 1
    assert outcome.stderr_tail.endswith("AttributeError: an odd version\n")


def test_with_threads_there_is_no_fork_and_that_is_told(tmp_path: Path) -> None:
    seen: list[Progress] = []
    code = f"open({str(tmp_path / 'x')!r}, 'w').close()"
    fresh = job("one", code, warm=THREADED)
    outcome = run([fresh], jobs=1, memory_bytes=1, observe=seen.append)["one"]
    assert outcome.exit_code == 1, "a fresh worker knows no such task"
    assert not (tmp_path / "x").exists()
    steps = [progress.step for progress in seen]
    assert [step for step in steps if "fresh" in step] == [
        "a fresh process: the warm process has 1 more threads (python)"
    ]
    assert not forked.able(THREADED), "it is not tried twice"
    forked._refused.discard(THREADED)


def test_a_warm_process_that_nobody_asks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        forked, "SERVER", forked.SERVER.replace("import serve;", "import serve; import kexport.pipeline.runners.server "
                                                                 "as s; s.IDLE_SECONDS = 0.2;")
    )  # fmt: skip
    assert run_one("pass").succeeded
    (first,) = servers()
    time.sleep(1)
    assert psutil.Process(first).status() == psutil.STATUS_ZOMBIE
    assert run_one("pass").succeeded
    assert servers() != [first]


def test_importing_the_runtimes_starts_no_thread() -> None:
    """Else workers would be fresh processes: a new version of a runtime may bring such a thread."""
    from kexport.pipeline.tasks import WITH_RUNTIMES

    code = (
        "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]];"
        "from kexport.pipeline.runners.server import threads; print(threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *WITH_RUNTIMES],
        env=child_environment(jobs=1), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "()\n"


def test_the_memory_of_a_forked_process_is_counted_once() -> None:
    """PSS: what a process shares with the one it was forked from is not counted twice."""
    code = (
        "x = bytearray(2**27); x[::4096] = b'1' * 2**15; import os, time; os.fork();"
        "os.write(1, b'1\\n'); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"1\n"] * 2
        assert 2**27 < machine.resident_bytes(process.pid) < 1.5 * 2**27
    finally:
        machine.kill_tree(process.pid)
        process.communicate()


@pytest.mark.parametrize("held_mib", [60, 120, 240])
def test_one_that_is_not_forked_yet_holds_nothing_of_the_others(held_mib: int) -> None:
    """Its id is that of the warm process, whose other workers are not its own: neither told, nor killed for it."""
    seen: list[Progress] = []
    large = f"import time; kept = bytearray(b'x') * ({held_mib} * 2**20); time.sleep(3)"
    jobs = [job("large", large), *(job(f"small{index}", "import time; time.sleep(0.3)") for index in range(4))]
    outcomes = run(jobs, jobs=2, memory_bytes=9, observe=seen.append)
    assert all(outcome.succeeded for outcome in outcomes.values())
    most = {name: max(each.memory_bytes for each in seen if each.name == name) for name in outcomes}
    assert most.pop("large") > held_mib * 2**20
    assert max(most.values()) < held_mib * 2**20


def test_other_threads_are_named() -> None:
    assert all(isinstance(name, str) for name in server.threads())
