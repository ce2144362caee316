"""What the places of a network compute and move in one inference, counted from the steps of a file.

Counted are multiply-accumulates of convolutions and matrix products. A place moves its constants, what it reads of
other places and what it writes for others, each once; what stays inside of it is not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from kexport.records import Work


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator that runs with every inference: values by name, its constants with their bytes in the file."""

    place: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    constants: Mapping[str, int] = field(default_factory=dict)
    macs: int = 0
    integers: bool = False


@dataclass(kw_only=True)
class _Place:
    float_macs: int = 0
    integer_macs: int = 0
    constants: dict[str, int] = field(default_factory=dict)
    values: set[str] = field(default_factory=set)


def works(steps: Iterable[Step], sizes: Mapping[str, int], outputs: Collection[str]) -> tuple[Work, ...]:
    """One value per place, in the order of the file. ``sizes`` has the bytes of every value; those of others are 0."""
    places: dict[str, _Place] = {}
    makers: dict[str, str] = {}
    for step in steps:
        place = places.setdefault(step.place, _Place())
        place.float_macs += 0 if step.integers else step.macs
        place.integer_macs += step.macs if step.integers else 0
        place.constants.update(step.constants)
        for value in step.reads:
            maker = makers.get(value)
            if maker != step.place:
                place.values.add(value)
                if maker is not None:
                    places[maker].values.add(value)
        for value in step.makes:
            makers[value] = step.place
            if value in outputs:
                place.values.add(value)
    return tuple(_work(name, place, sizes) for name, place in places.items())


def repeated(found: Iterable[Work], times: int) -> tuple[Work, ...]:
    """Of a file that runs several times for its rows."""
    return tuple(replace(each, macs=times * each.macs, moved_bytes=times * each.moved_bytes) for each in found)


def _work(name: str, place: _Place, sizes: Mapping[str, int]) -> Work:
    moved = sum(place.constants.values()) + sum(sizes.get(value, 0) for value in place.values)
    return Work(
        place=name,
        macs=place.float_macs + place.integer_macs,
        moved_bytes=moved,
        integers=place.integer_macs > place.float_macs,
    )
