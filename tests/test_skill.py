"""SKILL.md tells programs what there is: commands, options, fields and exit codes of it exist, and none is left out."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass

import kexport
from kexport import records
from kexport.cli import group
from kexport.cli.doctor import Finding, Level
from kexport.records import Status
from kexport.registry import Format
from tests.places import ROOT
from tests.test_readme import commands

TEXT = (ROOT / "SKILL.md").read_text(encoding="utf-8")
OPTIONS = {name for command in group.commands.values() for option in command.params for name in option.opts}
FIELDS = {
    field.name
    for kind in (*vars(records).values(), Finding)
    if isinstance(kind, type) and is_dataclass(kind)
    for field in fields(kind)
}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(title: str) -> list[str]:
    return [row.strip("`") for row in re.findall(r"^\| (\S+) \|", section(title), re.MULTILINE) if row != "|"]


def unknown_options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - OPTIONS - {"--help"}


def test_it_begins_as_a_skill() -> None:
    head = re.match(r"---\nname: kexport\ndescription: (.+)\n---\n", TEXT)
    assert head is not None
    assert 100 < len(head[1]) < 1024


def test_every_command_is_there() -> None:
    assert {line.split()[1] for line in commands(TEXT)} >= set(group.commands)


def test_every_option_exists() -> None:
    assert unknown_options(TEXT) == set()
    assert unknown_options("`kexport export X --quantize`") == {"--quantize"}


def test_every_exit_code_and_status_is_there() -> None:
    codes = [row for row in first_cells("Exit codes") if row.isdecimal()]
    generated = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert codes == generated
    assert set(first_cells("What comes back")) >= set(Status)


def test_every_field_exists() -> None:
    told = re.findall(r"`([a-z0-9_.]+)`", section("What comes back") + section("Before anything"))
    names = {part for text in told for part in text.split(".")}
    known = FIELDS | set(group.commands) | set(Level) | {"cpu", "cuda", "artifacts"}
    assert len(names & FIELDS) > 15
    assert names - known == set()


def test_every_function_is_importable() -> None:
    told = re.search(r"^Functions: (.*?)\. They", section("In Python"), re.MULTILINE | re.DOTALL)
    assert told is not None
    functions = re.findall(r"`(\w+)`", told[1])
    assert set(functions) == {name for name in kexport.__all__ if name[0].islower()}


def test_formats_are_those_that_there_are() -> None:
    assert {str(each) for each in Format} <= {word.lower() for word in re.findall(r"\w+", TEXT)}
