"""SavedModel: Keras's own export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kexport.records.contents import Contents
from kexport.registry import Format, engines_of


def contents(path: Path) -> Contents:
    """As `kexport.formats.savedmodel.contents.read`."""
    from kexport.formats.savedmodel.contents import read

    return read(path)


def bare(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """As `kexport.formats.savedmodel.check_copy.write`."""
    from kexport.formats.savedmodel.check_copy import write

    return write(path, copy, wanted)


FORMAT = Format.register(
    "savedmodel",
    suffix="-savedmodel",
    engines=engines_of(f"{__name__}.engines"),
    bare=bare,
    contents=contents,
    marker="saved_model.pb",
)
