"""What the operators of a file take, added up by name: the value that the profiles of both runtimes give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from evidence import figure

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The operators of one name: their number, milliseconds per inference, the part of these that is spent in float.

    ``delegated`` is how many of them LiteRT's default delegate takes; None on a runtime without delegates.
    """

    name: str
    count: int
    ms: float
    float_ms: float
    delegated: int | None

    def __add__(self, other: Spent) -> Spent:
        """Both together, under this name."""
        unknown = self.delegated is None or other.delegated is None
        return replace(
            self,
            count=self.count + other.count,
            ms=self.ms + other.ms,
            float_ms=self.float_ms + other.float_ms,
            delegated=None if unknown else (self.delegated or 0) + (other.delegated or 0),
        )


def by_name(found: Iterable[Spent]) -> list[Json]:
    """One value of JSON per name, the largest first."""
    sums: dict[str, Spent] = {}
    for each in found:
        sums[each.name] = sums[each.name] + each if each.name in sums else each
    ordered = sorted(sums.values(), key=lambda each: -each.ms)
    return [asdict(each) | {"ms": figure(each.ms), "float_ms": figure(each.float_ms)} for each in ordered]
