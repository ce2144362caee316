"""What is known of the cells that are not right: the consumer's own fault, and the smallest graph that shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.consumers.cells import Cell


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``why`` holds for the cells of a consumer whose words ``told`` finds, of these formats and schemes."""

    consumer: str
    told: str
    why: str
    formats: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def explains(self, cell: Cell) -> bool:
        """Whether the cell is one of its."""
        chosen = ((self.formats, cell.format), (self.schemes, cell.scheme), (self.networks, cell.network))
        return (
            cell.consumer.startswith(self.consumer)
            and all(not wanted or found in wanted for wanted, found in chosen)
            and re.search(self.told, f"{cell.state}: {cell.told}") is not None
        )


FAULTS: tuple[Fault, ...] = ()


def why(cell: Cell) -> str:
    """The fault of a cell that is not right; what the consumer said, where nothing more is known."""
    known = next((fault.why for fault in FAULTS if fault.explains(cell)), "")
    said = " ".join(cell.told.split())[:300].replace("|", "\\|")
    return known or (f"it says: {said}" if cell.state in ("refused", "crashed") else said)
