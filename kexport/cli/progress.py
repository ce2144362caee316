"""Live progress on stderr: a table on a terminal, one line per step otherwise and under CI."""

from __future__ import annotations

import os
import sys
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from kexport.cli.output import plain

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Event(Protocol):
    """Where a cell is. ``seconds`` and ``memory_bytes`` are its own so far; ``status`` is set at its end."""

    @property
    def label(self) -> str:
        """`Cell.label`."""

    @property
    def step(self) -> str:
        """What it does now."""

    @property
    def seconds(self) -> float:
        """Since the cell started."""

    @property
    def memory_bytes(self) -> int:
        """Resident now."""

    @property
    def status(self) -> str | None:
        """A `Status` once the cell has ended."""


class Observer(Protocol):
    """Is told every event, from one thread at a time; used as a context manager around the run."""

    def observe(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def create(*, total: int | None = None, stream: TextIO | None = None) -> Observer:
    """The table where ``stream`` (stderr unless said) is a terminal and CI is not set, else lines."""
    target = stream or sys.stderr
    live = target.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(total=total, stream=target) if live else PlainProgress(total=total, stream=target)


class PlainProgress:
    """One line when a cell enters a step, one when it ends; ticks within a step say nothing."""

    def __init__(self, *, total: int | None, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._steps: dict[str, str] = {}
        self._ended: set[str] = set()

    def observe(self, event: Event) -> None:
        """Write a line if the event is news."""
        if event.label in self._ended or (event.status is None and self._steps.get(event.label) == event.step):
            return
        self._steps[event.label] = event.step
        if event.status is not None:
            self._ended.add(event.label)
        self._stream.write(f"{self._count()}{plain(event.label)}: {event.status or event.step}  {_cost(event)}\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def _count(self) -> str:
        return "" if self._total is None else f"[{len(self._ended)}/{self._total}] "


class LiveProgress:
    """The running cells, one row each, above a line that counts the ended ones; failures stay on the screen."""

    def __init__(self, *, total: int | None, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._running: dict[str, Event] = {}
        self._ended: Counter[str] = Counter()
        self._live: Live | None = None

    def observe(self, event: Event) -> None:
        """Update the table; a cell that ended in anything but PASS leaves a line above it."""
        if event.status is None:
            self._running[event.label] = event
        else:
            self._running.pop(event.label, None)
            self._ended[event.status] += 1
            if event.status != "PASS" and self._live is not None:
                self._live.console.print(f"{event.status} {plain(event.label)}", markup=False)
        if self._live is not None:
            self._live.update(self._table())

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(self._table(), console=Console(file=self._stream), refresh_per_second=8, transient=True)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, caption=self._caption(), caption_justify="left")
        for heading in ("model", "step", "time", "memory"):
            table.add_column(heading, justify="right" if heading in ("time", "memory") else "left", no_wrap=True)
        for label, event in self._running.items():
            seconds, memory = f"{event.seconds:.1f} s", f"{event.memory_bytes / 2**20:.0f} MiB"
            table.add_row(Text(plain(label)), Text(event.step), seconds, memory)
        return table

    def _caption(self) -> str:
        done = sum(self._ended.values())
        of = "" if self._total is None else f" of {self._total}"
        tally = ", ".join(f"{count} {status}" for status, count in sorted(self._ended.items()))
        return f"{done}{of} done" + (f": {tally}" if tally else "")


def _cost(event: Event) -> str:
    return f"{event.seconds:.1f} s, {event.memory_bytes / 2**20:.0f} MiB"
