"""What the documentation says about commands, options, exit codes, targets and bounds: read from the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import rich_click as click
from md_text import code, table

from kexport import cli as command_line
from kexport import pipeline
from kexport import targets as target_file
from kexport.cli import group
from kexport.errors import KexportError
from kexport.evidence import tolerances
from kexport.options import TABLE, Option
from kexport.pipeline import CELL, PREPARE
from kexport.pipeline.steps import Step
from kexport.quantization import recipe_file
from kexport.specs import Format, Scheme

FLOW: dict[str, tuple[Step[Any], ...]] = {"once per model": PREPARE, "every cell": CELL}


def commands() -> str:
    """One row per command: usage, what it does, an example."""
    rows = [(code(_usage(name, command)), *_told(command)) for name, command in group.commands.items()]
    return table(("command", "what it does", "example"), rows, text_columns=3)


def options() -> str:
    """One row per option of the table."""
    return table(("option", "what it means", "example"), map(_option, TABLE), text_columns=3)


def command_options() -> str:
    """A table per command but ``export`` and ``all``, whose options have a table of their own."""
    others = {name: command for name, command in group.commands.items() if name not in ("export", "all")}
    return "\n\n".join(f"### kexport {name}\n\n{_own_options(command)}" for name, command in others.items())


def exit_codes() -> str:
    """One row per code: the meaning as `kexport.cli` states it, and the errors that end with it."""
    stated = re.search(r"Exit codes: (.*?)\.\s", command_line.__doc__ or "", re.DOTALL)
    assert stated is not None
    rows = [_exit_code(part) for part in stated[1].split(";")]
    return table(("code", "meaning", "errors"), rows, text_columns=3)


def flow() -> str:
    """The two tuples of steps of `kexport.pipeline`, what it says about them, and what each step does."""
    once, each = pipeline.flow()
    words = (pipeline.__doc__ or "").split("\n\n", 1)[1].strip()
    rows = [(code(step.name), when, _step(step)) for when, steps in FLOW.items() for step in steps]
    steps = table(("step", "when", "what it does"), rows, text_columns=3)
    return f"```text\nonce per model   {once}\nevery cell       {each}\n```\n\n{words}\n\n{steps}"


def formats() -> str:
    """One row per format: schemes and engines."""
    rows = [(str(form), ", ".join(form.schemes), ", ".join(form.engine_names)) for form in Format]
    return table(("format", "schemes", "engines, the first is the default"), rows, text_columns=3)


def targets() -> str:
    """One row per file of ``targets/``."""
    return table(("target", "for", "formats", "schemes", "batch"), map(_target, target_file.names()), text_columns=5)


def recipes() -> str:
    """One row per recipe that comes with kexport."""
    rows = [(code(name), recipe_file.read(name).description) for name in recipe_file.names()]
    return table(("recipe", "what it does"), rows, text_columns=2)


def bounds() -> str:
    """One row per bound of ``parity/tolerances.toml``."""
    rows = [
        (str(form), scheme, code(bound.name), f"{'≥' if bound.at_least else '≤'} {bound.limit:g}", bound.why)
        for form in Format
        for scheme in form.schemes
        for bound in tolerances.load(form, scheme)
    ]
    return table(("format", "scheme", "figure", "bound", "why"), rows, text_columns=5)


def floors() -> str:
    """One row per family of applications."""
    rows = [(family, f"{bound.limit:g}", bound.why) for family, bound in tolerances.floors(Scheme.INT8).items()]
    return table(("family", "int8: SQNR of the logits, dB, at least", "why"), rows, text_columns=1)


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "options": options,
    "command-options": command_options,
    "exit-codes": exit_codes,
    "flow": flow,
    "formats": formats,
    "targets": targets,
    "recipes": recipes,
    "bounds": bounds,
    "floors": floors,
}


def _step(step: Step[Any]) -> str:
    return " ".join((step.run.__doc__ or "").split("\n\n")[0].split()).removesuffix(".")


def _usage(name: str, command: click.Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
    return " ".join(["kexport", name, *(piece for piece in pieces if piece != "[OPTIONS]")])


def _told(command: click.Command) -> tuple[str, str]:
    text = command.help or ""
    first, _, rest = text.partition("\n")
    example = re.search(r"Example: (.*)", rest)
    assert example is not None, f"{command.name} has no example"
    return first, code(example[1].strip())


def _option(option: Option) -> tuple[str, str, str]:
    names = f"{option.short}, {option.flag}" if option.short else option.flag
    return code(f"{names} {option.metavar}" if option.metavar else names), option.meaning, code(option.example)


def _own_options(command: click.Command) -> str:
    found = [each for each in command.params if isinstance(each, click.Option)]
    if not found:
        return "No options."
    return table(("option", "what it means", "example"), map(_own_option, found), text_columns=3)


def _own_option(option: click.Option) -> tuple[str, str, str]:
    """Names and value, the words of the help, and what stands behind its "e.g."."""
    words, _, example = (option.help or "").partition(", e.g. ")
    assert example, f"{option.name}: expected an example in {option.help!r}"
    shown = option.default if option.show_default else None
    value = "" if option.is_flag else f" {option.metavar or '|'.join(getattr(option.type, 'choices', ()))}"
    names = f"{', '.join(option.opts)}{value}"
    return code(names), f"{words}; {shown} unless said" if shown is not None else words, code(example)


def _exit_code(part: str) -> tuple[str, str, str]:
    number, _, meaning = part.strip().partition(" ")
    found = [code(kind.__name__) for kind in _errors(KexportError) if str(kind.exit_code) == number]
    return number, " ".join(meaning.split()), ", ".join(found) or "-"


def _errors(kind: type[KexportError]) -> Iterator[type[KexportError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == kind.__module__:
            yield from _errors(child)


def _target(name: str) -> tuple[str, ...]:
    found = target_file.load(name)
    values = {"schemes": (Scheme.FLOAT32,), "batch": "the format's own", **found.values}
    return (
        code(name),
        found.description,
        ", ".join(values["formats"]),
        ", ".join(values["schemes"]),
        str(values["batch"]),
    )
