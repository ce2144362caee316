"""The record as documentation: every dataclass that one holds, with its words and its fields as JSON shows them."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from typing import Any

from md_text import code, table

from kexport.records import Record

WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "any value"}
LINE = re.compile(r'^ {4}[A-Z0-9_]+ = "(?P<value>[^"]+)"(?:  # (?P<words>.*))?$', re.MULTILINE)


def record() -> str:
    """A section per class, `Record` first, then in the order in which fields name them; then the words of each enum."""
    return "\n\n".join(_enum(kind) if issubclass(kind, StrEnum) else _class(kind) for kind in kinds())


def kinds() -> tuple[type, ...]:
    """Every class of the package that a record can hold: dataclasses first, then enumerations."""
    found = tuple(dict.fromkeys(_below(Record)))
    return tuple(sorted(found, key=lambda kind: issubclass(kind, StrEnum)))


def _below(kind: type) -> Iterator[type]:
    yield kind
    for hint in typing.get_type_hints(kind).values() if is_dataclass(kind) else ():
        for inner in _parts(hint):
            yield from _below(inner)


def _parts(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__.startswith("kexport."):
        yield hint
    for inner in typing.get_args(hint):
        yield from _parts(inner)


def _class(kind: type) -> str:
    words = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    hints = typing.get_type_hints(kind)
    rows = [(code(each.name), _type(hints[each.name]), _unless(each)) for each in fields(kind)]
    return f"### {kind.__name__}\n\n{words}\n\n{table(('field', 'value', 'if it is absent'), rows, text_columns=3)}"


def _enum(kind: type) -> str:
    words = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    rows = [(code(each["value"]), each["words"] or "-") for each in LINE.finditer(inspect.getsource(kind))]
    assert len(rows) == len(list(kind)), kind  # type: ignore[call-overload]
    return f"### {kind.__name__}\n\n{words}\n\n{table(('value', 'meaning'), rows, text_columns=2)}"


def _type(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_type, inner))
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of {_inner(inner[0])}"
    if origin is tuple:
        return f"list of {len(inner)}: {', '.join(map(_type, inner))}"
    if origin is dict:
        return f"object of {_inner(inner[1])}"
    return WORDS.get(hint) or f"[{hint.__name__}](#{hint.__name__.lower()})"


def _inner(hint: Any) -> str:
    """A type inside of another: in parentheses where it is a choice."""
    told = _type(hint)
    return f"({told})" if " or " in told and hint is not bool else told


def _unless(field: Field[Any]) -> str:
    """What a reader takes for a field that an earlier version did not write."""
    if field.default is MISSING and field.default_factory is MISSING:
        return "the record is refused"
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value in ("", (), {}):
        return "empty"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
