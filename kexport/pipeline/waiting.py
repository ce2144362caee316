"""What of a run is still to be answered: cells that share a model, and jobs that were started for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kexport.pipeline.ask import Question
from kexport.sources import backend
from kexport.specs import Cell, ModelSpec

CELL_FIRST = 2**40
"""Cells come before the next model's Keras process: their folder can go."""
ALONE = 2**62
"""What a job is said to take that must run beside no other: one that was killed, likely for memory, is tried so."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells that share a model and its images, and the folder where they find it prepared.

    ``left`` are the other backends of Keras that are still to be asked about it, ``asked`` the one that is now.
    """

    index: int
    folder: Path
    model: ModelSpec
    cells: tuple[Cell, ...]
    left: tuple[str, ...] = ()
    asked: str = ""

    @property
    def keras(self) -> str:
        """How a display calls the process that asks Keras."""
        return f"{self.model.name} keras{f' on {self.asked}' if self.asked else ''}"


def groups_of(cells: Iterable[Cell], workspace: Path) -> list[Group]:
    """The cells by what they share: the model, its images, and the backends of Keras that are asked."""
    shared: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        shared.setdefault((cell.model, cell.evaluation, cell.calibration, cell.reference), []).append(cell)
    return [
        Group(
            index=index,
            folder=workspace / f"model{index}",
            model=group[0].model,
            cells=tuple(group),
            left=backend.beside(group[0].reference),
        )
        for index, group in enumerate(shared.values())
    ]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job that was started: its question, for which cells, and how a display calls it.

    ``warm`` are the modules of the process that it may be forked from, ``again``: its first process was killed;
    ``environment`` is what its process alone has.
    """

    question: Question
    group: Group
    cells: tuple[Cell, ...]
    label: str
    priority: int
    warm: tuple[str, ...] = ()
    again: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
