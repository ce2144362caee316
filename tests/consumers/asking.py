"""A consumer's client in a process of its own: asked file by file, with a time limit, started again after a crash."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

CLOSING_SECONDS = 5
STARTING_SECONDS = 120


class Asked:
    """``answer`` asks for one file; whatever happens to the process becomes a ``refused``, ``crashed`` or ``slow``."""

    def __init__(self, command: list[str], variables: dict[str, str]) -> None:
        self._command, self._variables = command, variables
        self._process: subprocess.Popen[str] | None = None
        self._problems: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed at the end
        self.version = ""

    def __enter__(self) -> Asked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._problems.close()

    def answer(self, request: dict[str, Any], limit_seconds: float) -> dict[str, Any]:
        """``{"seconds": ...}``, or one of ``refused``, ``crashed`` and ``slow`` with what is known of it."""
        began = self.start()
        if began:
            return began
        process = self._process
        assert process is not None
        assert process.stdin is not None
        before = len(self.complaints())
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        said = self._said(limit_seconds)
        more = self.complaints()[before:] if "refused" in said else []
        return {"refused": f"{said['refused']} ({more[-1]})"} if more else said

    def start(self) -> dict[str, Any]:
        """The process, if it does not run; nothing, or why it does not start. Its first line is its version."""
        if self._process is not None:
            return {}
        self._problems.seek(0)
        self._problems.truncate()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._problems, text=True,
            env=self._variables, start_new_session=True,
        )  # fmt: skip
        said = self._said(STARTING_SECONDS)
        self.version = said.pop("version", self.version)
        return said

    def _said(self, limit_seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        started = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(limit_seconds):
                self._end(patience_seconds=0)
                return {"slow": time.monotonic() - started}
        line = process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = self._end()
        last = (self.complaints() or ["no word"])[-1]
        return {"crashed": f"{_ending(code)}: {last}"}

    def complaints(self) -> list[str]:
        """What the process wrote to stderr since it started."""
        self._problems.seek(0)
        return [line.strip() for line in self._problems if line.strip()]

    def _end(self, patience_seconds: float = CLOSING_SECONDS) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            return process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its group is its own: a browser that it started ends with it
            return process.wait()
        finally:
            if process.stdout is not None:
                process.stdout.close()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def request(file: Path, rows: Path, answers: Path, pictures: list[Path]) -> dict[str, Any]:
    """What ``clients/loop.py`` reads."""
    return {
        "file": str(file), "rows": str(rows), "answers": str(answers), "pictures": [str(each) for each in pictures],
    }  # fmt: skip
