"""Live progress on stderr: a table on a terminal, one line per step otherwise and under CI."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from time import monotonic
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


ENDED = "ended"
"""As `kexport.pipeline.events.ENDED`, without its imports: the step of what is no cell, and over."""
_WORDS = {
    "import keras": "loading Keras", "build": "building the model", "reference": "asking Keras for its answers",
    "photographs": "showing Keras the photographs", "lower": "reading the layers",
    "keep weights": "keeping the weights", "rebuild": "building the model again",
    "optimize": "simplifying the graph", "quantize": "quantizing",
    "write": "writing the file", "parity": "comparing with Keras", "accuracy": "measuring accuracy",
    "publish": "putting it in place", "bench": "measuring latency", "layers": "comparing layer by layer",
}  # fmt: skip
_FIRST_GUESS = 0.02  # of the work has to be done before the rest is guessed
_LINES_BESIDE = 4  # header, caption, and what the shell needs


def create(
    *, total: int | None = None, stream: TextIO | None = None, sizes: Mapping[str, float] | None = None
) -> Observer:
    """The table where ``stream`` (stderr unless said) is a terminal and CI is not set, else lines.

    ``sizes`` say how much work each cell is, by label and against the others: what is left is guessed from them.
    """
    target = stream or sys.stderr
    live = target.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(total=total, stream=target, sizes=sizes) if live else PlainProgress(total=total, stream=target)


class PlainProgress:
    """One line when a cell enters a step, one when it ends; ticks within a step say nothing."""

    def __init__(self, *, total: int | None, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._steps: dict[str, str] = {}
        self._ended: set[str] = set()

    def observe(self, event: Event) -> None:
        """Write a line if the event is news."""
        same = event.status is None and self._steps.get(event.label) == event.step
        if event.label in self._ended or same or event.step == ENDED:
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

    def __init__(self, *, total: int | None, stream: TextIO, sizes: Mapping[str, float] | None = None) -> None:
        self._total = total
        self._stream = stream
        self._sizes = sizes or {}
        self._start = monotonic()
        self._done = 0.0
        self._running: dict[str, Event] = {}
        self._ended: Counter[str] = Counter()
        self._live: Live | None = None

    def observe(self, event: Event) -> None:
        """Update the table; a cell that ended in anything but PASS leaves a line above it."""
        if event.status is not None or event.step == ENDED:
            self._running.pop(event.label, None)
        else:
            self._running[event.label] = event
        if event.status is not None:
            self._done += self._sizes.get(event.label, 0.0)
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
        shown = list(self._running.items())[: self._room()]
        for label, event in shown:
            seconds, memory = f"{event.seconds:.1f} s", f"{event.memory_bytes / 2**20:.0f} MiB"
            table.add_row(Text(plain(label)), Text(_WORDS.get(event.step, event.step)), seconds, memory)
        if len(shown) < len(self._running):
            table.add_row(f"and {len(self._running) - len(shown)} more", "", "", "")
        return table

    def _room(self) -> int:
        """Rows that the terminal has for running cells, so that the count below them stays in sight."""
        height = self._live.console.size.height if self._live is not None else 24
        return max(1, height - _LINES_BESIDE - 1)

    def _caption(self) -> str:
        done = sum(self._ended.values())
        of = "" if self._total is None else f" of {self._total}"
        tally = ", ".join(f"{count} {status}" for status, count in sorted(self._ended.items()))
        return f"{done}{of} done" + (f": {tally}" if tally else "") + self._left()

    def _left(self) -> str:
        """How much of the work is done, by the cells' sizes, and how long the rest takes at this pace."""
        whole = sum(self._sizes.values())
        share = self._done / whole if whole else 0.0
        if not _FIRST_GUESS <= share < 1:
            return ""
        seconds = (monotonic() - self._start) * (1 - share) / share
        return f" · {100 * share:.0f} %, about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """``8.3 s`` below a minute, else ``12 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _cost(event: Event) -> str:
    return f"{event.seconds:.1f} s, {event.memory_bytes / 2**20:.0f} MiB"
