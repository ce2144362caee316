"""What the user named as SOURCE: an application, a family, a glob, a model file, a factory, or a model itself.

Only the text and the file's place are looked at: nothing is loaded here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import SourceError, UsageError
from kexport.sources import catalog
from kexport.sources.catalog import Application

WEIGHTS_SUFFIX = ".weights.h5"
SUFFIXES = (".keras", ".h5", ".hdf5")
_FACTORY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
GRAPH = "saved_model.pb"
"""What makes a folder a SavedModel."""
_EXPECTED = "a .keras file, a .h5 file that holds a whole model, or the folder of a SavedModel"
_SAVE_HINT = 'model.save("model.keras")'


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A saved model: a file, or the folder of a SavedModel."""

    path: str

    @property
    def name(self) -> str:
        """The stem of the file or folder, which names the artifacts."""
        return Path(self.path).stem


@dataclass(frozen=True, kw_only=True)
class Factory:
    """``package.module:function``: a function without arguments that returns a `keras.Model`."""

    text: str

    @property
    def name(self) -> str:
        """The function's name, which names the artifacts."""
        return re.split(r"[.:]", self.text)[-1]


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model of the Python program that asks, by the name that its artifacts get."""

    name: str


Named = Application | ModelFile | Factory | Live


def select(sources: Sequence[str | Live]) -> tuple[Named, ...]:
    """What the user named, each once, in the order of the request.

    A source with a suffix of `SUFFIXES` is a file, a folder with `GRAPH` a SavedModel, one like
    ``package.module:function`` a factory, anything else names applications (`catalog.select`). Raises UnknownNameError
    for a name that names nothing, SourceError for a file that is not there, UsageError where two sources would give
    artifacts of the same name.
    """
    chosen = list(dict.fromkeys(named for source in sources for named in _resolve(source)))
    names: dict[str, Named] = {}
    for named in chosen:
        if named.name in names:
            raise UsageError(
                f"two sources are called {named.name!r}, and so would be their artifacts: "
                f"{told(names[named.name])} and {told(named)}",
                hint="export them into different folders: -o DIR",
            )
        names[named.name] = named
    return tuple(chosen)


def command(named: Named) -> str:
    """What exports it, as it can be typed."""
    return "kexport.export(model)" if isinstance(named, Live) else f"kexport export {told(named)}"


def told(named: Named) -> str:
    """The source as the user typed it."""
    if isinstance(named, ModelFile):
        return named.path
    return named.text if isinstance(named, Factory) else named.name


def _resolve(source: str | Live) -> tuple[Named, ...]:
    if isinstance(source, Live):
        return (source,)
    if source.endswith(SUFFIXES):
        return (_file(source),)
    if _FACTORY.fullmatch(source):
        return (Factory(text=source),)
    if (Path(source) / GRAPH).is_file():
        return (ModelFile(path=str(Path(source))),)
    if Path(source).is_dir():
        raise SourceError(f"{source} is a folder; expected {_EXPECTED}", hint=_SAVE_HINT)
    if "/" in source or Path(source).is_file():
        what = "is neither an application nor a model file" if Path(source).exists() else "does not exist"
        raise SourceError(f"{source} {what}; expected {_EXPECTED}", hint=_SAVE_HINT)
    return catalog.select([source])


def _file(source: str) -> ModelFile:
    path = Path(source).expanduser()
    if source.endswith(WEIGHTS_SUFFIX):
        raise SourceError(
            f"{source} holds weights alone; expected {_EXPECTED}", hint=f"kexport export NAME --weights {source}"
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"{source} {what}; expected {_EXPECTED}", hint=_SAVE_HINT)
    if path.stem.startswith("."):
        raise SourceError(f"{source}: {path.stem!r} cannot name artifacts", hint="rename the file")
    return ModelFile(path=str(path))
