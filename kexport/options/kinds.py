"""How the values of an option are written: on the command line, in Python, in a target file, in a command again.

The names that are legal are looked up when they are read: formats may come from other packages.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, final

from kexport.errors import UnknownNameError, UsageError
from kexport.options.sizes import bytes_of


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """One way of writing values. ``python`` is their annotation in a signature."""

    python: str = "Any"

    @abstractmethod
    def take(self, flag: str, value: Any) -> Any:
        """The value of an option from text or from what a program gives. Raises UsageError that names the ``flag``."""

    @abstractmethod
    def schema(self) -> Any:
        """The type of the value in a target file, as pydantic takes it."""

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The words of a command that give this value."""
        return (flag, str(value))


@final
@dataclass(frozen=True, kw_only=True)
class Switch(Kind):
    """Given or not."""

    python: str = "bool"

    def take(self, flag: str, value: Any) -> bool:
        """True or False, and nothing that is only true by chance."""
        if not isinstance(value, bool):
            raise UsageError(f"{flag} {value!r}: expected True or False", hint=flag)
        return value

    def schema(self) -> Any:
        """A boolean."""
        return bool

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag alone."""
        return (flag,) if value else ()


@final
@dataclass(frozen=True, kw_only=True)
class Number(Kind):
    """A number; a ``whole`` one if said."""

    python: str = "float | None"
    whole: bool = False

    def take(self, flag: str, value: Any) -> Any:
        """The number; ranges are checked where it acts."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            raise UsageError(
                f"{flag} {value!r}: expected a {'whole ' * self.whole}number", hint="kexport export --help"
            )
        return value

    def schema(self) -> Any:
        """An int, or a float that may be written without a point."""
        return int if self.whole else float

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag and the shortest text that is this very number."""
        return (flag, repr(value).removesuffix(".0"))


@final
@dataclass(frozen=True, kw_only=True)
class Bytes(Kind):
    """A size: a number with its unit, of 1024 (KiB, MiB, GiB, TiB) or of 1000 (kB, MB, GB, TB); bytes in Python."""

    python: str = "int | str | None"

    def take(self, flag: str, value: Any) -> int:
        """The bytes."""
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if not isinstance(value, str) or value.strip().isdecimal():
            raise UsageError(f"{flag} {value!r}: expected a size above 0 with its unit", hint=f"{flag} 8GiB")
        return bytes_of(flag, value, example="8GiB")

    def schema(self) -> Any:
        """A string."""
        return str

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag and the bytes."""
        return (flag, f"{value}B")


@final
@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """One text; the name of a file where ``path`` says so, which a target file may give from its own folder."""

    python: str = "str | PathLike[str] | None"
    path: bool = False

    def take(self, flag: str, value: Any) -> str:
        """The text, or that of a path."""
        if not isinstance(value, (str, PathLike)):
            raise UsageError(f"{flag} {value!r}: expected a text", hint="kexport export --help")
        return str(value)

    def schema(self) -> Any:
        """A string."""
        return str


@final
@dataclass(frozen=True, kw_only=True)
class FileSize(Kind):
    """The size of a file as it is typed, or as a target says it: ``4MB``, ``500 kB``, ``3.5MiB``, ``123456``."""

    python: str = "int | str | None"

    def take(self, flag: str, value: Any) -> str:
        """The text, once it is known to be a size. Raises UsageError."""
        bytes_of(flag, str(value))
        return str(value)

    def schema(self) -> Any:
        """A text with a unit, or a number of bytes."""
        return str


@final
@dataclass(frozen=True, kw_only=True)
class Texts(Kind):
    """Any number of texts: an option that is given again for each."""

    python: str = "str | Iterable[str]"

    def take(self, flag: str, value: Any) -> tuple[str, ...]:
        """Each text in the order given."""
        found = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(each, (str, PathLike)) for each in found):
            raise UsageError(f"{flag} {value!r}: expected texts", hint="kexport export --help")
        return tuple(map(str, found))

    def schema(self) -> Any:
        """A list of strings."""
        return tuple[str, ...]

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag before each."""
        return tuple(word for text in value for word in (flag, text))


@final
@dataclass(frozen=True, kw_only=True)
class Name(Kind):
    """One member of what ``kexport list`` shows."""

    python: str = "str | None"
    of: str

    def known(self) -> tuple[str, ...]:
        """The members."""
        return tuple(map(str, _legal(self.of)))

    def take(self, flag: str, value: Any) -> str:
        """The member. UnknownNameError offers the closest."""
        del flag
        return _member(self.of, str(value))

    def schema(self) -> Any:
        """The type of the members; engines are names, which are compared with the formats' own."""
        legal = _legal(self.of)
        return legal if isinstance(legal, type) else str


