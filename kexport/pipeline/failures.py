"""The record of a cell that made nothing."""

from __future__ import annotations

from pathlib import Path

from kexport import machine
from kexport.options.place import Url
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.tasks import Failure
from kexport.records import Cost, Record
from kexport.sources import backend
from kexport.specs import Cell


def failed(cell: Cell, failure: Failure, directory: Path | Url) -> Record:
    """The record of a cell whose process, or whose model's process, ended in a failure."""
    error = failure.error
    return Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        variant=cell.variant,
        status=failure.status,
        reason=error.message,
        hint=error.hint or "",
        reproduce=reproduce(cell, directory),
        traceback=failure.traceback,
        exit_code=error.exit_code,
        cost=Cost(seconds=failure.seconds, peak_memory_bytes=failure.peak_memory_bytes),
        versions=backend.recorded(),
        made=machine.today(),
        machine=machine.hardware(),
    )
