"""Click's options from the table of `kexport.options`, and the few that other commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from kexport.cli import completion
from kexport.errors import UsageError
from kexport.options import TABLE, ExportOptions, Goes, Option, of
from kexport.options.kinds import Number, Switch, Texts
from kexport.options.place import Url, here, is_url, place

Command = Callable[..., int]
Callback = Callable[[click.Context, click.Parameter, Any], Any]


def export_options(function: Command) -> Command:
    """Add every option of the table to a command; `asked` makes a request of their values."""
    return _with(TABLE, function)


def model_options(function: Command) -> Command:
    """Add the options that say which network is meant."""
    return _with(of(Goes.MODEL), function)


def asked(values: dict[str, Any]) -> ExportOptions:
    """The request that click's values are; what was not typed keeps its default."""
    return ExportOptions(**{name: value for name, value in values.items() if value is not None})


def _with(options: tuple[Option, ...], function: Command) -> Command:
    for option in reversed(options):
        function = _decorator(option)(function)
    return function


def _decorator(option: Option) -> Callable[[Command], Command]:
    names = (*([option.short] if option.short else []), option.flag, option.name)
    help_text = f"{option.meaning}, e.g. {option.example}"
    if isinstance(option.kind, Switch):
        return click.option(*names, is_flag=True, default=False, help=help_text)
    if isinstance(option.kind, Texts):
        offered = completion.of(option)
        return click.option(*names, multiple=True, metavar=option.metavar, help=help_text, shell_complete=offered)
    if isinstance(option.kind, Number):
        number = int if option.kind.whole else float
        return click.option(*names, type=number, metavar=option.metavar, help=help_text)
    callback = folder if option.name == "output" else reader(option)
    offered = completion.of(option)
    return click.option(*names, callback=callback, metavar=option.metavar, help=help_text, shell_complete=offered)


def reader(option: Option) -> Callback:
    """Reads the option's text as its kind says; raises UsageError."""

    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        return None if text is None else option.kind.take(option.flag, text)

    return parse


def folder(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Path | Url | None:
    """Reads the name or URL of a folder; UsageError for an empty one, which would be the present folder, and a file."""
    if text is None:
        return None
    if not text:
        raise UsageError("-o '': expected the name of a folder", hint="-o artifacts, or -o . for the present folder")
    if os.path.isfile(text):  # noqa: PTH113 - a name that is too long is no file, and not an error here
        raise click.BadParameter(f"Directory {text!r} is a file.", param_hint="'-o' / '--output'")
    _require_lasting(text, hint="-o artifacts, or -o file:///tmp/artifacts")
    return place(text)


def _require_lasting(text: str, *, hint: str) -> None:
    """UsageError for memory://, also without its slashes: it is the memory of one process, which a command ends."""
    protocol, _, rest = text.partition(":")
    if protocol.lower() == "memory" and (rest.startswith("//") or not os.path.lexists(text)):
        raise UsageError(
            f"{text}: memory:// ends with its process, so that no other command finds what is there: expected a folder "
            "or another URL",
            hint=hint,
        )


STORED_HINT = "kexport verify {url}"
"""What can be typed instead of a command that takes no URL of artifacts."""


class Here(click.Path):
    """A path of this machine, or its file:// URL; UsageError for another URL, which would be a folder named s3:.

    ``hint`` is what to type instead, with ``{url}`` for the URL; the option with its metavar unless said.
    """

    def __init__(self, *, hint: str | None = None, **more: Any) -> None:
        super().__init__(path_type=Path, **more)
        self.hint = hint

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        option = param.opts[0] if isinstance(param, click.Option) else ""
        hint = self.hint or f"{option} {param.metavar if param else ''}"
        _require_lasting(str(value), hint=hint.format(url="artifacts"))
        taker = f"{ctx.command_path if ctx else 'kexport'} {option}".rstrip()
        path = here(value, taker=taker, hint=hint)
        return super().convert(str(path) if is_url(str(value)) else value, param, ctx)


class Stored(click.Path):
    """A folder of artifacts that is there: of this machine, or at a URL, which is asked when it is read."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False, exists=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or the URL."""
        _require_lasting(str(value), hint=f"{ctx.command_path if ctx else 'kexport'} artifacts")
        found = place(value)
        return found if isinstance(found, Url) else super().convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Data on stdout as JSON, e.g. --json > run.json")

trusted_option = click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="SOURCE",
    help="Model file or factory, as the record names it, whose code may run; nothing runs unless said, "
    "e.g. --trust mypackage.models:build",
)


def contract_options(function: Command) -> Command:
    """Add what can be stated of an artifact's contract: its labels, its preprocessing and its resize."""
    wanted = ("labels", "preprocessing", "resize")
    return _with(tuple(next(option for option in TABLE if option.name == name) for name in wanted), function)


calibration_option = _decorator(next(option for option in TABLE if option.name == "calibration"))
