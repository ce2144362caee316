"""Records to text: one module per report format.

A module named after its format, with ``render(records) -> str``, is a format: its presence registers it.
Records come sorted by model, format and scheme. Shared derivations are in `tables` and `verdict`; `terminal`
makes rich renderables of the same tables.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from kexport.errors import UnknownNameError
from kexport.records import Record


def formats() -> tuple[str, ...]:
    """The formats that `render` knows: modules of `kexport.reports` with a ``render`` function, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in names if hasattr(importlib.import_module(f"{__name__}.{name}"), "render"))


def render(records: Sequence[Record], fmt: str) -> str:
    """The report of the records in any order; the same records give the same text.

    Raises UnknownNameError for a format that is not in `formats`.
    """
    legal = formats()
    if fmt not in legal:
        raise UnknownNameError(kind="report format", value=fmt, legal=legal, hint="kexport report DIR --format md")
    ordered = sorted(records, key=lambda record: (record.model, record.format, record.kind))
    text: str = importlib.import_module(f"{__name__}.{fmt}").render(ordered)
    return text