@final
@dataclass(frozen=True, kw_only=True)
class Names(Kind):
    """Members of what ``kexport list`` shows, with commas between them; or ``alone``, a word in place of them all."""

    python: str = "str | Iterable[str] | None"
    of: str
    alone: str = ""

    def known(self) -> tuple[str, ...]:
        """The members."""
        return (*map(str, _legal(self.of)), *filter(None, (self.alone,)))

    def take(self, flag: str, value: Any) -> tuple[str, ...]:
        """Each member once, in the order given. UnknownNameError offers the closest, UsageError if there is none."""
        wanted = tuple(value.split(",") if isinstance(value, str) else value)
        if self.alone and self.alone in map(str, wanted):
            if len(wanted) > 1:
                raise UsageError(
                    f"{flag} {','.join(map(str, wanted))}: expected {self.alone} alone, which tries every one",
                    hint=f"{flag} {self.alone}",
                )
            return (self.alone,)
        found = tuple(dict.fromkeys(_member(self.of, str(name).strip(), also=self.alone) for name in wanted))
        if not found:
            raise UsageError(f"no {self.of} was given: expected at least one", hint=_list(self.of))
        return found

    def schema(self) -> Any:
        """A list of members of the enumeration."""
        return tuple[_legal(self.of), ...]  # type: ignore[misc]

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag and the names."""
        return (flag, ",".join(value))


@final
@dataclass(frozen=True, kw_only=True)
class Sizes(Kind):
    """Height, width and channels."""

    python: str = "tuple[int, int, int] | None"

    def take(self, flag: str, value: Any) -> tuple[int, int, int]:
        """Three numbers; whether they fit is checked where they act."""
        text = value if isinstance(value, str) else ",".join(str(each) for each in value)
        found = re.fullmatch(r"\s*(-?\d{1,5})\s*,\s*(-?\d{1,5})\s*,\s*(-?\d{1,5})\s*", text)
        if found is None or (isinstance(value, str) and "-" in value):
            raise UsageError(f"{flag} {value!r}: expected height, width, channels", hint=f"{flag} 224,224,3")
        return int(found[1]), int(found[2]), int(found[3])

    def schema(self) -> Any:
        """A list of three numbers."""
        return tuple[int, int, int]

    def words(self, flag: str, value: Any) -> tuple[str, ...]:
        """The flag and the numbers."""
        return (flag, ",".join(map(str, value)))


@final
@dataclass(frozen=True, kw_only=True)
class BatchSize(Kind):
    """A whole number, or ``dynamic``."""

    python: str = "int | Literal['dynamic'] | None"

    def take(self, flag: str, value: Any) -> int | Literal["dynamic"]:
        """The number, or the word."""
        if value == "dynamic":
            return "dynamic"
        if isinstance(value, bool) or not re.fullmatch(
            r"-?\d{1,9}" if isinstance(value, int) else r"\d{1,9}", f"{value}"
        ):
            raise UsageError(f"{flag} {value!r}: expected a whole number or dynamic", hint=f"{flag} 1")
        return int(value)

    def schema(self) -> Any:
        """An int, or the word."""
        return int | Literal["dynamic"]


def _legal(kind: str) -> Iterable[str]:
    from kexport import registry, specs

    kinds: dict[str, Iterable[str]] = {
        "format": registry.Format,
        "scheme": registry.Scheme,
        "engine": registry.EngineNames(),
        "io": specs.Boundary,
        "kernels": specs.Kernels,
        "backend": specs.Backend,
    }
    return kinds[kind]


def _member(kind: str, name: str, *, also: str = "") -> str:
    known = {str(member): member for member in _legal(kind)}
    if name not in known:
        hint = _list(kind)
        legal = (*known, also) if also else tuple(known)
        raise UnknownNameError(kind=kind, value=name, legal=legal, hint=hint)
    return known[name]


def _list(kind: str) -> str:
    """The command that shows the members of a kind."""
    return "kexport export --help" if kind in ("io", "kernels", "backend") else f"kexport list {kind}s"
