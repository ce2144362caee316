"""``--schemes auto``: which schemes are tried, and the choice between their files once they are measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from kexport import store
from kexport.evidence.choice import choose
from kexport.options import ExportOptions
from kexport.records import Record, Status
from kexport.specs import CALIBRATED, Cell, Format, Scheme

AUTO = "auto"
TRIED = (Scheme.FLOAT32, Scheme.FLOAT16, Scheme.DYNAMIC, Scheme.INT8)
"""int16x8 is for accuracy, with reference kernels: it is never the fastest."""


def asked(options: ExportOptions) -> bool:
    """Whether the schemes are to be chosen."""
    return tuple(map(str, options.schemes or ())) == (AUTO,)


def expanded(options: ExportOptions) -> ExportOptions:
    """The request for every scheme that is tried, measured. int8 is not, where it has no images."""
    able = [scheme for scheme in TRIED if any(scheme in form.schemes for form in options.formats or ())]
    calibrated = options.calibration is not None
    return replace(
        options, bench=True, schemes=tuple(scheme for scheme in able if calibrated or scheme not in CALIBRATED)
    )


def left_out(options: ExportOptions) -> Iterator[str]:
    """What is not tried for want of images."""
    if asked(options) and options.calibration is None:
        yield "skipped int8: --schemes auto tries it with --calibration photos"


def judged(directory: Path, made: Mapping[Cell, Record]) -> tuple[Record, ...]:
    """The records with the choice of every model and format in them; the manifest has to be written after it."""
    groups: dict[tuple[str, Format, int | None], list[Cell]] = {}
    for cell in made:
        groups.setdefault((cell.model.name, cell.format, cell.file_batch), []).append(cell)
    found = dict(made)
    for group in groups.values():
        tried = [cell for cell in group if made[cell].status is not Status.ERROR]
        for cell, told in zip(tried, choose([made[cell] for cell in tried]), strict=True):
            found[cell] = replace(made[cell], auto=told)
            if found[cell].published and told:
                store.write_record(directory, found[cell], cell.file_name)
    return tuple(found[cell] for cell in made)
