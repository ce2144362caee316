"""A process of its own for each measurement: the last line that it printed, or why there is none."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence

import psutil

GIB = 2**30
GRACE_SECONDS = 20


def run(command: Sequence[str], *, limit_bytes: int, limit_seconds: float) -> tuple[str, str]:
    """``(last line on stdout, "")``, or ``("", reason)``. Above a limit the process is ended.

    Only the process itself is watched, not its children: looking for them would disturb what is measured.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+", errors="replace") as problems:
        process = subprocess.Popen(command, stdout=output, stderr=problems)
        reason = _watch(process, limit_bytes=limit_bytes, limit_seconds=limit_seconds)
        output.seek(0)
        problems.seek(0)
        lines, complaints = output.read().strip().splitlines(), problems.read().strip().splitlines()
    if process.returncode == 0 and lines:
        return lines[-1], ""
    return "", reason or f"exit code {process.returncode}: {_last(complaints):.300}"


def _last(complaints: Sequence[str]) -> str:
    lines = [line for line in complaints if line and not line.startswith("hint:")]
    return lines[-1] if lines else "nothing on standard error"


def _watch(process: subprocess.Popen[bytes], *, limit_bytes: int, limit_seconds: float) -> str:
    end = time.monotonic() + limit_seconds
    while process.poll() is None:
        try:
            used = psutil.Process(process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            used = 0
        if used > limit_bytes or time.monotonic() > end:
            _end(process)
            over_memory = f"killed above {limit_bytes / GIB:.0f} GiB"
            return over_memory if used > limit_bytes else f"killed after {limit_seconds:g} s"
        time.sleep(0.1)
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask first, so that a process can end its own children."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
