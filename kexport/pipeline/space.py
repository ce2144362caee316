"""How much disk a request writes at least, and whether its names fit: told before work begins.

A lower estimate on purpose: a request that fits is never refused. One that fills the disk all the same ends its
cell, and not the run (`kexport.disk`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kexport import disk, files
from kexport.errors import UsageError
from kexport.pipeline import memory
from kexport.registry import Scheme
from kexport.sources import catalog
from kexport.specs import Cell, ModelSpec
from kexport.store.directory import FAILED

BYTES_PER_WEIGHT = {Scheme.FLOAT32: 4, Scheme.FLOAT16: 2, Scheme.DYNAMIC: 1, Scheme.INT8: 1, Scheme.INT16X8: 1}
SHARE_WITHOUT_CLASSIFIER = 0.35  # MobileNetV3Small keeps the least of its parameters, 37 %
SHARE_OF_MODEL_FILE = 0.3  # the rest may be the state of an optimizer: Adam has two numbers per weight
VGG_DENSE = 123_642_856
MARGIN = 0.9
RECORD_BYTES = 16_384
_OWN = "/.kexport-4194304-xxxxxxxx/model9999/"
"""The longest path of staging below the directory."""
_SUFFIX = f"{FAILED}.json"


def least_parameters(model: ModelSpec) -> int:
    """No more than the model has; 0 of a factory, which is not known before it is called."""
    if not model.application:
        return int(memory.parameters(model) * SHARE_OF_MODEL_FILE) if model.file else 0
    application = catalog.application(model.application)
    count: float = application.parameters
    if not model.include_top or model.classes < memory.USUAL_CLASSES:
        count = count - VGG_DENSE if application.family == "vgg" else count * SHARE_WITHOUT_CLASSIFIER
    if model.minimalistic:
        count *= 0.5
    if model.input_shape and application.family == "vgg" and model.include_top:
        count = min(count, application.parameters - VGG_DENSE)
    return int(count * min(1.0, model.alpha or 1.0) ** 2)


def cell_bytes(cell: Cell) -> int:
    """What the artifact of a cell takes at least, with its record."""
    return int(least_parameters(cell.model) * BYTES_PER_WEIGHT[cell.scheme] * MARGIN) + RECORD_BYTES


def prepared_bytes(model: ModelSpec) -> int:
    """What a prepared model takes at least: its graph's weights."""
    return int(least_parameters(model) * BYTES_PER_WEIGHT[Scheme.FLOAT32] * MARGIN)


def needed_bytes(cells: Iterable[Cell], directory: Path) -> int:
    """What a request needs at least: new files less those that they replace, beside the largest model prepared."""
    new = replaced = largest = 0
    for cell in cells:
        new += cell_bytes(cell)
        old = directory / cell.model.name / cell.file_name
        replaced += files.size_bytes(old) if old.exists() else 0
        largest = max(largest, prepared_bytes(cell.model))
    return max(0, new - replaced) + largest


def require(cells: tuple[Cell, ...], directory: Path) -> None:
    """StoreError unless the directory's disk has the space that the request needs at least."""
    what = f"{len(cells)} file{'' if len(cells) == 1 else 's'}"
    disk.require(directory, needed_bytes(cells, directory), what=what)


def require_names(cells: Iterable[Cell], directory: Path) -> None:
    """UsageError for a name or path that is longer than the file system takes."""
    place = next((path for path in (directory, *directory.parents) if os.path.isdir(path)), Path("/"))  # noqa: PTH112
    name_limit, path_limit = os.pathconf(place, "PC_NAME_MAX"), os.pathconf(place, "PC_PATH_MAX")
    start = f"{directory.absolute()}{_OWN}"
    for cell in cells:
        name = f"{cell.file_name}{_SUFFIX}"
        longest = f"{start}{name}"
        for text, limit, what in ((name, name_limit, "name"), (longest, path_limit, "path")):
            size = len(os.fsencode(text))
            if size > limit:
                raise UsageError(
                    f"{cell.model.name[:40]}...: its artifacts would have a {what} of {size} bytes, the file system "
                    f"takes {limit}",
                    hint="rename the model file" if what == "name" else "choose another directory with -o",
                )
