"""Values as JSON, and typed values out of JSON and TOML: strict, and every mistake at once with its path.

JSON has no word for what is not finite: it is the string ``"nan"``, ``"inf"`` or ``"-inf"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from kexport.errors import StoreError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

SCHEMA_VERSION = 1
NOT_FINITE = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
_WORDS = {
    "int_type": "int", "int_parsing": "int", "float_type": "a number", "float_parsing": "a number",
    "string_type": "str", "bool_type": "true or false", "tuple_type": "a list", "list_type": "a list",
    "too_long": "3 numbers", "dict_type": "a table", "dataclass_type": "a table",
}  # fmt: skip
_MEMBER_OF_A_UNION = re.compile(
    r"(int|str|float|bool|(literal|list|tuple|dict|function-\w+|constrained-\w+)(\[.*\])?)$"
)
_SHOWN = 60
_MOST_DIGITS = 21
_MAX_DOTS = 200


def encode(value: Any) -> str:
    """A frozen dataclass as JSON: sorted keys, two spaces, NaN as the string ``"nan"``, ends in a newline."""
    return pretty(plain(value)) + "\n"


def plain(value: Any) -> Any:
    """A frozen dataclass, or many in a list or table, as `encode` writes it: tables, lists, texts and numbers."""
    from pydantic_core import to_json

    return json.loads(to_json(value, inf_nan_mode="constants"), parse_constant=NOT_FINITE.__getitem__)


def pretty(value: Any, *, depth: int = 0) -> str:
    """What ``json.dumps(value, indent=2, sort_keys=True, allow_nan=False)`` gives for what JSON can hold, sooner.

    The library indents in Python, token by token; here its encoder in C writes every table and list of mere numbers and
    texts at once.
    """
    if not (isinstance(value, (dict, list)) and value):
        return _PLAIN.encode(value)
    line = "\n" + "  " * (depth + 1)
    if any(isinstance(each, (dict, list)) for each in (value.values() if isinstance(value, dict) else value)):
        inner = f",{line}".join(_inside(value, depth + 1))
    else:
        inner = _flat(line).encode(value)[1:-1]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}{line}{inner}{line[:-2]}{last}"


def _inside(value: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
    if isinstance(value, list):
        yield from (pretty(each, depth=depth) for each in value)
    else:
        yield from (f"{_PLAIN.encode(key)}: {pretty(value[key], depth=depth)}" for key in sorted(value))


@cache
def _flat(line: str) -> json.JSONEncoder:
    """Writes a table or list without others inside, each member after a ``line``."""
    return json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(f",{line}", ": "))


_PLAIN = json.JSONEncoder(sort_keys=True, allow_nan=False)


def decode_as(kind: Any, text: str | bytes, *, told: str = "the record") -> Any:
    """Read a value of any dataclass from JSON. Raises StoreError that names every mistake with its path."""
    from pydantic import ValidationError

    try:
        _refuse_newer(json.loads(text, parse_int=_integer))
        return adapter(kind).validate_json(text)
    except ValidationError as error:
        lines = mistakes(error, show=repr)
        raise StoreError(f"{told} is damaged:\n" + "\n".join(lines), hint="kexport export --force ...") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{told} is not JSON: {error}", hint="kexport export --force ...") from error


def _integer(digits: str) -> int:
    """An integer of at most 64 bits: larger ones are no number of anything here, and overflow in arithmetic."""
    if len(digits) > _MOST_DIGITS or abs(int(digits)) >= 2**64:
        raise StoreError(
            f"the record is damaged: the integer {digits[:_MOST_DIGITS]}... has {len(digits)} digits, expected 64 bits",
            hint="kexport export --force ...",
        )
    return int(digits)


def bounded_toml(text: str) -> str:
    """The text, unless a key in it is so long that reading it would take minutes. Raises ValueError."""
    if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):
        raise ValueError(f"a line with more than {_MAX_DOTS} dots")
    return text


def validated(kind: Any, content: Mapping[str, Any]) -> Any:
    """The value of a parsed TOML file; no type is guessed. Raises pydantic's ValidationError, see `mistakes`."""
    return adapter(kind).validate_json(json.dumps(content, default=str), strict=True)


@cache
def adapter(kind: Hashable) -> TypeAdapter[Any]:
    """What reads and checks values of this type."""
    from pydantic import TypeAdapter

    made: TypeAdapter[Any] = TypeAdapter(kind)  # type: ignore[arg-type]  # a type is hashable, which @cache needs
    return made


def mistakes(
    error: ValidationError, *, keys: Sequence[str] = (), show: Callable[[Any], str] = json.dumps
) -> Iterator[str]:
    """A line ``a.b.0: what is wrong`` for each; ``keys`` are the legal ones where a table has others."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        grouped.setdefault(_path(detail["loc"]), []).append(detail)
    for path, details in grouped.items():
        told = _told(path, details, keys=keys, show=show)
        yield f"{path}: {told}" if path else told


def _path(place: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in place if isinstance(part, int) or not _MEMBER_OF_A_UNION.match(part))


def _told(path: str, details: Sequence[ErrorDetails], *, keys: Sequence[str], show: Callable[[Any], str]) -> str:
    kind = details[0]["type"]
    if kind == "unexpected_keyword_argument":
        return f"unknown key, expected one of {', '.join(keys)}"
    if kind == "missing":
        name = path.rpartition(".")[2]
        return "missing, expected one more number" if name.isdecimal() else f"missing, expected a line `{name} = ...`"
    if kind == "value_error":
        return details[0]["msg"].removeprefix("Value error, ")
    wanted = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
    return f"expected {wanted}, got {show(details[0]['input']):.{_SHOWN}}"


def _expected(mistake: ErrorDetails) -> str:
    choices = mistake.get("ctx", {}).get("expected")
    return _WORDS.get(mistake["type"]) or choices or mistake["msg"]


def _refuse_newer(value: Any) -> None:
    schema = value.get("schema", SCHEMA_VERSION) if isinstance(value, dict) else SCHEMA_VERSION
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise StoreError(
            f"the record has schema {schema}, this kexport reads up to {SCHEMA_VERSION}",
            hint="pip install --upgrade kexport",
        )
