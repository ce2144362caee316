"""The scripts of this folder as modules under plain names, as when one of them is run; unloaded afterwards."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest


@contextmanager
def script_modules(monkeypatch: pytest.MonkeyPatch, names: Collection[str]) -> Iterator[SimpleNamespace]:
    """Fresh modules by name; whatever had these names before has them again afterwards."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = {name: sys.modules.pop(name, None) for name in names}
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
