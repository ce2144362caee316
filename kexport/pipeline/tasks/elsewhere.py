"""What Keras says on another backend: the same network with the same weights, shown the same inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kexport import machine
from kexport.errors import SourceError
from kexport.evidence import signal
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Task
from kexport.sources import backend, build, prepared, reference
from kexport.sources.prepared import Prepared, Reference
from kexport.specs import Backend, ModelSpec


@dataclass(frozen=True, kw_only=True)
class ElsewhereRequest:
    """Ask a ``backend`` about the ``model`` that lies prepared in ``folder``, with its weights; this process has it."""

    model: ModelSpec
    folder: str
    backend: Backend


def answer(request: ElsewhereRequest, clock: Clock) -> Prepared:
    """Every reference of the folder with what the backend answers; what was known of the model, and what this took.

    Raises SourceError where the backend cannot run the model or builds another one, SignalError where it gives NaN.
    """
    folder = Path(request.folder)
    known = prepared.load(folder)
    with clock.step("import keras"):
        backend.load_keras()
    with clock.step("build"):
        model = build.rebuild(request.model, folder / prepared.KERAS_WEIGHTS)
    with clock.step("reference"):
        for name in prepared.references(folder):
            before = prepared.load_reference(folder, name)
            found = reference.compute(model, before.inputs, apart=not known.refusal, rounding=False)
            _require_alike(before, found)
            signal.check_finite(found)
            prepared.add_answers(folder, name, request.backend, found)
    took = {f"reference on {request.backend}": sum(clock.seconds.values())}
    peak = max(known.peak_memory_bytes, machine.peak_memory_bytes())
    known = replace(known, seconds={**known.seconds, **took}, peak_memory_bytes=peak)
    prepared.save(known, folder)
    return known


def _require_alike(before: Reference, found: Reference) -> None:
    ours, theirs = ({name: array.shape for name, array in each.outputs.items()} for each in (before, found))
    if ours != theirs or not before.logits.keys() <= found.logits.keys():
        raise SourceError(f"builds another network, with outputs {theirs} in place of {ours}")


TASK = Task(request=ElsewhereRequest, answer=Prepared, run=answer)
"""Never forked: a warm process has imported Keras on the backend that builds models."""
