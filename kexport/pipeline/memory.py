"""How much memory a request needs: an upper estimate for planning, and the least that any network would take.

The least decides whether a request is refused before work begins. Measured peaks of the Keras process above its
imports, random weights, 1024 x 1024 pixels: 352 bytes per pixel for MobileNet 0.25, 829 for MobileNet, 894 for
ResNet50; 2499 for VGG16 at 768 x 768.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from kexport import machine
from kexport.errors import EnvironmentFailure
from kexport.formats import write
from kexport.options import fetched
from kexport.sources import catalog
from kexport.sources.catalog import Application
from kexport.specs import CALIBRATED, Cell, ModelSpec

GIB = 2**30
MEMORY_SHARE = 0.8
BYTES_PER_PARAMETER = 4
MOST_FEATURES, LEAST_FEATURES = 4096, 1024  # into the classifier: VGG, NASNetLarge; MobileNet
LEAST_BYTES_PER_PIXEL, LEAST_BYTES_PER_CHANNEL = 350, 8
USUAL_CLASSES = 1000
_UNKNOWN_PARAMETERS = 25_000_000
_KERAS_GIB, _KERAS_WEIGHT_COPIES = 0.9, 3
_CELL_GIB, _CELL_WEIGHT_COPIES = 0.25, 4
_PIXELS, _IMAGE_GIB = 224 * 224, 0.15
_CALIBRATION_IMAGES = 8  # in float32 at once, about: a network's values wait for their readers as int8
_USUAL_SIDE = 224  # of a model that is not known before it is built
_VGG_STRIDE, _VGG_CHANNELS = 32, 512


def parameters(model: ModelSpec) -> int:
    """At least as many as the application has with these options, and not many times more.

    A model file has as many as its bytes can hold; a factory's are not known before it is called.
    """
    if not model.application:
        size = fetched.bytes_of(model.file) if model.file else 0
        return size // BYTES_PER_PARAMETER or _UNKNOWN_PARAMETERS
    application = catalog.application(model.application)
    alpha = model.alpha or 1.0
    backbone = int(application.parameters * max(alpha, alpha**2))
    return backbone + int(_head(application, model, features=MOST_FEATURES, alpha=max(alpha, 1.0)))


def least_bytes(model: ModelSpec) -> int:
    """What the smallest network of these options takes while Keras runs it: activations and the classifier.

    Nothing is known of a model of one's own before it is loaded.
    """
    if not model.application:
        return 0
    application = catalog.application(model.application)
    height, width, channels = model.input_shape or (application.default_size, application.default_size, 3)
    pixels = height * width * (LEAST_BYTES_PER_PIXEL + LEAST_BYTES_PER_CHANNEL * max(0, channels - 3))
    head = _head(application, model, features=LEAST_FEATURES, alpha=min(model.alpha or 1.0, 1.0))
    return pixels + BYTES_PER_PARAMETER * int(max(0, head))


def check(model: ModelSpec, *, available_bytes: int) -> None:
    """EnvironmentFailure for a request that cannot fit into ``available_bytes``."""
    needed = least_bytes(model)
    if needed <= available_bytes:
        return
    size = "x".join(map(str, model.input_shape)) if model.input_shape else "its own size"
    raise EnvironmentFailure(
        f"{model.network} at {size} with {model.classes} classes needs {needed / GIB:.0f} GiB of memory or more, "
        f"{available_bytes / GIB:.1f} GiB are there",
        hint="a smaller --input-shape or fewer --classes, or a machine with more memory",
    )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the processes of a run may take together: ``memory_bytes`` is what their estimates may sum up to.

    ``asked_bytes`` is the limit that the user has set, of which this process and the warm ones take ``own_bytes``.
    """

    cores: int
    memory_bytes: int
    asked_bytes: int | None = None
    own_bytes: int = 0

    def refusal(self, cell: Cell, reason: str = "") -> EnvironmentFailure | None:
        """Why a cell is not begun under the limit that the user has set; ``reason`` is why it has no native graph."""
        needed = max(keras_bytes(cell.model), cell_bytes(cell, reason))
        if self.asked_bytes is None or needed + self.own_bytes <= self.asked_bytes:
            return None
        needed += self.own_bytes
        return EnvironmentFailure(
            f"{cell.label} needs about {needed / GIB:.1f} GiB of memory with the program itself, --memory allows "
            f"{self.asked_bytes / GIB:.1f} GiB",
            hint=f"--memory {math.ceil(needed * 10 / GIB) / 10}GiB",
        )


def limits(*, asked_bytes: int | None, cores: int | None) -> Limits:
    """What this machine and the strictest group allow, and less where the user says so."""
    budget = min(int(machine.memory_bytes() * MEMORY_SHARE), machine.available_bytes())
    own = machine.resident_bytes(os.getpid()) if asked_bytes is not None else 0
    if asked_bytes is not None:
        budget = max(0, min(budget, asked_bytes - own))
    usable = machine.cores()
    return Limits(
        cores=usable if cores is None else min(cores, usable),
        memory_bytes=budget,
        asked_bytes=asked_bytes,
        own_bytes=own,
    )


def _head(application: Application, model: ModelSpec, *, features: int, alpha: float) -> float:
    """Parameters of the classifier beyond those of a thousand classes at the usual size."""
    if not model.include_top:
        return 0.0
    more = features * alpha * (model.classes - USUAL_CLASSES)
    return max(0.0, more) + (_vgg_dense(application, model) if application.family == "vgg" else 0)


def _vgg_dense(application: Application, model: ModelSpec) -> int:
    """VGG's first dense layer reads every pixel of the last feature map; no other family has such a layer."""
    side = application.default_size
    height, width, _ = model.input_shape or (side, side, 3)
    cells = (height // _VGG_STRIDE) * (width // _VGG_STRIDE) - (side // _VGG_STRIDE) ** 2
    return cells * _VGG_CHANNELS * MOST_FEATURES


def _image_bytes(model: ModelSpec) -> float:
    side = catalog.application(model.application).default_size if model.application else _USUAL_SIDE
    height, width, _ = model.input_shape or (side, side, 3)
    return _IMAGE_GIB * GIB * height * width / _PIXELS


def keras_bytes(model: ModelSpec) -> int:
    """About what the Keras process of a model takes at its peak."""
    weights = parameters(model) * BYTES_PER_PARAMETER
    return int(_KERAS_GIB * GIB + _KERAS_WEIGHT_COPIES * weights + 2 * _image_bytes(model))


def cell_bytes(cell: Cell, refusal: str) -> int:
    """About what the process of a cell takes at its peak; ``refusal`` says why there is no native graph."""
    weights = parameters(cell.model) * BYTES_PER_PARAMETER
    engine = write.engine_of(cell, refusal)
    if engine.from_model:
        return int(_KERAS_GIB * GIB + engine.weight_copies * weights + 2 * _image_bytes(cell.model))
    images = _CALIBRATION_IMAGES if cell.scheme in CALIBRATED else 1
    return int(_CELL_GIB * GIB + _CELL_WEIGHT_COPIES * weights + images * _image_bytes(cell.model))


def work(cell: Cell) -> float:
    """About how much time a cell takes against others: a start, and what grows with its weights."""
    scheme = _QUANTIZING if cell.scheme in CALIBRATED else 1.0
    return _STARTING + scheme * parameters(cell.model)


_STARTING, _QUANTIZING = 8e6, 6.0  # in parameters: what starting processes takes; calibrating against writing
