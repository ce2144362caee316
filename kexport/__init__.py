"""kexport: ahead-of-time export and deployment of Keras Applications, with proof.

The commands are functions here, which return records and values: `export`, `parity`, `bench`, `classify`, `inspect`,
`bundle`, `sensitivity`, `report`, `verify`; the errors that they raise are here as well. They are looked up when first
used, so that the import stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kexport.version import __version__

if TYPE_CHECKING:
    from kexport.api import bench, bundle, classify, export, inspect, parity, report, sensitivity, verify
    from kexport.errors import (
        ArtifactError,
        DeviceError,
        DownloadError,
        EnvironmentFailure,
        GraphError,
        KexportError,
        MissingDependencyError,
        SignalError,
        SkippedError,
        SourceError,
        StoreError,
        UnknownNameError,
        UnsupportedError,
        UsageError,
    )

__all__ = [
    "ArtifactError", "DeviceError", "DownloadError", "EnvironmentFailure", "GraphError", "KexportError",
    "MissingDependencyError", "SignalError", "SkippedError", "SourceError", "StoreError", "UnknownNameError",
    "UnsupportedError", "UsageError", "__version__", "bench", "bundle", "classify", "export", "inspect", "parity",
    "report", "sensitivity", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "kexport.errors" if name[0].isupper() else "kexport.api"
    return getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
