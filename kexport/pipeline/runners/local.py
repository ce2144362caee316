"""Runs tasks as processes: a job limit, a memory budget and a time limit each.

Knows nothing of models. A child states where it is with JSON lines on stdout, ``{"step": "..."}``; any
other line on stdout is kept with its stderr. Every child leads its own process group, and nothing that
it started outlives it. Linux only: peak memory is ``ru_maxrss`` of the reaped child (the larger of the
child's peak and the parent's resident size at the start, which the kernel counts in).
"""

from __future__ import annotations

import json
import os
import selectors
import signal as signals
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from kexport import machine

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's matrices are small, and waiting runtimes spin on the other cores
POLL_SECONDS = 0.05
TICK_SECONDS = 1.0
TAIL_BYTES = 8192


@dataclass(frozen=True, kw_only=True)
class Task:
    """One process. ``memory_bytes`` is an estimate of its peak; higher ``priority`` starts first.

    ``result`` is the file that the child writes, whole or not at all; the scheduler never opens it.
    """

    name: str
    argv: tuple[str, ...]
    result: Path
    memory_bytes: int
    timeout_seconds: float
    priority: int = 0

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError(f"task {self.name!r}: argv is empty")
        if not self.timeout_seconds > 0:
            raise ValueError(f"task {self.name!r}: timeout {self.timeout_seconds} s, expected more than 0")
        if self.memory_bytes < 0:
            raise ValueError(f"task {self.name!r}: {self.memory_bytes} bytes, expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running task is. ``memory_bytes`` is what it and the processes that it started have resident now."""

    name: str
    step: str
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended. ``exit_code`` is None if a signal ended it, ``signal`` is None otherwise."""

    name: str
    exit_code: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    peak_memory_bytes: int
    stderr_tail: str

    @property
    def succeeded(self) -> bool:
        """Exit code 0 within the time limit."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def reason(self) -> str:
        """One line on how the process ended, for records and tables."""
        if self.timed_out:
            return f"stopped at its time limit after {self.seconds:.0f} s"
        if self.signal is None:
            return f"exit code {self.exit_code}"
        cause = " (out of memory?)" if self.signal == signals.SIGKILL else ""
        peak = self.peak_memory_bytes / 2**20
        return f"killed by {_signal_name(self.signal)}{cause} after {self.seconds:.0f} s, peak {peak:.0f} MiB"


def default_jobs(cores: int, memory_bytes: int, per_task_bytes: int) -> int:
    """As many tasks at once as cores and memory allow; at least one."""
    return max(1, min(cores, memory_bytes // max(1, per_task_bytes)))


def child_environment(
    environment: Mapping[str, str] | None = None, *, jobs: int, cores: int | None = None
) -> dict[str, str]:
    """The environment of a child: this process's, a fixed hash seed, and its share of the threads.

    Thread counts that the caller or the user has set are left alone.
    """
    available = cores or len(os.sched_getaffinity(0))
    threads = str(max(1, available // jobs))
    fixed = {"PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {**dict.fromkeys(THREAD_VARIABLES, threads), **ALONE, **os.environ, **fixed, **(environment or {})}


def run(
    tasks: Iterable[Task],
    *,
    jobs: int,
    memory_bytes: int,
    observe: Callable[[Progress], None],
    on_done: Callable[[Outcome], Iterable[Task]] = lambda _: (),
    environment: Mapping[str, str] | None = None,
    cores: int | None = None,
) -> dict[str, Outcome]:
    """Run every task, and those that ``on_done`` returns; outcomes in the order of ending.

    Among the tasks whose estimate fits beside the running ones, the highest priority starts first; one that
    exceeds ``memory_bytes`` by itself runs alone. A failed child stops nothing else. Any exception here, SIGINT,
    SIGTERM and SIGHUP included (the last two as SystemExit with 128 + signal), kills every child and is raised on.
    ValueError for duplicate names.
    """
    if jobs < 1:
        raise ValueError(f"jobs {jobs}: expected 1 or more")
    variables = child_environment(environment, jobs=jobs, cores=cores)
    state = _State(jobs=jobs, memory_bytes=memory_bytes, environment=variables, observe=observe)
    state.add(tasks)
    with _termination_as_exception(), selectors.DefaultSelector() as selector:
        try:
            while state.pending or state.running:
                state.start_ready(selector)
                _read_progress(selector)
                for outcome in state.reap(selector):
                    state.add(on_done(outcome))
        finally:
            state.kill_all(selector)
    return state.outcomes


@dataclass(eq=False, kw_only=True)
class _Child:
    """A started task: its process, its pipe and where it is."""

    task: Task
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    observe: Callable[[Progress], None]
    started: float = field(default_factory=time.monotonic)
    step: str = "start"
    unread: bytes = b""
    timed_out: bool = False
    reported: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def read(self) -> bool:
        """Take what stdout holds; False at its end."""
        assert self.process.stdout is not None
        try:
            block = os.read(self.process.stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        *lines, self.unread = (self.unread + block).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(block)

    def _take(self, line: bytes) -> None:
        step = _step(line)
        if step is None:
            self.stderr.write(line + b"\n")
            self.stderr.flush()
        else:
            self.step = step
            self.report()

    def report(self) -> None:
        self.reported = time.monotonic()
        memory = machine.resident_bytes(self.process.pid)
        self.observe(Progress(name=self.task.name, step=self.step, seconds=self.seconds, memory_bytes=memory))

    def kill(self) -> None:
        """End the process and all that it started. Only before it is reaped, so that the id is still its own."""
        machine.kill_tree(self.process.pid)

    def reap(self) -> Outcome:
        """Wait for the process, killing what it left behind; its id cannot be reused before."""
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        _, status, usage = os.wait4(self.process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.process.returncode = code  # Popen must not wait for it again
        return Outcome(
            name=self.task.name,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            timed_out=self.timed_out,
            seconds=self.seconds,
            peak_memory_bytes=usage.ru_maxrss * 1024,
            stderr_tail=_tail(self.stderr),
        )

    def close(self, selector: selectors.BaseSelector) -> None:
        assert self.process.stdout is not None
        with suppress(KeyError):
            selector.unregister(self.process.stdout)
        self.process.stdout.close()
        self.stderr.close()


@dataclass(kw_only=True)
class _State:
    """What waits, what runs and what has ended."""

    jobs: int
    memory_bytes: int
    environment: Mapping[str, str]
    observe: Callable[[Progress], None]
    pending: dict[str, Task] = field(default_factory=dict)
    running: dict[str, _Child] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if task.name in self.pending or task.name in self.running or task.name in self.outcomes:
                raise ValueError(f"two tasks are named {task.name!r}; names must be unique")
            self.pending[task.name] = task

    def start_ready(self, selector: selectors.BaseSelector) -> None:
        while (task := self._next()) is not None:
            del self.pending[task.name]
            child = _start(task, environment=self.environment, observe=self.observe)
            self.running[task.name] = child
            assert child.process.stdout is not None
            selector.register(child.process.stdout, selectors.EVENT_READ, child)
            child.report()

    def _next(self) -> Task | None:
        if len(self.running) >= self.jobs:
            return None
        free = self.memory_bytes - sum(child.task.memory_bytes for child in self.running.values())
        fitting = (task for task in self.pending.values() if not self.running or task.memory_bytes <= free)
        return max(fitting, key=lambda task: task.priority, default=None)

    def reap(self, selector: selectors.BaseSelector) -> Iterator[Outcome]:
        """Outcomes of children that have ended or are over their time; the others report now and then."""
        for child in tuple(self.running.values()):
            if child.seconds > child.task.timeout_seconds and not _ended(child):
                child.timed_out = True
                child.kill()
            if child.timed_out or _ended(child):
                yield self._finish(child, selector)
            elif time.monotonic() - child.reported > TICK_SECONDS:
                child.report()

    def _finish(self, child: _Child, selector: selectors.BaseSelector) -> Outcome:
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
        while child.read():
            pass
        outcome = child.reap()
        del self.running[child.task.name]
        child.close(selector)
        self.outcomes[child.task.name] = outcome
        return outcome

    def kill_all(self, selector: selectors.BaseSelector) -> None:
        for child in self.running.values():
            child.kill()
        for child in self.running.values():
            child.reap()
            child.close(selector)
        self.running.clear()


def _start(task: Task, *, environment: Mapping[str, str], observe: Callable[[Progress], None]) -> _Child:
    stderr = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - closed with the child
    try:
        process = subprocess.Popen(
            task.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
    except BaseException:
        stderr.close()
        raise
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return _Child(task=task, process=process, stderr=stderr, observe=observe)


def _read_progress(selector: selectors.BaseSelector) -> None:
    """Wait a moment for output. A pipe that was closed early is no longer watched."""
    if not selector.get_map():
        time.sleep(POLL_SECONDS)
    for key, _ in selector.select(POLL_SECONDS):
        child: _Child = key.data
        if not child.read():
            selector.unregister(key.fileobj)


def _ended(child: _Child) -> bool:
    return os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _step(line: bytes) -> str | None:
    """The step that a line of stdout names, or None for any other output."""
    try:
        value: Any = json.loads(line)
    except ValueError:
        return None
    step = value.get("step") if isinstance(value, dict) else None
    return step if isinstance(step, str) else None


def _tail(file: IO[bytes]) -> str:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - TAIL_BYTES))
    return file.read().decode(errors="replace")


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit(128 + signal) inside; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signals.signal(number, terminate) for number in (signals.SIGTERM, signals.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signals.signal(number, handler)
