"""Recipes as TOML files: read strictly, every mistake at once, and written so that they read as the same value."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from kexport import files
from kexport.documents import bounded_toml, mistakes, validated
from kexport.errors import UnknownNameError, UsageError
from kexport.records.recipe import Recipe, Rule

MAX_BYTES = 2**20
HINT = "kexport inspect ARTIFACT --recipe writes one"
OPTION = "--recipe"
SHIPPED = "kexport list recipes"
_FOLDER = Path(__file__).parent / "recipes"
_KEYS, _OF_A_RULE = tuple(each.name for each in fields(Recipe)), tuple(each.name for each in fields(Rule))


def names() -> tuple[str, ...]:
    """The recipes that come with kexport, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def place(said: str) -> Path:
    """Where the recipe lies that ``--recipe`` says: a file, or one of `names`.

    Raises UnknownNameError for what is neither, nor looks like a file.
    """
    path = Path(said)
    if os.path.isfile(said):  # noqa: PTH113 - also what cannot be a name
        return path
    if said in names():
        return _FOLDER / f"{said}.toml"
    if not said or (path.name == said and not path.suffix):
        raise UnknownNameError(kind=f"recipe of {OPTION}", value=said, legal=names(), hint=SHIPPED)
    return path


def read(said: str) -> Recipe:
    """The recipe of that name, or of a file. Raises UsageError that lists every mistake with its place."""
    path = place(said)
    called = f"{OPTION} {said}"
    try:
        return parse(tomllib.loads(bounded_toml(files.read(path, limit_bytes=MAX_BYTES).decode())))
    except UsageError as error:
        raise UsageError("\n".join(f"{called}: {line}" for line in error.message.splitlines()), hint=HINT) from error
    except OSError as error:
        raise UsageError(f"{called}: cannot be read: {error.strerror}", hint=HINT) from error
    except (ValueError, RecursionError) as error:  # TOML syntax and UTF-8 alike
        raise UsageError(f"{called}: is not TOML: {error}", hint=HINT) from error


def parse(content: dict[str, Any]) -> Recipe:
    """The value of a parsed file. UsageError with a line ``rules.0.range: what is wrong`` for each mistake."""
    from pydantic import ValidationError

    try:
        found: Recipe = validated(Recipe, content)
    except ValidationError as error:
        raise UsageError("\n".join(_told(error)), hint=HINT) from error
    if not found.says_something:
        raise UsageError("says nothing: expected rules, kernels or integer_head", hint=HINT)
    return found


def _told(error: Any) -> Iterator[str]:
    """Every mistake, with the key that was meant where one is near."""
    for line in mistakes(error, keys=_KEYS):
        path, unknown, _ = line.partition(": unknown key, ")
        if not unknown:
            yield line
            continue
        legal = _OF_A_RULE if path.startswith("rules.") else _KEYS
        close = difflib.get_close_matches(path.rpartition(".")[2], legal, n=1)
        yield f"{path}: unknown key, {f'did you mean {close[0]}? ' if close else ''}expected one of {', '.join(legal)}"


def written(recipe: Recipe) -> str:
    """The text of a file that reads as this recipe."""
    lines = list(_lines(recipe, _KEYS))
    for rule in recipe.rules:
        lines += ["", "[[rules]]", *_lines(rule, _OF_A_RULE)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _lines(value: Recipe | Rule, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        said = getattr(value, key)
        if isinstance(said, bool) and said:
            yield f"{key} = true"
        elif isinstance(said, str) and said:
            yield f"{key} = {_text(said.value if isinstance(said, Enum) else said)}"


def _text(text: str) -> str:
    """A basic string of TOML: JSON's, but for one letter that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
