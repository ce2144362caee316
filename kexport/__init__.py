"""kexport: ahead-of-time export and deployment of Keras Applications, with proof.

The commands are functions here, which return records: `export`, `parity`, `bench`, `report`, `verify`.
They are looked up when first used, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kexport.version import __version__

if TYPE_CHECKING:
    from kexport.api import bench, export, parity, report, verify

__all__ = ["__version__", "bench", "export", "parity", "report", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("kexport.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
