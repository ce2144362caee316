"""A disk that fills up during a run, and a directory that somebody removes: what is told of the cells that it ends."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from kexport import disk
from kexport.errors import StoreError
from kexport.pipeline import space
from kexport.pipeline.tasks import Failure
from kexport.specs import Cell


def told(failure: Failure, cell: Cell, directory: Path, staged: Path) -> Failure:
    """The failure of a cell; that of a full disk with what is free and what the cell needs, at the time of its end.

    What the cell left half written in ``staged`` is removed: the next one needs the space.
    """
    _discard(staged / cell.file_name)
    if not failure.disk_full:
        return failure
    needed = space.prepared_bytes(cell.model) + space.cell_bytes(cell)
    error = disk.full(directory, what=f"{cell.label} at {failure.step or 'start'}", needed_bytes=needed)
    return replace(failure, kind=type(error).__name__, message=error.message, hint=error.hint, traceback="")


def require_there(directory: Path, workspace: Path) -> None:
    """StoreError if somebody has removed the directory: it is not made again, and nothing more is written."""
    if not workspace.is_dir():
        what = "was removed" if not directory.exists() else "lost its staging folder"
        raise StoreError(f"{directory} {what} while the run wrote into it", hint="run the same command again")


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
