"""Every hint can be typed: its command exists, and so do its options."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

import kexport
from kexport.cli import group

PACKAGE = Path(kexport.__file__).parent
NAMES = {"hint", "cure", "_HINT", "NOISE_HINT"}
EVERY = {flag for command in group.commands.values() for parameter in command.params for flag in parameter.opts}
ELSEWHERE = {"--upgrade", "--force-reinstall", "--help"}  # of pip, and of every command


def text_of(node: ast.expr) -> str:
    """A string as it reads, with X where a value stands; nothing for what is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.IfExp):
        return f"{text_of(node.body)}\n{text_of(node.orelse)}"
    return ""


def hints(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of every hint of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named: list[tuple[str, ast.expr]] = []
        if isinstance(node, ast.Call):
            named = [(keyword.arg or "", keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Assign):
            named = [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
        for name, value in named:
            typed = text_of(value).startswith(("kexport ", "--"))  # a constant that is some hint
            if name in NAMES or name.endswith("_HINT") or (isinstance(node, ast.Assign) and typed):
                for line in text_of(value).splitlines():
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", line


HINTS = sorted({hint for path in PACKAGE.rglob("*.py") for hint in hints(path)})


def wrong(hint: str) -> list[str]:
    """What a hint names that there is not."""
    return [*wrong_commands(hint), *wrong_options(hint), *wrong_functions(hint)]


def wrong_commands(hint: str) -> Iterator[str]:
    for name in re.findall(r"(?:^|[,;:(] ?|then )kexport ([a-z][\w-]*)", hint):
        if name not in group.commands:
            yield f"kexport {name}"
    for kind in re.findall(r"kexport list ([a-z]\w*)", hint):
        if kind not in {*LISTS, "layers"}:
            yield f"kexport list {kind}"


def wrong_options(hint: str) -> Iterator[str]:
    """Options that the command of the hint has not, or no command where none is named."""
    named = re.match(r"kexport ([a-z][\w-]*)", hint)
    command = group.commands.get(named[1]) if named else None
    known = EVERY if command is None or re.search(r"[,;:(]", hint) else flags(command)
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", hint):
        if flag not in known | ELSEWHERE:
            yield flag


def wrong_functions(hint: str) -> Iterator[str]:
    for name, arguments in re.findall(r"kexport\.(\w+)\(([^)]*)", hint):
        if name not in kexport.__all__:
            yield f"kexport.{name}"
            continue
        known = inspect.signature(getattr(kexport, name)).parameters
        yield from (word for word in re.findall(r"(\w+)=", arguments) if word not in known)


def flags(command: click.Command) -> set[str]:
    """The options of one command."""
    return {flag for parameter in command.params for flag in parameter.opts}


def lists() -> frozenset[str]:
    from kexport.cli import listing

    return frozenset(listing._LISTS)


LISTS = lists()


def test_there_are_hints() -> None:
    assert len(HINTS) > 150
    assert any(place.startswith("runtimes/__init__.py") for place, _ in HINTS), (
        "constants that are hints are among them"
    )


@pytest.mark.parametrize("place", sorted({place.partition(":")[0] for place, _ in HINTS}))
def test_hints_can_be_typed(place: str) -> None:
    found = {f"{where}: {hint}": wrong(hint) for where, hint in HINTS if where.startswith(f"{place}:")}
    assert {hint: names for hint, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("hint", "names"),
    [
        ("kexport inspct X", ["kexport inspct"]),
        ("kexport list ios", ["kexport list ios"]),
        ("kexport verify X --force", ["--force"]),
        ("--quantize int8", ["--quantize"]),
        ("kexport.export(..., directry='x')", ["directry"]),
        ("kexport export X --schemes int8", []),
        ("kexport.export(model, schemes='int8', force=True)", []),
    ],
)
def test_the_check_can_fail(hint: str, names: list[str]) -> None:
    assert wrong(hint) == names
