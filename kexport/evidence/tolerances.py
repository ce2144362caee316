"""The bounds of parity, from ``parity/tolerances.toml``: one section per format and scheme, each with its reason."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from kexport.documents import mistakes, validated
from kexport.errors import EnvironmentFailure, UnsupportedError, UsageError
from kexport.files import package_data
from kexport.records import OutputParity
from kexport.registry import Format

FILE = "parity/tolerances.toml"
FAMILIES = "families"
_HINT = "pip install --force-reinstall kexport, or undo the edit"
FIGURES = ("logits_error_to_signal", *(each.name for each in fields(OutputParity) if each.name != "name"))
FLOORED = "sqnr_db"
"""The figure for which families have their own floors."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """``limit`` is the largest passing value, or the smallest if ``at_least``; ``why`` is its justification."""

    name: str
    limit: float
    at_least: bool
    why: str

    def passes(self, value: float) -> bool:
        """NaN never passes: both comparisons are false for it."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A bound as the file has it: the smallest passing value or the largest, and why."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    why: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.at_least, self.at_most) if value is not None]
        if len(given) != 1 or not math.isfinite(given[0]):
            raise ValueError("expected one finite number, as at_least or as at_most")
        if not self.why.strip():
            raise ValueError("why: expected the reason of the bound, got an empty text")

    def bound(self, name: str) -> Bound:
        """The bound of the figure of this name."""
        limit = self.at_most if self.at_least is None else self.at_least
        assert limit is not None
        return Bound(name=name, limit=limit, at_least=self.at_least is not None, why=self.why)


Table = Mapping[str, Mapping[str, Mapping[str, Entry]]]


def load(file_format: str, scheme: str, *, family: str = "") -> tuple[Bound, ...]:
    """The bounds for one kind of artifact; a family of applications may have a higher floor for the logits.

    Raises UnsupportedError if there are none.
    """
    section = _table().get(file_format, {}).get(scheme)
    if not section:
        raise UnsupportedError(f"no parity bounds for {file_format} {scheme} in {FILE}")
    floor = floors(scheme).get(family)
    return tuple(_stricter(entry.bound(name), floor) for name, entry in section.items())


def floors(scheme: str) -> dict[str, Bound]:
    """The smallest SQNR of the logits in decibels, by family of applications, that a scheme has to reach."""
    families = _table().get(FAMILIES, {}).get(scheme, {})
    return {family: entry.bound(FLOORED) for family, entry in families.items()}


def _stricter(bound: Bound, floor: Bound | None) -> Bound:
    return floor if floor is not None and bound.name == FLOORED and floor.limit > bound.limit else bound


def parse(text: str, *, label: str = FILE) -> Table:
    """Format (or ``families``) to scheme to figure (or family) to its bound.

    UsageError that lists every mistake with its path.
    """
    from pydantic import ValidationError

    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{label}: is not TOML: {error}", hint="https://toml.io/en/v1.0.0") from error
    problems = list(_unknown_figures(content))
    try:
        table: Table = validated(dict[str, dict[str, dict[str, Entry]]], content)
    except ValidationError as error:
        problems += mistakes(error, keys=[each.name for each in fields(Entry)])
    if problems:
        raise UsageError(
            "\n".join(f"{label}: {problem}" for problem in problems),
            hint="pip install --force-reinstall kexport, or undo the edit",
        )
    return table


def _unknown_figures(content: Mapping[str, Any]) -> Iterator[str]:
    for kind, schemes in content.items():
        for scheme, bounds in schemes.items() if kind != FAMILIES and isinstance(schemes, dict) else ():
            for name in bounds if isinstance(bounds, dict) else ():
                if name not in FIGURES:
                    yield f"{kind}.{scheme}.{name}: unknown figure, expected one of {', '.join(FIGURES)}"


def _table() -> Table:
    """The file's bounds, and those that formats of packages bring for themselves in files of the same form."""
    brought = {str(form): _brought(form, form.bounds) for form in Format if form.bounds is not None}
    return {**brought, **parse(package_data(FILE).read_text(encoding="utf-8"))}


def _brought(form: Format, path: Path) -> Mapping[str, Mapping[str, Entry]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFailure(
            f"the bounds of format {form} cannot be read: {path}: {error}", hint=f"repair the package of {form}"
        ) from error
    return parse(text, label=str(path)).get(str(form), {})


def digest() -> str:
    """The sha256 of the bounds: what was judged by others was not judged by these."""
    places = (package_data(FILE), *(form.bounds for form in Format if form.bounds is not None))
    return _digest(tuple((place, (status := place.stat()).st_size, status.st_mtime_ns) for place in places))


@cache
def _digest(states: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the files as they are: a run asks for every cell."""
    return hashlib.sha256(b"".join(place.read_bytes() for place, _, _ in states)).hexdigest()
