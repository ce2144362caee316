"""The process that does one task: ``python -m kexport.pipeline.worker TASK REQUEST RESULT``.

The request is a JSON file, the result another, whole or not at all; steps are told on stdout as JSON lines. This is
the only place where any exception is caught: it becomes a `Failure` in place of the result, with its traceback if it
is a bug.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kexport import disk, files, machine
from kexport.errors import EnvironmentFailure, KexportError, StoreError
from kexport.pipeline import tasks
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Failure
from kexport.records import decode_as, encode

FAILED = ".failure"
NO_ROOM = 28
"""The exit code of a worker that could not even write its failure: the number of ENOSPC."""
NO_MEMORY = ("std::bad_alloc", "Failed to allocate memory", "OOM when allocating")
"""ONNX Runtime by C++ and by its own allocator, and TensorFlow."""
BUG_HINT = "this is a bug of kexport, please report it"


def main(arguments: list[str]) -> int:
    """Do one task; the result, or the failure beside it, is written whole."""
    name, request, result = arguments
    task, clock = tasks.find(name), Clock()
    answer = attempt(lambda: task.run(decode_as(task.request, Path(request).read_bytes()), clock), clock)
    if isinstance(answer, Failure):
        return _answer(Path(result + FAILED), answer, 1)
    return _answer(Path(result), answer, 0)


def _answer(path: Path, value: Any, code: int) -> int:
    """Write the answer; where the disk has no room for it, the exit code says so alone."""
    try:
        files.write(path, encode(value))
    except StoreError as error:
        print(error, file=sys.stderr)
        return NO_ROOM if disk.is_full(error) else 1
    return code


def attempt(work: Callable[[], Any], clock: Clock) -> Any:
    """What ``work`` gives, or what ended it as a `Failure`; here and nowhere else is any exception caught."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the cell boundary: who asked gets the reason or the traceback
        return _failure(error, clock)


def _failure(error: Exception, clock: Clock) -> Failure:
    if disk.is_full(error):
        return Failure.full(step=clock.current)
    if _lacks_memory(error):
        error = _too_little_memory(clock.current)
    deliberate = isinstance(error, KexportError)
    return Failure(
        kind=type(error).__name__,
        message=error.message if isinstance(error, KexportError) else f"{type(error).__name__}: {error}",
        hint=error.hint if isinstance(error, KexportError) else BUG_HINT,
        traceback="" if deliberate else traceback.format_exc(),
        seconds=clock.seconds,
        peak_memory_bytes=machine.peak_memory_bytes(),
        step=clock.current,
    )


def _lacks_memory(error: Exception) -> bool:
    """Whether memory was refused: to Python or numpy, or to a runtime, which says so in words of its own."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def _too_little_memory(step: str) -> EnvironmentFailure:
    there = machine.memory_bytes() / 2**30
    return EnvironmentFailure(
        f"{step or 'start'}: needs more memory than the {there:.1f} GiB that a process may take here",
        hint="a machine or container with more memory, or a smaller --input-shape",
    )


def start() -> None:
    """Be the process of a task."""
    machine.end_with_parent()
    sys.exit(work(sys.argv[1:]))


def work(arguments: list[str]) -> int:
    """Do one task in this process, whose memory is limited from now on.

    What libraries put into the folder of temporary files, and leave there if they are killed, goes with the result's.
    """
    machine.limit_memory(machine.memory_bytes())
    tempfile.tempdir = os.environ["TMPDIR"] = str(Path(arguments[-1]).parent.absolute())
    return main(arguments)


if __name__ == "__main__":
    start()
