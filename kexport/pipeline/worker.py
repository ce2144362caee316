"""The process that does one task: ``python -m kexport.pipeline.worker TASK REQUEST RESULT``.

The request is a JSON file, the result another, whole or not at all; steps are told on stdout as JSON lines. This is
the only place where any exception is caught: it becomes a `Failure` in place of the result, with its traceback if it
is a bug.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kexport import files, machine
from kexport.errors import KexportError
from kexport.pipeline import tasks
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Failure
from kexport.records import decode_as, encode

FAILED = ".failure"
BUG_HINT = "this is a bug of kexport, please report it"


def main(arguments: list[str]) -> int:
    """Do one task; the result, or the failure beside it, is written whole."""
    name, request, result = arguments
    task, clock = tasks.find(name), Clock()
    answer = attempt(lambda: task.run(decode_as(task.request, Path(request).read_bytes()), clock), clock)
    if isinstance(answer, Failure):
        files.write(Path(result + FAILED), encode(answer))
        return 1
    files.write(Path(result), encode(answer))
    return 0


def attempt(work: Callable[[], Any], clock: Clock) -> Any:
    """What ``work`` gives, or what ended it as a `Failure`; here and nowhere else is any exception caught."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the cell boundary: who asked gets the reason or the traceback
        return _failure(error, clock)


def _failure(error: Exception, clock: Clock) -> Failure:
    deliberate = isinstance(error, KexportError)
    return Failure(
        kind=type(error).__name__,
        message=error.message if isinstance(error, KexportError) else f"{type(error).__name__}: {error}",
        hint=error.hint if isinstance(error, KexportError) else BUG_HINT,
        traceback="" if deliberate else traceback.format_exc(),
        seconds=clock.seconds,
        peak_memory_bytes=machine.peak_memory_bytes(),
    )


if __name__ == "__main__":
    machine.end_with_parent()
    machine.limit_memory(machine.memory_bytes())
    sys.exit(main(sys.argv[1:]))
