"""The cells of parity/consumers.json: a run that asks about some files keeps what was found of all the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tests.consumers.artifacts import NETWORKS
from tests.consumers.cells import Cell
from tests.consumers.consumer import CONSUMERS

NAMES = frozenset(field.name for field in fields(Cell))


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What stands in the file: its cells with the versions that they were measured with, and what was not written.

    The digests of the files are not in it: a cell that is kept is about the file of the run that measured it.
    """

    cells: tuple[Cell, ...] = ()
    missing: tuple[str, ...] = ()
    machines: str = ""

    def with_cells(self, found: Sequence[Cell]) -> list[Cell]:
        """``found``, and every cell that it has nothing instead of; by consumer, then by network."""
        new = {_key(cell) for cell in found}
        both = [*(cell for cell in self.cells if _key(cell) not in new), *found]
        return sorted(both, key=_place)

    def with_missing(self, found: Sequence[str], networks: Sequence[str]) -> list[str]:
        """``found``, and what stands there of other networks than these, which were exported anew."""
        both = [*(line for line in self.missing if line.split()[0] not in networks), *found]
        names = [one.name for one in NETWORKS]
        return sorted(both, key=lambda line: names.index(line.split()[0]))

    def with_machine(self, processor: str) -> str:
        """All processors that cells were measured on."""
        return ", ".join(dict.fromkeys((*filter(None, self.machines.split(", ")), processor)))


def read(path: Path) -> Committed:
    """Nothing where there is no such file yet."""
    if not path.exists():
        return Committed()
    data = json.loads(path.read_text(encoding="utf-8"))
    return Committed(
        cells=tuple(_cell(each, data["versions"]) for each in data["cells"]),
        missing=tuple(data["not_written"]),
        machines=data["machine"],
    )


def mixed(cells: Sequence[Cell]) -> Iterator[str]:
    """A sentence for each consumer that was asked in several versions: which networks in which."""
    for consumer in CONSUMERS:
        found: dict[str, list[str]] = {}
        for cell in cells:
            if cell.consumer == consumer.name:
                found.setdefault(cell.version, []).append(cell.network)
        if len(found) > 1:
            told = "; ".join(f"{version}: {', '.join(dict.fromkeys(names))}" for version, names in found.items())
            yield f"{consumer.name} was asked in {len(found)} versions. {told}"


def _cell(each: dict[str, Any], versions: dict[str, str]) -> Cell:
    """Its own version where it has one, else that of the consumer."""
    known = {name: value for name, value in each.items() if name in NAMES}
    return Cell(**{"version": versions[each["consumer"]], "sha256": "", **known})


def _key(cell: Cell) -> tuple[str, ...]:
    return cell.consumer, cell.network, cell.format, cell.scheme


def _place(cell: Cell) -> tuple[int, int]:
    consumers, networks = [one.name for one in CONSUMERS], [one.name for one in NETWORKS]
    return consumers.index(cell.consumer), networks.index(cell.network)
