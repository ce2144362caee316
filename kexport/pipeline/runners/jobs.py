"""One process of a run: what it may use, where it is, how it ended. Knows nothing of models."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process. ``memory_bytes`` is an estimate of its peak; higher ``priority`` starts first.

    ``warm`` are modules: a worker may be forked from a process that has imported them, if there are any.
    ``environment`` is what this process alone has, ``result`` the file that the child writes, whole or not at all; the
    scheduler never opens it.
    """

    name: str
    argv: tuple[str, ...]
    result: Path
    memory_bytes: int
    timeout_seconds: float
    priority: int = 0
    warm: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

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
    """How a task ended. ``exit_code`` is None if a signal ended it, ``signal`` is None otherwise.

    ``step`` is the last one that it told.
    """

    name: str
    exit_code: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    peak_memory_bytes: int
    stderr_tail: str
    step: str = ""

    @property
    def succeeded(self) -> bool:
        """Exit code 0 within the time limit."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def ending(self) -> str:
        """How the process ended, after "ended"."""
        if self.signal is None:
            return f"with exit code {self.exit_code}"
        return f"by {_signal_name(self.signal)}{_cause(self.signal)}"

    @property
    def reason(self) -> str:
        """One line on how the process ended, for records and tables."""
        if self.timed_out:
            return f"stopped at its time limit after {self.seconds:.0f} s"
        if self.signal is None:
            return f"exit code {self.exit_code}"
        peak = self.peak_memory_bytes / 2**20
        return f"killed {self.ending} after {self.seconds:.0f} s, peak {peak:.0f} MiB"


def _cause(signal: int) -> str:
    return " (out of memory?)" if signal == signals.SIGKILL else ""


def default_jobs(cores: int, memory_bytes: int, per_task_bytes: int) -> int:
    """As many tasks at once as cores and memory allow; at least one."""
    return max(1, min(cores, memory_bytes // max(1, per_task_bytes)))


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
