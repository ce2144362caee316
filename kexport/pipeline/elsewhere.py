"""Other backends of Keras that cells are compared with: which there are, whether they can be asked, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kexport.errors import UsageError
from kexport.pipeline import memory
from kexport.pipeline.ask import Question
from kexport.pipeline.tasks.elsewhere import ElsewhereRequest
from kexport.pipeline.waiting import CELL_FIRST, Group, Waiting
from kexport.sources import backend
from kexport.specs import Backend, ModelSpec


def check(names: Iterable[Backend], model: ModelSpec) -> None:
    """Raise UsageError where no other backend can build the model, MissingDependencyError where it is not there."""
    others = backend.beside(names)
    served = model.file is not None and Path(model.file).is_dir()
    if others and (model.live or served):
        why = "a SavedModel, which TensorFlow alone runs" if served else "a model of this program, which is here alone"
        raise UsageError(
            f"--reference {others[0]}: {model.source} is {why}", hint="model.save('model.keras'), and export that file"
        )
    backend.require(others)


def waiting(group: Group) -> Waiting:
    """The process of the next backend that is asked about a prepared model."""
    asked, *left = group.left
    group = replace(group, asked=asked, left=tuple(left))
    request = ElsewhereRequest(model=group.model, folder=str(group.folder), backend=Backend(asked))
    return Waiting(
        question=Question.write("elsewhere", request, group.folder, name=f"elsewhere-{asked}"),
        group=group,
        cells=group.cells,
        label=group.keras,
        priority=CELL_FIRST + memory.parameters(group.model),
        environment=backend.on(asked),
    )
