"""Keras's own exporter: the only engine for SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexport.records import WrittenFile
from kexport.registry import Engine, Scheme
from kexport.sources import backend

if TYPE_CHECKING:
    from kexport.specs import Cell


def write(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    """A folder of TensorFlow's own, without metadata: the record beside it says the same."""
    from kexport.formats.savedmodel import writer

    del metadata
    return writer.write(model, path, batch=cell.batch)


def lacks() -> str:
    """Why it cannot work here: the folder is TensorFlow's."""
    return backend.without_tensorflow("a SavedModel")


ENGINE = Engine(
    name="keras",
    schemes=(Scheme.FLOAT32,),
    write=write,
    from_model=True,
    reason="SavedModel is Keras's own export",
    lacks=lacks,
)
