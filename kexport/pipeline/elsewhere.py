"""Other backends of Keras that cells are compared with: which there are, whether they can be asked, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kexport.errors import UsageError
from kexport.options import fetched
from kexport.options.place import Url
from kexport.pipeline import memory
from kexport.pipeline.ask import EARLY, Question
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.tasks import Failure
from kexport.pipeline.tasks.elsewhere import ElsewhereRequest
from kexport.pipeline.waiting import CELL_FIRST, Group, Waiting
from kexport.sources import backend
from kexport.specs import Backend, ModelSpec


def asked(names: Iterable[Backend], model: ModelSpec) -> tuple[Backend, ...]:
    """All backends that files of the model are compared with, the one that builds it first; none where it is alone.

    So equal requests are equal, and a command that is made of it compares the same wherever it is typed. Raises
    UsageError where no other backend can build the model, MissingDependencyError where it is not there.
    """
    others = sorted(backend.beside(names))
    if not others:
        return ()
    served = model.file is not None and fetched.is_folder(model.file)
    if model.live or served:
        why = "a SavedModel, which TensorFlow alone runs" if served else "a model of this program, which is here alone"
        raise UsageError(
            f"--reference {others[0]}: {model.source} is {why}", hint="model.save('model.keras'), and export that file"
        )
    backend.require(others)
    return (Backend(backend.chosen()), *map(Backend, others))


def alone(names: Iterable[Backend]) -> Iterator[str]:
    """A line where backends were named and there is no second one among them."""
    given = tuple(names)
    if given and not backend.beside(given):
        yield (
            f"--reference {','.join(given)}: Keras computes with {backend.chosen()} here, so files are compared with "
            "nothing else; a second backend is named beside it"
        )


def told(answer: Any, group: Group, place: Path | Url) -> Any:
    """What ended a process of another backend, said as such; a user's mistake with the command that shows it alone."""
    if not isinstance(answer, Failure) or not group.asked:
        return answer
    failure = replace(answer, message=f"Keras on {group.asked}: {answer.message}")
    if failure.traceback and failure.kind != EARLY:
        return failure
    command = reproduce(replace(group.cells[0], reference=()), place)
    return replace(failure, hint=f"{backend.VARIABLE}={group.asked} {command}, or leave --reference out")


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
