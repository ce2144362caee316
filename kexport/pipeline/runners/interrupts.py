"""Signals that end a run, as exceptions: raised where a run can clean up, never while it starts or reaps a process."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 2.0
"""So long a signal may wait: what is held takes milliseconds."""


class Interrupts:
    """While entered, SIGTERM and SIGHUP raise SystemExit(128 + signal); SIGINT does what it did before.

    A signal within `held` waits for its end: a process that was started and is not noted yet would be left behind. One
    that comes when another has waited for `PATIENCE_SECONDS` raises at once: nothing that hangs is held for ever. What
    the program ignores stays ignored (`nohup`, a shell's background job). Only the main thread hears signals; on
    others, nothing.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._holds = 0
        self._waiting: list[int] = []
        self._since = 0.0

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in ENDING if _heard(number)}
            try:
                for number in self._previous:
                    signal.signal(number, self._hear)
            except BaseException:
                self._put_back()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done inside is not interrupted; signals that came meanwhile are heard at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            while self._waiting and not self._holds:
                self._raise(self._waiting.pop(0), None)

    def _put_back(self) -> None:
        """All handlers that were there before: with only some of them the others would be this one's for ever."""
        with self.held(), ExitStack() as stack:  # each is done, also where one that is back already raises
            for number, handler in self._previous.items():
                stack.callback(signal.signal, number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._holds or (self._waiting and now - self._since > PATIENCE_SECONDS):
            self._waiting.clear()
            self._raise(number, frame)
        elif number not in self._waiting:
            self._since = self._since if self._waiting else now
            self._waiting.append(number)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            raise SystemExit(128 + number)
        self._previous[number](number, frame)  # a program's own handler may go on


def _heard(number: int) -> bool:
    """Whether the program ends by this signal: not where it ignores it, or where something else than Python hears."""
    handler = signal.getsignal(number)
    return callable(handler) or (handler is signal.SIG_DFL and number != signal.SIGINT)
