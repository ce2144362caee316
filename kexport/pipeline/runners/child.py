"""A child process: started with its environment, read while it runs, killed with everything that it started."""

from __future__ import annotations

import json
import os
import platform
import selectors
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from kexport import machine
from kexport.pipeline.runners import compiled, forked
from kexport.pipeline.runners.jobs import Job, Outcome, Progress
from kexport.pipeline.runners.process import Fresh, Process
from kexport.sources import backend

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's matrices are small, and waiting runtimes spin on the other cores
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"} if platform.machine() in ("x86_64", "AMD64") else {}
"""TensorFlow leaves oneDNN out on x86 CPUs without VNNI: there its sums then depend on the number of threads, and it
has no channels first. On others this is what it takes anyway."""
TAIL_BYTES = 8192
MEASURED_SECONDS = 0.5
"""Between two measurements of memory, which walk through the tables of all processes, at least."""
MEASURED_SHARE = 0.01
"""Of the time that a child runs, at most, for measuring it: Linux counts the pages of a large one for 20 ms and more,
and holds up what wants more memory meanwhile."""


def child_environment(
    environment: Mapping[str, str] | None = None, *, jobs: int, cores: int | None = None
) -> dict[str, str]:
    """The environment of a child: this process's, a fixed hash seed, and its share of the threads.

    Thread counts, and what else of the usual the caller or the user has set, are left alone.
    """
    available = cores or len(os.sched_getaffinity(0))
    threads = str(max(1, available // jobs))
    fixed = {"PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
    usual = {**dict.fromkeys(THREAD_VARIABLES, threads), **ALONE, **ONEDNN, **compiled.environment(), **machine.QUIET}
    return {**usual, **os.environ, **backend.environment(), **fixed, **(environment or {}), **machine.as_parent()}


@dataclass(eq=False, kw_only=True)
class Child:
    """A started task: its process, its pipe and where it is."""

    task: Job
    process: Process
    stdout: IO[bytes]
    stderr: IO[bytes]
    observe: Callable[[Progress], None]
    started: float = field(default_factory=time.monotonic)
    step: str = "start"
    unread: bytes = b""
    timed_out: bool = False
    reported: float = 0.0
    measured_again: float = 0.0
    memory_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    def read(self) -> bool:
        """Take what stdout holds; False at its end."""
        try:
            block = os.read(self.stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        *lines, self.unread = (self.unread + block).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(block)

    def _take(self, line: bytes) -> None:
        step = _step(line)
        if step is None:
            with suppress(OSError):  # a full disk: what libraries say is not worth the run
                self.stderr.write(line + b"\n")
                self.stderr.flush()
        else:
            self.step = step
            self.report()

    def report(self) -> None:
        """Tell where it is."""
        self.reported = time.monotonic()
        if self.reported >= self.measured_again:
            self._measure()
        told = Progress(name=self.task.name, step=self.step, seconds=self.seconds, memory_bytes=self.memory_bytes)
        self.observe(told)

    def _measure(self) -> None:
        self.memory_bytes = self.process.resident_bytes()
        ended = time.monotonic()
        if self.memory_bytes:
            self.measured_again = ended + max(MEASURED_SECONDS, (ended - self.reported) / MEASURED_SHARE)

    def reap(self) -> Outcome:
        """Wait for the process, killing what it left behind; its id cannot be reused before."""
        self.process.wait()
        self.process.kill()
        code, peak_bytes = self.process.reap()
        return Outcome(
            name=self.task.name,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            timed_out=self.timed_out,
            seconds=self.seconds,
            peak_memory_bytes=peak_bytes,
            stderr_tail=_tail(self.stderr) or self.process.told,
            step=self.step,
        )

    def close(self, selector: selectors.BaseSelector) -> None:
        """Give its pipe and its stderr back."""
        with suppress(KeyError):
            selector.unregister(self.stdout)
        self.stdout.close()
        self.stderr.close()


def start(task: Job, *, environment: Mapping[str, str], observe: Callable[[Progress], None]) -> Child:
    """The child of a job, as the leader of its own process group."""
    stderr = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - closed with the child
    try:
        reads, writes = os.pipe()
        stdout = os.fdopen(reads, "rb", buffering=0)
        try:
            process = _process(task, environment, writes, stderr)
        except BaseException:
            stdout.close()
            raise
        finally:
            os.close(writes)
    except BaseException:
        stderr.close()
        raise
    os.set_blocking(reads, False)
    return Child(task=task, process=process, stdout=stdout, stderr=stderr, observe=observe)


def _process(task: Job, environment: Mapping[str, str], stdout: int, stderr: IO[bytes]) -> Process:
    """A worker is forked where its task says from what, and where that can be; anything else is a program anew."""
    length = len(forked.WORKER)
    if task.argv[:length] != forked.WORKER or not task.warm or not forked.able(task.warm):
        return Fresh(task.argv, environment={**environment, **task.environment}, stdout=stdout, stderr=stderr)
    return forked.worker(task.warm, task.argv[length:], environment, stdout=stdout, stderr=stderr.fileno())


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
