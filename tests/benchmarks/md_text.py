"""Markdown tables, and the blocks of a document that are generated: everything between two marker comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

BLOCK = re.compile(
    r"(?P<begin><!-- begin generated: (?P<name>[a-z0-9-]+) -->\n).*?(?P<end><!-- end generated: (?P=name) -->)",
    re.DOTALL,
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int) -> str:
    """A GitHub table; the first ``text_columns`` are not numbers. A pipe in a cell is escaped, also inside code."""
    rules = ["---" if index < text_columns else "---:" for index in range(len(header))]
    return "\n".join(_row(cells) for cells in (header, rules, *rows))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(_plain(cell).replace("|", "\\|").split()) for cell in cells) + " |"


def _plain(cell: str) -> str:
    """Without what a browser would take for a tag, ``<artifact>``, outside of inline code."""
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in re.split("(`[^`]*`)", cell))


def code(text: str) -> str:
    """Text as inline code."""
    return f"`{text}`"


def names(document: str) -> tuple[str, ...]:
    """The blocks of a document, in its order."""
    return tuple(found["name"] for found in BLOCK.finditer(document))


def fill(document: str, blocks: Mapping[str, str]) -> str:
    """The document with every generated block as ``blocks`` has it. KeyError for a block that nobody generates."""
    return BLOCK.sub(lambda found: f"{found['begin']}{blocks[found['name']].strip()}\n{found['end']}", document)
