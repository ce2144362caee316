"""Records to text, in every format that `kexport.reports` holds a module for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from kexport import reports
from kexport.errors import UnknownNameError
from kexport.records import Record


def formats() -> tuple[str, ...]:
    """The formats that `render` knows: modules of `kexport.reports` with a ``render`` function, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(reports.__path__))
    return tuple(name for name in names if hasattr(importlib.import_module(f"{reports.__name__}.{name}"), "render"))


def render(records: Sequence[Record], fmt: str) -> str:
    """The report of the records in any order; the same records give the same text.

    Raises UnknownNameError for a format that is not in `formats`.
    """
    legal = formats()
    if fmt not in legal:
        raise UnknownNameError(kind="report format", value=fmt, legal=legal, hint="kexport report DIR --format md")
    ordered = sorted(records, key=lambda record: (record.model, record.format, record.scheme))
    text: str = importlib.import_module(f"{reports.__name__}.{fmt}").render(ordered)
    return text
