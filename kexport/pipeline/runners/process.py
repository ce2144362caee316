"""A process of a job, however it came to be: its id, whether it has ended, how it is killed and reaped."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import IO, final

from kexport import machine


class Process(ABC):
    """A started process. Its id is its own until it is reaped."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The id of the process, or of the one that starts it."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether it has ended; it is not reaped yet."""

    @abstractmethod
    def wait(self) -> None:
        """Until it has ended; it is not reaped yet."""

    @abstractmethod
    def kill(self) -> None:
        """End the process and all that it started. Only before it is reaped."""

    @abstractmethod
    def reap(self) -> tuple[int, int]:
        """Its exit code, or its signal as a negative number, and its peak memory in bytes. Only after its end."""

    def resident_bytes(self) -> int:
        """What it and all that it started hold in memory now."""
        return machine.resident_bytes(self.pid)

    @property
    def told(self) -> str:
        """What was said by the one that should have started this process, and ended before."""
        return ""

    @property
    def refusal(self) -> str:
        """Why this process could not be started, so that it has to be a fresh one; empty if it was."""
        return ""


@final
class Fresh(Process):
    """A new program: everything is imported again."""

    def __init__(
        self, argv: tuple[str, ...], *, environment: Mapping[str, str], stdout: int, stderr: IO[bytes]
    ) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ended(self) -> bool:
        """Whether it has ended; it is not reaped yet."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> None:
        """Until it has ended; it is not reaped yet."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """End the process and all that it started."""
        machine.kill_tree(self.pid)

    def reap(self) -> tuple[int, int]:
        """Its exit code or negative signal, and its peak memory."""
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code  # Popen must not wait for it again
        return code, usage.ru_maxrss * 1024
