"""Golden images, inputs and outputs: what any port of the model can be checked with, as raw little-endian numbers.

``golden/images.bin`` are the most telling of some seeded uint8 images (count, height, width, channels), RGB;
``golden/inputs.bin`` is what they become by the contract, in the file's own type; ``golden/outputs-N.bin`` is what the
file gave for them, one row at a time, on the runtime that ``golden/golden.json`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import machine
from kexport.bundles.deployment import Deployment
from kexport.errors import ArtifactError
from kexport.images.photographs import prepare
from kexport.images.seeded import seeded_images
from kexport.images.structured import structured_images

COUNT, SEEDED, STRUCTURED, SEED = 3, 6, 5, 20
Array = npt.NDArray[Any]
_FLOAT32 = (1e-3, "float32 sums in another order")
_ROUNDED = (0.05, "other kernels round half and eight-bit values differently; decisions stay")


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Arrays of `COUNT` rows, and how far another machine may be from the outputs, relative to the largest of each."""

    images: Array
    inputs: Array
    outputs: dict[str, Array]
    tolerance: float
    why: str


def of(deployment: Deployment) -> Golden:
    """Computed now, by the file itself. Raises ArtifactError where it gives NaN or infinity."""
    _, height, width, channels = deployment.image.shape
    assert height is not None
    assert width is not None
    assert channels is not None
    shape = (height, width, channels)
    drawn = seeded_images(SEEDED, shape, seed=SEED), structured_images(STRUCTURED, shape, low=0.0, high=255.0)
    images = np.rint(np.concatenate(drawn)).astype(np.uint8)
    inputs = as_input(images, deployment)
    every = _run(deployment, inputs)
    chosen = telling(np.concatenate([values.reshape(len(images), -1) for values in every.values()], axis=1))
    images, inputs = images[chosen], inputs[chosen]
    outputs = {name: values[chosen] for name, values in every.items()}
    tolerance, why = _FLOAT32 if deployment.scheme == "float32" else _ROUNDED
    return Golden(images=images, inputs=inputs, outputs=outputs, tolerance=tolerance, why=why)


def telling(outputs: Array) -> list[int]:
    """Places of the `COUNT` rows that tell most: the least one-sided, then each time the one farthest from those.

    Rows that are all alike would pass in a port that answers the same to everything.
    """
    rows = outputs.astype(np.float64)
    chosen = [int(np.argmin(np.abs(rows).max(1) / np.maximum(np.abs(rows).sum(1), 1e-30)))]
    while len(chosen) < COUNT:
        apart = np.linalg.norm(rows[:, np.newaxis] - rows[chosen], axis=2).min(1)
        apart[chosen] = -1
        chosen.append(int(np.argmax(apart)))
    return chosen


def as_input(images: Array, deployment: Deployment) -> Array:
    """Pixels in [0, 255] as the file takes them."""
    values = prepare(images, deployment.contract)
    spec = deployment.image
    scale, zero_point = deployment.steps[spec.name]
    kind = np.dtype(spec.dtype)
    if np.issubdtype(kind, np.floating):
        return values.astype(kind)
    limits = np.iinfo(kind)
    steps = np.rint(values / np.float32(scale)) + zero_point if scale else np.rint(values)
    numbers: Array = np.clip(steps, limits.min, limits.max).astype(kind)
    return numbers


def described(golden: Golden, deployment: Deployment) -> dict[str, Any]:
    """What ``golden.json`` says of the files beside it."""
    return {
        "images": _array("images.bin", golden.images),
        "inputs": {deployment.image.name: _array("inputs.bin", golden.inputs)},
        "outputs": {
            name: _array(f"outputs-{place}.bin", array) for place, (name, array) in enumerate(golden.outputs.items())
        },
        "tolerance": {"relative_to_largest": golden.tolerance, "why": golden.why},
        "computed_on": deployment.effective,
        "machine": {key: machine.describe()[key] for key in ("processor", "instructions")},
    }


def files(golden: Golden) -> dict[str, bytes]:
    """The raw arrays by file name."""
    arrays: Mapping[str, Array] = {
        "golden/images.bin": golden.images,
        "golden/inputs.bin": golden.inputs,
        **{f"golden/outputs-{place}.bin": array for place, array in enumerate(golden.outputs.values())},
    }
    return {name: _little(array).tobytes() for name, array in arrays.items()}


def _array(name: str, array: Array) -> dict[str, Any]:
    return {"file": name, "dtype": array.dtype.name, "shape": list(array.shape)}


def _little(array: Array) -> Array:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _run(deployment: Deployment, inputs: Array) -> dict[str, Array]:
    session, name = deployment.session(), deployment.image.name
    batch = deployment.image.shape[0] or 1
    rows = [session.run({name: np.repeat(row[None], batch, axis=0)}) for row in inputs]
    outputs = {spec.name: np.concatenate([row[spec.name][:1] for row in rows]) for spec in deployment.outputs}
    for output, values in outputs.items():
        if not np.isfinite(values).all():
            raise ArtifactError(f"{deployment.path}: output {output!r} is not finite", hint="kexport parity ARTIFACT")
    return outputs
