"""docs/troubleshooting.md explains messages that kexport has: each is found in the sources, word for word."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.places import ROOT

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^### `(.+)`$", TEXT, re.MULTILINE)
ANY = "…"


def literal(node: ast.expr) -> str | None:
    """A text of the source, with what it is filled with as ``…``; None for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values)
    return None


@cache
def texts() -> tuple[str, ...]:
    return tuple(_texts())


def _texts() -> Iterator[str]:
    for path in (ROOT / "kexport").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        yield from (text for node in nodes if isinstance(node, ast.expr) and (text := literal(node)) is not None)


def is_there(message: str) -> bool:
    """Whether a text of the sources has its words in this order; ``…`` stands for anything short."""
    pieces = [re.escape(piece) for piece in message.split(ANY)]
    return any(re.search(".{0,80}?".join(pieces), text, re.DOTALL) for text in texts())


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_is_one_of_kexport(message: str) -> None:
    assert len(re.sub(r"\W", "", message)) > 6
    assert is_there(message)


def test_there_are_many_and_each_once() -> None:
    assert len(MESSAGES) == len(set(MESSAGES)) > 30
    assert len(MESSAGES) == TEXT.count("\n### ")


def test_a_message_that_nobody_raises_is_found() -> None:
    assert not is_there("the model is too good to be true: …")
    assert not is_there("… which is not installed, needs the package …")
