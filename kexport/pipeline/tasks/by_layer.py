"""A file's inner values beside those of Keras, in a process of its own: its memory is that of one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kexport import runtimes
from kexport.evidence.by_layer import ByLayer, compare
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_RUNTIMES, Task
from kexport.records import SourceFacts
from kexport.runtimes import precheck
from kexport.runtimes.inner import inner_values
from kexport.sources import embedding, stored


@dataclass(frozen=True, kw_only=True)
class ByLayerRequest:
    """Which file, and the reference that knows its layers. ``own``: kexport wrote it; ``note`` goes into the answer.

    ``facts`` of the network say how a file is fed that takes pixels; None for a file of which nothing is known.
    """

    path: str
    artifact: str
    format: str
    scheme: str
    reference: str
    own: bool
    facts: SourceFacts | None = None
    note: str = ""
    threads: int = 1


def run(request: ByLayerRequest, clock: Clock) -> ByLayer:
    """Compare. Raises ArtifactError where the file does not run, StoreError for a damaged reference."""
    path, runtime = Path(request.path), runtimes.for_format(request.format)
    header, reference = stored.header(Path(request.reference)), stored.load(Path(request.reference))
    precheck.require_sound(runtime, path)
    shapes = {fact.name: fact.shape for fact in header.layers if fact.name in reference.layers}
    inputs = reference.inputs if request.facts is None else embedding.fed(request.facts, reference.inputs)
    with clock.step("layers"):
        values = inner_values(runtime.name, path, inputs, shapes, threads=request.threads)
        found = compare(
            values, reference.layers, header.layers, artifact=request.artifact, scheme=request.scheme, own=request.own
        )
    return replace(found, notes=(request.note,) if request.note else ())


TASK = Task(request=ByLayerRequest, answer=ByLayer, run=run, warm=WITH_RUNTIMES)
