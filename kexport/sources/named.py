"""What a source can be: an application, a model file, a factory, or a model itself. Each has a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kexport.sources.catalog import Application


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A saved model: a file, or the folder of a SavedModel. ``called`` tells it from another of the same stem."""

    path: str
    called: str = ""

    @cached_property
    def name(self) -> str:
        """The stem of the file or folder, which names the artifacts."""
        return self.called or Path(self.path).stem


@dataclass(frozen=True, kw_only=True)
class Factory:
    """``package.module:function``: a function without arguments that returns a `keras.Model`. ``called`` as above."""

    text: str
    called: str = ""

    @property
    def name(self) -> str:
        """The function's name, which names the artifacts."""
        return self.called or re.split(r"[.:]", self.text)[-1]


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model of the Python program that asks, by the name that its artifacts get."""

    name: str


Named = Application | ModelFile | Factory | Live
