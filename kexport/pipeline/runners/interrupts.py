"""Signals that end a run, as exceptions: raised where a run can clean up, never while it starts or reaps a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class Interrupts:
    """While entered, SIGTERM and SIGHUP raise SystemExit(128 + signal); SIGINT does what it did before.

    A signal within `held` waits for its end: a process that was started and is not noted yet would be left behind.
    After one has raised, others wait until this is left: they would interrupt the cleaning up. What the program
    ignores stays ignored (`nohup`, a shell's background job). Only the main thread hears signals; on others, nothing.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._holds = 0
        self._waiting: list[int] = []

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if _heard(number):
                    self._previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done inside is not interrupted; the first signal that came meanwhile is raised at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._waiting and not self._holds:
                self._raise(self._waiting.pop(0), None)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._waiting.append(number)
        else:
            self._raise(number, frame)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._holds += 1
        previous = self._previous[number]
        if number != signal.SIGINT and not isinstance(getattr(previous, "__self__", None), Interrupts):
            raise SystemExit(128 + number)
        previous(number, frame)  # one around this raises itself, and is then held as well
        self._holds -= 1  # a handler of the program's own, which went on


def _heard(number: int) -> bool:
    """Whether the program ends by this signal: not where it ignores it, or where something else than Python hears."""
    handler = signal.getsignal(number)
    return callable(handler) or (handler is signal.SIG_DFL and number != signal.SIGINT)
