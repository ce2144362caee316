"""What CONTRIBUTING says about the house is so: its rooms in their order, and for every walk a test that there is."""

from __future__ import annotations

import ast
import re

import pytest

from tests.places import ROOT
from tests.test_architecture import PACKAGE, ROOMS

TEXT = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALKS = (
    "layer class of Keras", "layer class of your package", "pass", "runtime", "target", "report", "bundle", "engine",
    "scheme", "format", "option of the model", "command", "task of a worker process",
)  # fmt: skip


def tree(document: str) -> list[str]:
    """The rooms as they are drawn."""
    drawn = re.search(r"^```text\nkexport/\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert drawn is not None
    return [line.split()[0].removesuffix("/").removesuffix(".py") for line in drawn[1].splitlines()]


def walks(document: str) -> dict[str, str]:
    """What each addition names as its proof."""
    section = document.partition("## What a change touches")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| an? (.*?) \| .* \| `(tests/[^`]+)` \|$", section, re.MULTILINE)
    return dict(rows)


def exists(proof: str) -> bool:
    """Whether the file is there, and holds a test of that name if one is named."""
    path, _, name = proof.partition("::")
    if not (ROOT / path).is_file():
        return False
    parsed = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef)}
    return not name or name in found


def test_the_rooms_are_drawn_in_their_order() -> None:
    there = [room for room in ROOMS if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()]
    assert tree(TEXT) == there


def test_every_room_has_a_line_of_words() -> None:
    drawn = TEXT.partition("```text\nkexport/\n")[2].partition("```")[0]
    assert all(len(line.split()) > 3 for line in drawn.splitlines())


def test_every_walk_is_there() -> None:
    assert tuple(walks(TEXT)) == WALKS


@pytest.mark.parametrize("proof", walks(TEXT).values())
def test_a_walk_names_a_test_that_there_is(proof: str) -> None:
    assert exists(proof)


def test_these_checks_can_fail() -> None:
    assert tree(TEXT.replace("  passes/", "  passages/")) != tree(TEXT)
    assert not exists("tests/test_registry.py::test_nobody")
    assert not exists("tests/test_nothing.py")
