"""What the table says of one option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kexport.options.kinds import Kind

ENTRY = "option"
"""Where a field of the table keeps its `Option`."""


class Goes(StrEnum):
    """Whom an option tells something: what is made, of which network, the cell, the run, or the command line alone."""

    MAKE = "make"
    MODEL = "model"
    CELL = "cell"
    RUN = "run"
    COMMAND = "command"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option. ``word`` is its name in Python and in a target, and with ``--`` on the command line.

    ``unless`` says what holds where it is not given; ``was`` is an earlier word in Python, ``turned`` what that one's
    value becomes. ``in_target`` is whether a target file may set it, ``kept`` whether a record says it and is believed.
    ``variant`` is what a value adds to the name of the network: nothing where the network stays the same, the word and
    the value unless said.
    """

    name: str
    word: str
    kind: Kind
    goes: Goes
    help: str
    example: str
    default: Any
    metavar: str | None = None
    unless: str = ""
    was: str = ""
    turned: Callable[[Any], Any] = lambda value: value
    short: str = ""
    in_target: bool
    kept: bool = True
    variant: Callable[[Any], str] | None = None

    @property
    def flag(self) -> str:
        """How the command line calls it."""
        return f"--{self.word.replace('_', '-')}"

    @property
    def meaning(self) -> str:
        """What it is for, and what holds unless it is given."""
        return f"{self.help}; {self.unless} unless said" if self.unless else self.help

    def in_name(self, value: Any) -> str:
        """What ``value`` adds to the name of the network; empty where it is the usual one."""
        if value == self.default:
            return ""
        return f"{self.word}-{value}" if self.variant is None else self.variant(value)


def option(kind: Kind, goes: Goes, help: str, example: str, *, default: Any = None, **more: Any) -> Any:  # noqa: A002
    """A field that is an `Option`; ``more`` are that one's fields. Models and cells may be set by a target."""
    may_be_set = goes in (Goes.MODEL, Goes.CELL)
    entry = {"kind": kind, "goes": goes, "help": help, "example": example, "in_target": may_be_set, **more}
    return field(default=default, metadata={ENTRY: entry})
