"""What Keras says on another backend: the same network with the same weights, shown the same inputs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import SignalError, SourceError
from kexport.evidence import signal
from kexport.pipeline.reproduce import model_words
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Task
from kexport.sources import backend, build, prepared, reference
from kexport.sources.prepared import Prepared
from kexport.specs import Backend, ModelSpec


@dataclass(frozen=True, kw_only=True)
class ElsewhereRequest:
    """Ask a ``backend`` about the ``model`` that lies prepared in ``folder``, with its weights; this process has it."""

    model: ModelSpec
    folder: str
    backend: Backend


def answer(request: ElsewhereRequest, clock: Clock) -> Prepared:
    """Every reference of the folder with what the backend answers; what was known of the model, as it was.

    Raises SourceError where the backend cannot run the model or gives NaN, with the command that shows it alone.
    """
    try:
        return _answer(request, clock)
    except (SourceError, SignalError) as error:
        command = shlex.join(("kexport", "export", *model_words(request.model)))
        raise SourceError(
            f"Keras on {request.backend}: {error.message}", hint=f"{backend.VARIABLE}={request.backend} {command}"
        ) from error


def _answer(request: ElsewhereRequest, clock: Clock) -> Prepared:
    folder = Path(request.folder)
    known = prepared.load(folder)
    with clock.step("import keras"):
        backend.load_keras()
    with clock.step("build"):
        model = build.rebuild(request.model, folder / prepared.KERAS_WEIGHTS)
    with clock.step("reference"):
        for name in prepared.references(folder):
            given = prepared.load_reference(folder, name).inputs
            found = reference.compute(model, given, apart=not known.refusal, rounding=False)
            signal.check_finite(found)
            prepared.add_answers(folder, name, request.backend, found)
    return known


TASK = Task(request=ElsewhereRequest, answer=Prepared, run=answer)
"""Never forked: a warm process has imported Keras on the backend that builds models."""
