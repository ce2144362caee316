"""Where text goes: data to stdout, everything else to stderr. A reader that goes away ends the program quietly."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kexport.errors import EnvironmentFailure

BROKEN_PIPE = 141
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, colours, title, clipboard or reading direction; not tabs and line ends."""
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
WIDTH_WITHOUT_TERMINAL, ANY_WIDTH = 160, 10_000


def ready() -> None:
    """Standard streams that can be written to, whatever the caller has closed or encoded; a usable COLUMNS.

    A stream that is closed (``>&-``) is opened to nowhere: its number must not become that of the next file.
    A character that the encoding lacks becomes a question mark.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for the life of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if not os.environ.get("COLUMNS", "1").isdecimal() or int(os.environ.get("COLUMNS", "1")) < 1:
        del os.environ["COLUMNS"]


def plain(text: str) -> str:
    """Text as a terminal may have it: control characters, which a file may hold, are spelled out."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def _styled(text: str) -> str:
    """As `plain`, but for the colours that rich itself has set; a file's own are spelled out before."""
    return "".join(part if part.startswith("\x1b[") else plain(part) for part in _STYLE.split(text))


def data(text: str) -> None:
    """Write to stdout, free of control characters, with a newline at the end."""
    _write(plain(text))


def _write(text: str) -> None:
    """Exits 141 without a word when nobody reads any more.

    Raises EnvironmentFailure where stdout cannot be written for another reason (a full disk).
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> EnvironmentFailure:
    """What to raise for a stdout that could not be written; exits 141 without a word when nobody reads any more."""
    _to_nowhere()
    if isinstance(error, BrokenPipeError):
        raise SystemExit(BROKEN_PIPE) from None
    return EnvironmentFailure(f"standard output cannot be written: {error.strerror}", hint="df -h")


def _to_nowhere() -> None:
    """The interpreter flushes stdout once more at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def message(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def failure(text: str, *, hint: str | None) -> None:
    """What went wrong, and a last line that helps."""
    message(f"error: {text}" if hint is None else f"error: {text}\nhint: {hint}")


def renderables(items: Iterable[Any]) -> None:
    """Write rich tables to stdout, wide enough for a file when stdout is no terminal; NO_COLOR is respected."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else WIDTH_WITHOUT_TERMINAL)
    with console.capture() as captured:
        for item in items:
            console.print(item)
    _write(_styled(captured.get()))


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned plain text: numbers to the right, everything else to the left, ``-`` where a value is None.

    In a terminal that is too narrow every row is a block; where there is none, every row is one line.
    """
    from rich.console import Console

    from kexport.reports.fitting import Fitting

    table = Fitting(
        header=tuple(header),
        rows=tuple(tuple(_cell(value) for value in row) for row in rows),
        numeric=tuple(all(_is_number(row[index]) for row in rows) for index in range(len(header))),
        boxed=False,
    )
    console = Console(width=None if sys.stdout.isatty() else ANY_WIDTH, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, (int, float))
