"""The bounds of parity, from ``parity/tolerances.toml``: one section per format and scheme, each with its reason."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import EnvironmentFailure, UnsupportedError

_HERE = Path(__file__).parent
_PLACES = (_HERE.parent / "parity" / "tolerances.toml", _HERE / "data" / "tolerances.toml")

SMALLEST_PROBABILITY = 1e-30
"""Below it a softmax is saturated: its logits cannot be seen any more."""


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


def load(file_format: str, scheme: str) -> tuple[Bound, ...]:
    """The bounds for one kind of artifact. Raises UnsupportedError if there are none."""
    path = _file()
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    section = table.get(file_format, {}).get(scheme)
    if not section:
        raise UnsupportedError(f"no parity bounds for {file_format} {scheme} in {path.name}")
    return tuple(
        Bound(
            name=name,
            limit=float(entry["at_least" if "at_least" in entry else "at_most"]),
            at_least="at_least" in entry,
            why=entry["why"],
        )
        for name, entry in section.items()
    )


def digest() -> str:
    """The sha256 of the file: what was judged by other bounds was not judged by these."""
    return hashlib.sha256(_file().read_bytes()).hexdigest()


def _file() -> Path:
    path = next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        raise EnvironmentFailure("tolerances.toml is missing from this installation", hint="pip install kexport")
    return path
