"""What of a run is still to be answered: cells that share a model, and jobs that were started for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kexport.pipeline.ask import Question
from kexport.specs import Cell, ModelSpec


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells that share a model and its images, and the folder where they find it prepared."""

    index: int
    folder: Path
    model: ModelSpec
    cells: tuple[Cell, ...]


def groups_of(cells: Iterable[Cell], workspace: Path) -> list[Group]:
    """The cells by what they share: the model and its images."""
    shared: dict[tuple[ModelSpec, str | None, str | None], list[Cell]] = {}
    for cell in cells:
        shared.setdefault((cell.model, cell.evaluation, cell.calibration), []).append(cell)
    return [
        Group(index=index, folder=workspace / f"model{index}", model=key[0], cells=tuple(group))
        for index, (key, group) in enumerate(shared.items())
    ]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job that was started: its question, for which cells, and how a display calls it.

    ``warm`` are the modules of the process that it may be forked from, ``again``: its first process was killed.
    """

    question: Question
    group: Group
    cells: tuple[Cell, ...]
    label: str
    priority: int
    warm: tuple[str, ...] = ()
    again: bool = False
