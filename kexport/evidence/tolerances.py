"""The bounds of parity, from ``parity/tolerances.toml``: one section per format and scheme, each with its reason."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kexport.errors import EnvironmentFailure, UnsupportedError

_HERE = Path(__file__).parents[1]
_PLACES = (_HERE.parent / "parity" / "tolerances.toml", _HERE / "data" / "tolerances.toml")

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


def load(file_format: str, scheme: str, *, family: str = "") -> tuple[Bound, ...]:
    """The bounds for one kind of artifact; a family of applications may have a higher floor for the logits.

    Raises UnsupportedError if there are none.
    """
    path = _file()
    section = _table().get(file_format, {}).get(scheme)
    if not section:
        raise UnsupportedError(f"no parity bounds for {file_format} {scheme} in {path.name}")
    floor = floors(scheme).get(family)
    return tuple(_stricter(_bound(name, entry), floor) for name, entry in section.items())


def floors(scheme: str) -> dict[str, Bound]:
    """The smallest SQNR of the logits in decibels, by family of applications, that a scheme has to reach."""
    families = _table().get("families", {}).get(scheme, {})
    return {family: replace(_bound(family, entry), name=FLOORED) for family, entry in families.items()}


def _stricter(bound: Bound, floor: Bound | None) -> Bound:
    return floor if floor is not None and bound.name == FLOORED and floor.limit > bound.limit else bound


def _bound(name: str, entry: dict[str, Any]) -> Bound:
    return Bound(
        name=name,
        limit=float(entry["at_least" if "at_least" in entry else "at_most"]),
        at_least="at_least" in entry,
        why=entry["why"],
    )


def _table() -> dict[str, Any]:
    return tomllib.loads(_file().read_text(encoding="utf-8"))


def digest() -> str:
    """The sha256 of the file: what was judged by other bounds was not judged by these."""
    return hashlib.sha256(_file().read_bytes()).hexdigest()


def _file() -> Path:
    path = next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        raise EnvironmentFailure("tolerances.toml is missing from this installation", hint="pip install kexport")
    return path
