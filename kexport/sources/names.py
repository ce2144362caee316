"""What the user named as SOURCE: an application, a family, a glob, a model file, a factory, or a model itself.

Many at once are a glob of files, a folder of them, or a list in a file. Only the text and the file's place are looked
at: nothing is loaded here.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from kexport import files
from kexport.errors import SourceError, UsageError
from kexport.options import fetched
from kexport.options.fetched import MODEL_SUFFIXES as SUFFIXES
from kexport.options.place import is_url, place
from kexport.sources import apart, at_url, catalog
from kexport.sources.at_url import GRAPH, WEIGHTS_SUFFIX
from kexport.sources.named import Factory, Live, ModelFile, Named

__all__ = ["Factory", "Live", "ModelFile", "Named", "command", "select", "told"]

_FACTORY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_EXPECTED = "a .keras file, a .h5 file that holds a whole model, or the folder of a SavedModel"
LIST = "@"
"""What begins a source that is a file with sources."""
MOST_LIST_BYTES = 16 * 2**20
_GLOB = re.compile(r"[*?[]")
_LISTS = (".txt", ".lst", ".list")
_LIST_HINT = "kexport export @models.txt, a file with one SOURCE a line"
_SAVE_HINT = 'model.save("model.keras")'


def select(sources: Sequence[str | Live]) -> tuple[Named, ...]:
    """What the user named, each once, in the order of the request.

    A source with a suffix of `SUFFIXES` is a file or a glob of files, a folder with `GRAPH` a SavedModel, any other
    folder all models in it, ``@FILE`` the sources that the file has, one a line, one like ``package.module:function``
    a factory, anything else names applications (`catalog.select`). Files and functions of one name get names that
    tell them apart (`apart`). Raises UnknownNameError for a name that names nothing, SourceError for a file that is
    not there, UsageError where two sources would give artifacts of the same name all the same.
    """
    once: dict[object, Named] = {}
    for source in sources:
        for named in _resolve(source):
            once.setdefault(_place(named), named)
    chosen = apart.named(tuple(once.values()))
    names: dict[str, Named] = {}
    for named in chosen:
        if named.name in names:
            raise UsageError(
                f"two sources are called {named.name!r}, and so would be their artifacts: "
                f"{told(names[named.name])} and {told(named)}",
                hint="export them one after the other, with --name NAME",
            )
        names[named.name] = named
    return chosen


def _place(named: Named) -> object:
    """What two words for one source share: the place of a file, without following links; else the source itself."""
    if not isinstance(named, ModelFile) or is_url(named.path):
        return named
    return os.path.abspath(named.path)  # noqa: PTH100


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
    if is_url(source):
        return _at_url(source)
    if several := _several(source):
        return tuple(named for each in several for named in _resolve(each))
    if source.endswith(SUFFIXES):
        return (_file(source),)
    if _FACTORY.fullmatch(source):
        return (Factory(text=source),)
    return _folder_or_name(source)


def _at_url(source: str) -> tuple[Named, ...]:
    here = fetched.of_this_machine(source)
    return at_url.models(source) if here is None else _resolve(here)


def _folder_or_name(source: str) -> tuple[Named, ...]:
    if (Path(source) / GRAPH).is_file():
        return (ModelFile(path=_typed(Path(source))),)
    place(source)
    if "/" in source or Path(source).is_file():
        what = "is neither an application nor a model file" if Path(source).exists() else "does not exist"
        listed = source.endswith(_LISTS) and Path(source).is_file()
        hint = f"kexport export {LIST}{source}, if it names one SOURCE a line" if listed else _SAVE_HINT
        raise SourceError(f"{source} {what}; expected {_EXPECTED}", hint=hint)
    return catalog.select([source])


def _several(source: str) -> list[str]:
    """The sources that a list, a folder or a glob of files stands for; none if it is no such thing."""
    path = Path(source)
    if files.there(path) and path.is_dir() and not (path / GRAPH).is_file() and not source.endswith(SUFFIXES):
        return _within(path)
    if source.startswith(LIST) and not path.exists():
        return _lines(source)
    globbed = _GLOB.search(source) and (source.endswith(SUFFIXES) or "/" in source)
    return _matching(source) if globbed and not path.exists() else []


def _lines(source: str) -> list[str]:
    """The sources that a list names, relative to the present folder as if they were typed.

    A line that begins with # is a comment: a file of such a name is ``./#name``. A list is data: it names models,
    never code that builds one.
    """
    path = Path(fetched.local(source.removeprefix(LIST))).expanduser()
    try:
        text = files.read(path, limit_bytes=MOST_LIST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise SourceError(f"{source}: {path} cannot be read as a list of sources: {why}", hint=_LIST_HINT) from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    nested = next((line for line in found if line.startswith(LIST)), None)
    if nested is not None or not found:
        what = f"names another list, {nested}" if nested else "names no source"
        raise SourceError(f"{source} {what}; expected one source a line", hint=_LIST_HINT)
    code = next((line for line in found if _FACTORY.fullmatch(line)), None)
    if code is not None:
        raise SourceError(f"{source} names code, {code}; expected models alone", hint=f"kexport export {code}")
    return found


def _matching(source: str) -> list[str]:
    """The models that a glob of files matches, by their names."""
    paths = sorted(glob.glob(str(Path(source).expanduser()), recursive=True))  # noqa: PTH207 - any folder, as typed
    found = [path for path in paths if _is_model(Path(path))]
    if not found:
        raise SourceError(f"{source} matches no model; expected {_EXPECTED}", hint=_SAVE_HINT)
    return found


def _within(folder: Path) -> list[str]:
    """The models of a folder and of the folders in it, by their names; hidden ones are left alone."""
    seen = (path for path in sorted(folder.rglob("*")) if "/." not in f"/{path.relative_to(folder)}")
    found = [str(path) for path in seen if _is_model(path)]
    if not found:
        raise SourceError(f"{folder} is a folder; expected {_EXPECTED}", hint=_SAVE_HINT)
    return found


def _is_model(path: Path) -> bool:
    """Whether a file or a folder holds a whole model, by its name and place."""
    file = path.name.endswith(SUFFIXES) and not path.name.endswith(WEIGHTS_SUFFIX) and path.is_file()
    return file or (path / GRAPH).is_file()


def _file(source: str) -> ModelFile:
    place(source)  # s3:/bucket/model.keras has a slash too few
    path = Path(source).expanduser()
    if source.endswith(WEIGHTS_SUFFIX):
        raise SourceError(
            f"{source} holds weights alone; expected {_EXPECTED}", hint=f"kexport export NAME --weights {source}"
        )
    if not (files.there(path) and path.is_file()):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"{source} {what}; expected {_EXPECTED}", hint=_SAVE_HINT)
    if path.stem.startswith("."):
        raise SourceError(f"{source}: {path.stem!r} cannot name artifacts", hint="rename the file")
    return ModelFile(path=_typed(path))


def _typed(path: Path) -> str:
    """A path as it can be typed: no option, no list; pathlib leaves ``./`` out."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", LIST)) else text
