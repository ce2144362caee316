"""The scheduler, with children of a few lines: how they end, when they start, that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kexport import machine
from kexport.pipeline.runners.child import MEASURED_SECONDS, ONEDNN, Child, child_environment
from kexport.pipeline.runners.forked import WORKER
from kexport.pipeline.runners.jobs import Job, Outcome, Progress, default_jobs
from kexport.pipeline.runners.local import run

BUDGET = 10 * 2**30


FRESH, STAND_IN = (sys.executable, "-S", "-c"), ("tests.pipeline.runners.stand_in",)
both = pytest.mark.parametrize("start", [FRESH, WORKER], ids=["fresh", "forked"])
"""A process is started anew, or forked from a warm one: it ends alike."""


def task(
    name: str, code: str, *, seconds: float = 30, memory: int = 1, priority: int = 0, start: tuple[str, ...] = FRESH
) -> Job:
    return Job(
        name=name,
        argv=(*start, code),
        warm=STAND_IN if start == WORKER else (),
        result=Path("unused"),
        memory_bytes=memory,
        timeout_seconds=seconds,
        priority=priority,
    )


def run_one(code: str, *, seconds: float = 30, start: tuple[str, ...] = FRESH) -> Outcome:
    return run([task("one", code, seconds=seconds, start=start)], jobs=1, memory_bytes=BUDGET, observe=lambda _: None)[
        "one"
    ]


def writes(path: Path, sleep: float = 0.3) -> str:
    """A child that notes when it started and ended."""
    return f"import time; a=time.time(); time.sleep({sleep}); open({str(path)!r},'w').write(f'{{a}} {{time.time()}}')"


def spans(folder: Path, names: str) -> dict[str, tuple[float, float]]:
    return {name: tuple(map(float, (folder / name).read_text().split())) for name in names}


@both
def test_success_and_exit_code(start: tuple[str, ...]) -> None:
    code = "import sys; print('the cause', file=sys.stderr); sys.exit(3)"
    good, bad = run_one("pass", start=start), run_one(code, start=start)
    assert (good.exit_code, good.signal, good.timed_out, good.succeeded) == (0, None, False, True)
    assert (bad.exit_code, bad.succeeded, bad.reason) == (3, False, "exit code 3")
    assert bad.stderr_tail == "the cause\n"


@both
def test_signal_is_reported_and_others_go_on(start: tuple[str, ...]) -> None:
    outcomes = run(
        [task("dies", "import os; os.abort()", start=start), task("lives", "pass", start=start)],
        jobs=1, memory_bytes=BUDGET, observe=lambda _: None,
    )  # fmt: skip
    assert outcomes["dies"].signal == signal.SIGABRT
    assert outcomes["dies"].exit_code is None
    assert outcomes["dies"].reason.startswith("killed by SIGABRT after")
    assert outcomes["lives"].succeeded


@both
def test_kill_by_the_system_is_called_out_of_memory(start: tuple[str, ...]) -> None:
    outcome = run_one("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", start=start)
    assert outcome.signal == signal.SIGKILL
    assert "SIGKILL (out of memory?)" in outcome.reason
    assert not outcome.timed_out


@both
def test_above_the_limit_the_largest_is_killed_and_the_others_go_on(start: tuple[str, ...]) -> None:
    large = "import time; kept = bytearray(b'x') * (400 * 2**20); time.sleep(60)"
    limit = machine.resident_bytes(os.getpid()) + 200 * 2**20
    outcomes = run(
        [task("large", large, start=start), task("small", "import time; time.sleep(2)", start=start)],
        jobs=2, memory_bytes=BUDGET, limit_bytes=limit, observe=lambda _: None,
    )  # fmt: skip
    assert outcomes["large"].signal == signal.SIGKILL
    assert f"bytes, --memory allows {limit}" in outcomes["large"].stderr_tail
    assert outcomes["small"].succeeded


@both
def test_time_limit_ends_the_whole_group(tmp_path: Path, start: tuple[str, ...]) -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\n"
        "time.sleep(60)"
    )
    outcome = run_one(code, seconds=1.5, start=start)
    assert outcome.timed_out
    assert not outcome.succeeded
    assert 1.5 <= outcome.seconds < 10
    assert outcome.reason == "stopped at its time limit after 2 s"
    assert gone(int((tmp_path / "pid").read_text()))


@both
def test_nothing_outlives_a_child_that_ended_well(tmp_path: Path, start: tuple[str, ...]) -> None:
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))"
    )
    assert run_one(code, start=start).succeeded
    assert gone(int((tmp_path / "pid").read_text()))


@both
def test_peak_memory_is_that_of_the_child(start: tuple[str, ...]) -> None:
    code = "x = bytearray(300 * 2**20); x[::4096] = b'1' * len(x[::4096])"
    small, large = run_one("pass", start=start), run_one(code, start=start)
    assert large.peak_memory_bytes > 300 * 2**20
    assert large.peak_memory_bytes < small.peak_memory_bytes + 400 * 2**20


def most_at_once(when: dict[str, tuple[float, float]]) -> int:
    return max(sum(start <= moment < end for start, end in when.values()) for moment, _ in when.values())


@pytest.mark.parametrize(("jobs", "budget", "expected"), [(1, 100, 1), (2, 100, 2), (4, 25, 2), (4, 5, 1)])
def test_job_limit_and_memory_budget_are_held(tmp_path: Path, jobs: int, budget: int, expected: int) -> None:
    tasks = [task(name, writes(tmp_path / name, 0.5), memory=10) for name in "abcd"]
    outcomes = run(tasks, jobs=jobs, memory_bytes=budget, observe=lambda _: None)
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert most_at_once(spans(tmp_path, "abcd")) == expected


def test_higher_priority_first() -> None:
    order: list[str] = []
    tasks = [task(name, "pass", priority=priority) for name, priority in (("low", 1), ("high", 3), ("middle", 2))]
    run(tasks, jobs=1, memory_bytes=1, observe=lambda _: None, on_done=lambda outcome: order.append(outcome.name) or ())
    assert order == ["high", "middle", "low"]


def test_tasks_may_be_added_while_running() -> None:
    def follow(outcome: Outcome) -> list[Job]:
        return [task("second", "pass")] if outcome.name == "first" else []

    outcomes = run([task("first", "pass")], jobs=1, memory_bytes=1, observe=lambda _: None, on_done=follow)
    assert list(outcomes) == ["first", "second"]


@both
def test_progress_lines_are_forwarded_and_other_output_is_kept(start: tuple[str, ...]) -> None:
    seen: list[Progress] = []
    code = (
        "import time, sys\n"
        "print('{\"step\": \"build\"}', flush=True)\nprint('noise', flush=True)\nprint('[1]', flush=True)\n"
        'time.sleep(1.5)\nprint(\'{"step": "write"}\', flush=True)'
    )
    outcome = run([task("one", code, start=start)], jobs=1, memory_bytes=1, observe=seen.append)["one"]
    steps = [progress.step for progress in seen]
    assert steps[:2] == ["start", "build"]
    assert steps[-1] == "write"
    assert steps.count("build") >= 2, "a running task reports about once a second"
    assert max(progress.memory_bytes for progress in seen) > 2**20
    assert outcome.stderr_tail == "noise\n[1]\n"


@both
def test_a_child_that_closes_stdout_is_still_waited_for(start: tuple[str, ...]) -> None:
    outcome = run_one("import os, time; os.close(1); time.sleep(0.4); os._exit(7)", start=start)
    assert outcome.exit_code == 7
    assert outcome.seconds >= 0.4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_exception_in_the_parent_leaves_no_process(tmp_path: Path, error: type[BaseException]) -> None:
    pids: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.step.startswith("pid "):
            pids.append(int(progress.step[4:]))
        if len(pids) == 2:
            raise error

    code = 'import os, time; print(\'{"step": "pid %d"}\' % os.getpid(), flush=True); time.sleep(60)'
    with pytest.raises(error):
        run([task("a", code), task("b", code)], jobs=2, memory_bytes=BUDGET, observe=interrupt)
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_signal_to_the_parent_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import sys\nfrom pathlib import Path\nfrom kexport.pipeline.runners.local import Job, run\n"
        f"task = Job(name='a', argv=(sys.executable, '-c', {child!r}), result=Path('x'), memory_bytes=1,"
        " timeout_seconds=60)\n"
        "try:\n    run([task], jobs=1, memory_bytes=1, observe=lambda _: None)\n"
        "except KeyboardInterrupt:\n    sys.exit(1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(number)
    assert parent.wait(20) == code
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_killed_parent_leaves_no_worker(tmp_path: Path) -> None:
    """SIGKILL cannot be handled: the worker itself asks the kernel to end with its parent."""
    child = (
        "from kexport import machine; machine.end_with_parent(); import os, time;"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    parent = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    deadline = time.monotonic() + 20
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait(20)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_parent_that_was_killed_while_its_worker_started(tmp_path: Path) -> None:
    """The worker has another parent by the time it asks: it ends all the same."""
    child = (
        "import os, sys, time; time.sleep(1); from kexport import machine; machine.end_with_parent();"
        f"open({str(tmp_path / 'lives')!r}, 'w').close()"
    )
    script = (
        "import os, subprocess, sys; from kexport import machine;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], env={{**os.environ, **machine.as_parent()}});"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
    end = time.monotonic() + 20
    while not gone(int((tmp_path / "pid").read_text())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not (tmp_path / "lives").exists()


def gone(pid: int) -> bool:
    """Whether a process ends within two seconds; a zombie that its new parent has not reaped is gone too."""
    for _ in range(40):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="two tasks are named 'a'"):
        run([task("a", "pass"), task("a", "pass")], jobs=1, memory_bytes=1, observe=lambda _: None)
    with pytest.raises(ValueError, match="expected 1 or more"):
        run([], jobs=0, memory_bytes=1, observe=lambda _: None)
    with pytest.raises(ValueError, match="expected more than 0"):
        task("a", "pass", seconds=0)


def test_environment_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "5")
    variables = child_environment({"OMP_NUM_THREADS": "7"}, jobs=2, cores=8)
    assert (variables["PYTHONHASHSEED"], variables["TF_CPP_MIN_LOG_LEVEL"]) == ("0", "2")
    assert variables["OMP_NUM_THREADS"] == "7"
    assert variables["TF_NUM_INTRAOP_THREADS"] == "4"
    assert variables["TF_NUM_INTEROP_THREADS"] == "5"
    assert variables["OPENBLAS_NUM_THREADS"] == "1"
    assert variables["PATH"] == os.environ["PATH"]


def test_default_jobs() -> None:
    assert default_jobs(8, 24 * 2**30, 4 * 2**30) == 6
    assert default_jobs(2, 24 * 2**30, 4 * 2**30) == 2
    assert default_jobs(4, 2**30, 4 * 2**30) == 1


ELSEWHERE = ("TF_ENABLE_ONEDNN_OPTS",)
"""What CPUs other than x86 are left without."""


@pytest.mark.parametrize("name", [*ELSEWHERE, "ORT_DISABLE_TELEMETRY", "OPENBLAS_NUM_THREADS"])
def test_what_is_usual_in_a_child_can_be_set_otherwise(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name, raising=False)
    usual = child_environment(jobs=1).get(name)
    assert usual == (None if name in ELSEWHERE and not ONEDNN else "1")
    monkeypatch.setenv(name, "0")
    assert child_environment(jobs=1)[name] == "0"


@pytest.mark.parametrize(("taken", "pause"), [(0.0, MEASURED_SECONDS), (0.02, 2.0)])
def test_memory_is_counted_for_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch, taken: float, pause: float):
    """Linux walks through the pages of a large process, which cannot get more of them meanwhile."""
    now, counted = [100.0], []

    class Large:
        def resident_bytes(self) -> int:
            counted.append(now[0])
            now[0] += taken
            return 2**30

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    child = Child(task=task("one", ""), process=Large(), stdout=None, stderr=None, observe=lambda _: None)  # type: ignore[arg-type]
    while now[0] < 110:
        child.report()
        now[0] += 0.1
    assert 10 / (pause + taken + 0.2) - 1 <= len(counted) <= 10 / (pause + taken) + 1
    assert child.memory_bytes == 2**30
