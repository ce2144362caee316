"""An artifact directory held by one run: created, locked, with a staging folder; nothing is left of one that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kexport import files, store
from kexport.pipeline.runners.interrupts import Interrupts


@contextmanager
def workspace(directory: Path) -> Iterator[Path]:
    """The staging folder of a run in a directory that nobody else uses meanwhile."""
    created = files.prepare(directory)
    with Interrupts(), store.lock(directory):
        try:
            with files.staging(directory) as folder:
                yield folder
        finally:
            store.abandon(directory, created)
