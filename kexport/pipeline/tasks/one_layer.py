"""One layer of a file as a file of its own, in a process of its own: it runs the file, which may be from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kexport import runtimes
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import WITH_RUNTIMES, Task
from kexport.pipeline.tasks.by_layer import ByLayerRequest
from kexport.runtimes import one_layer, precheck
from kexport.sources import embedding, stored

GIVEN = "layer-inputs.npz"


@dataclass(frozen=True, kw_only=True)
class OneLayerRequest:
    """The file of a comparison, the tensor, the tensors that it may be made of, and the folder to write into."""

    compared: ByLayerRequest
    tensor: str
    border: tuple[str, ...]
    folder: str


@dataclass(frozen=True, kw_only=True)
class OneLayer:
    """The name of the file in the folder, and the tensors that it reads."""

    file: str
    reads: tuple[str, ...]


def run(request: OneLayerRequest, clock: Clock) -> OneLayer:
    """Write the file and, as `GIVEN`, what it reads. Raises ArtifactError where the whole file does not run."""
    compared, folder = request.compared, Path(request.folder)
    path = Path(compared.path)
    precheck.require_sound(runtimes.for_format(compared.format), path)
    reference = stored.load(Path(compared.reference))
    inputs = reference.inputs if compared.facts is None else embedding.fed(compared.facts, reference.inputs)
    file = f"layer{path.suffix}"
    with clock.step("one layer"):
        given = one_layer.write(path, inputs, request.tensor, request.border, folder / file, threads=compared.threads)
        names = [f"given{place}" for place in range(len(given))]
        values = dict(zip(names, given.values(), strict=True))
        np.savez(folder / GIVEN, names=np.array(list(given)), **values)  # type: ignore[arg-type]  # allow_pickle is none
    return OneLayer(file=file, reads=tuple(given))


TASK = Task(request=OneLayerRequest, answer=OneLayer, run=run, warm=WITH_RUNTIMES)
