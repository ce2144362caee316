"""SavedModel: Keras's own export."""

from __future__ import annotations

from pathlib import Path

from kexport.records.contents import Contents
from kexport.registry import Format, engines_of


def contents(path: Path) -> Contents:
    """As `kexport.formats.savedmodel.contents.read`."""
    from kexport.formats.savedmodel.contents import read

    return read(path)


FORMAT = Format.register(
    "savedmodel",
    suffix="-savedmodel",
    engines=engines_of(f"{__name__}.engines"),
    contents=contents,
    marker="saved_model.pb",
)
