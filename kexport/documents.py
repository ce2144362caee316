"""Values as JSON, and typed values out of JSON and TOML: strict, and every mistake at once with its path.

JSON has no word for what is not finite: it is the string ``"nan"``, ``"inf"`` or ``"-inf"``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
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
_SCHEMA, _LARGE = re.compile(rb'"schema"\s*:\s*(\d{1,9})'), re.compile(rb"(?<![\d.])\d{19}")
_DIGITS, _MANY = bytes.maketrans(b"123456789", b"000000000"), b"0" * 20
_LEAVES = frozenset({str, int, bool, type(None)})
_SHOWN = 60
_MOST_DIGITS = 21
_MAX_DOTS = 200


def encode(value: Any) -> str:
    """A frozen dataclass as JSON: sorted keys, two spaces, NaN as the string ``"nan"``, ends in a newline."""
    return json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """A frozen dataclass, or a table or list of them, as tables with sorted keys, lists, texts and numbers."""
    from pydantic_core import to_json

    text = to_json(value, inf_nan_mode="constants")
    return json.loads(text, parse_constant=NOT_FINITE.__getitem__, object_pairs_hook=lambda pairs: dict(sorted(pairs)))


def encode_many(values: Any) -> str:
    """A table or list of many dataclasses as `encode` writes it, but for the spelling of very small and large floats.

    The library indents in Python, token by token: a second for a thousand records. Pydantic does it in Rust.
    """
    from pydantic_core import to_json

    return to_json(_sorted(values), indent=2, ensure_ascii=True).decode("ascii") + "\n"


def _sorted(value: Any) -> Any:
    """As `plain`, in half the time: what is usual in records is not written as JSON and read again."""
    kind: Any = type(value)
    if kind in _LEAVES or (kind is float and math.isfinite(value)):
        return value
    if kind in (tuple, list):
        return [each if type(each) in _LEAVES else _sorted(each) for each in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, str):
        return str(value)
    if is_dataclass(value):
        pairs = ((name, getattr(value, name)) for name in _names(kind))
        return {name: each if type(each) in _LEAVES else _sorted(each) for name, each in pairs}
    return plain(value)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass, sorted."""
    return tuple(sorted(each.name for each in fields(kind)))


def decode_as(kind: Any, text: str | bytes, *, told: str = "the record") -> Any:
    """Read a value of any dataclass from JSON. Raises StoreError that names every mistake with its path."""
    from pydantic import ValidationError

    if _usual(text):
        with suppress(ValidationError):
            return adapter(kind).validate_json(text)
    try:
        _refuse_newer(json.loads(text, parse_int=_integer))
        return adapter(kind).validate_json(text)
    except ValidationError as error:
        lines = mistakes(error, show=repr)
        raise StoreError(f"{told} is damaged:\n" + "\n".join(lines), hint="kexport export --force ...") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{told} is not JSON: {error}", hint="kexport export --force ...") from error


def _usual(text: str | bytes) -> bool:
    """Whether a look at the bytes tells that no integer is too large and no schema newer: it need not be read twice."""
    content = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    known = all(int(schema) <= SCHEMA_VERSION for schema in _SCHEMA.findall(content))
    digits = content.translate(_DIGITS)
    return known and b"\\u" not in content and (_MANY not in digits or not _LARGE.search(content))


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
