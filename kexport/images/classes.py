"""Which class an image shows, from where it lies: folders, file names, or a CSV file."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kexport import files
from kexport.errors import SourceError, UsageError
from kexport.images.photographs import Listing

MOST_BYTES = 64 * 2**20
_HEADERS = ("path", "file", "filename", "image")
_SHOWN = 10
_HINT = "--eval FILE.csv with lines path,class index (paths from the CSV's own folder)"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Images with the index of the class of each; ``labels`` is None where nothing says the class.

    ``guess`` says how classes were found where only an order speaks for them; else it is empty.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    guess: str = ""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.paths) or (self.labels is not None and len(self.labels) != len(self.paths)):
            raise ValueError("names, paths and labels differ in number")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The model's ``count`` classes, and what they are called: ``names`` and ``identities`` by index, or nothing.

    A label of an image is a name if the model has names; in upper or lower case, with spaces, hyphens or underscores.
    A number that is no name is an index.
    """

    count: int
    names: Sequence[str] = ()
    identities: Sequence[str] = ()

    def indices(self, labels: Collection[str]) -> dict[str, int]:
        """The index of each label that is known. All are names, or all identities, or each is a name or an index."""
        for own in (self.names, self.identities):
            exact = {name: index for name, index in _once(own) if index is not None}
            if all(label in exact for label in labels):
                return {label: exact[label] for label in labels}
        plain = {name: index for name, index in _once([_plain(name) for name in self.names]) if index is not None}
        found = {label: self._index(label, plain) for label in labels}
        return {label: index for label, index in found.items() if index is not None}

    def told(self) -> str:
        """The names that there are, for a message."""
        return _listed(self.names) if self.names else "none: --labels FILE names them"

    def twice(self, label: str) -> bool:
        """Whether several classes have this name."""
        return [_plain(name) for name in self.names].count(_plain(label)) > 1

    def _index(self, label: str, plain: Mapping[str, int]) -> int | None:
        if _plain(label) in plain:
            return plain[_plain(label)]
        return int(label) if re.fullmatch(r"\d{1,9}", label) else None


def _once(names: Sequence[str]) -> Iterator[tuple[str, int | None]]:
    """Each name with its index; None for one that stands twice."""
    counts = Counter(names)
    yield from ((name, index if counts[name] == 1 else None) for index, name in enumerate(names))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > _SHOWN else shown


def from_folder(found: Listing, *, classes: Classes) -> Labelled:
    """A folder per class, or files ``<class index>_*`` in one folder, or files without classes.

    Names of folders are labels of ``classes``. Where the model has no names and there is exactly one folder for each
    class, their alphabetical order is taken, as Keras's `image_dataset_from_directory` does, and said to be a guess.
    Raises UsageError where they cannot be resolved, or an index is not the network's.
    """
    guess = ""
    names = tuple(found.name(path) for path in found.images)
    folders = [PurePosixPath(name).parts[0] if "/" in name else "" for name in names]
    if any(folders):
        if not all(folders):
            stray = names[folders.index("")]
            raise UsageError(f"{found.folder}: {stray} lies beside the folders of the classes", hint=_HINT)
        indices, guess = _resolve(found.folder, sorted(set(folders)), classes)
        labels: tuple[int, ...] | None = tuple(indices[folder] for folder in folders)
    else:
        labels = _prefixes(found.folder, names)
    _check_range(str(found.folder), names, labels, classes.count)
    return Labelled(names=names, paths=found.images, labels=labels, guess=guess)


def from_csv(path: Path, *, classes: Classes) -> Labelled:
    """Lines ``path,label``, with or without a header; the label is one of ``classes``, by name or index.

    Without any second column there are no labels. Raises SourceError for a file that cannot be read, UsageError
    with every line that is wrong.
    """
    rows = _rows(path)
    labelled = any(len(row) > 1 and row[1] for _, row in rows)
    known = classes.indices({row[1] for _, row in rows if len(row) > 1 and row[1]})
    problems = list(_problems(path, rows, known=known, labelled=labelled, classes=classes))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UsageError("\n".join([*problems[:_SHOWN], *more]), hint=_HINT)
    names = tuple(row[0] for _, row in rows)
    labels = tuple(known[row[1]] for _, row in rows) if labelled else None
    _check_range(str(path), names, labels, classes.count)
    return Labelled(names=names, paths=tuple(path.parent / name for name in names), labels=labels)


def listed(path: Path) -> tuple[Path, ...]:
    """The images that a CSV lists, there or not. Raises SourceError for a file that cannot be read."""
    return tuple(path.parent / row[0] for _, row in _rows(path))


def _resolve(folder: Path, names: Sequence[str], classes: Classes) -> tuple[Mapping[str, int], str]:
    """The class of each folder, and how it was guessed; not guessed where the model has names."""
    known = classes.indices(names)
    strange = [name for name in names if name not in known]
    if not strange:
        return known, ""
    if classes.names:
        raise UsageError(
            f"{folder}: {_listed(strange)}: {_what(strange, classes)}; the labels are {classes.told()}",
            hint=f"rename the folders to labels or class indices, or {_HINT}",
        )
    if len(names) == classes.count:
        order = _listed([f"{name} {index}" for index, name in enumerate(names)])
        guess = f"which class a folder shows was guessed from the alphabet: {order}; --labels FILE settles it"
        return {name: index for index, name in enumerate(names)}, guess
    raise UsageError(
        f"{folder}: which classes are the {len(names)} folders {', '.join(names[:3])}, ...? expected class indices, "
        f"or one folder for each of the {classes.count} classes in their order",
        hint=f"--labels FILE with the names in the order of the outputs; or {_HINT}",
    )


def _what(strange: Sequence[str], classes: Classes) -> str:
    if classes.twice(strange[0]):
        return f"two classes are called {strange[0]}"
    return "is no label of the model" if len(strange) == 1 else "are no labels of the model"


def _prefixes(folder: Path, names: Sequence[str]) -> tuple[int, ...] | None:
    found = [re.match(r"(\d{1,9})_", name) for name in names]
    if not any(found):
        return None
    if not all(found):
        plain = names[found.index(None)]
        raise UsageError(
            f"{folder}: {plain} has no class index in front, other files have one: expected all or none", hint=_HINT
        )
    return tuple(int(match[1]) for match in found if match is not None)


def _check_range(text: str, names: Sequence[str], labels: Sequence[int] | None, classes: int) -> None:
    for name, label in zip(names, labels or (), strict=False):
        if not 0 <= label < classes:
            raise UsageError(f"{text}: {name} is of class {label}, the network has 0 to {classes - 1}", hint=_HINT)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and fields, header and empty lines left out."""
    try:
        text = files.read(path, limit_bytes=MOST_BYTES).decode("utf-8-sig")
        lines = [[field.strip() for field in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"{path}: cannot be read as CSV: {told}", hint=_HINT) from error
    rows = [(number, row) for number, row in enumerate(lines, 1) if any(row)]
    return rows[1:] if rows and rows[0][1][0].lower() in _HEADERS else rows


def _problems(
    path: Path, rows: Sequence[tuple[int, list[str]]], *, known: Mapping[str, int], labelled: bool, classes: Classes
) -> Iterator[str]:
    if not rows:
        yield f"{path}: lists no images"
    for number, row in rows:
        if not os.path.isfile(path.parent / row[0]):  # noqa: PTH113 - what cannot be a name is no file
            yield f"{path}:{number}: there is no file {row[0]!r}"
        elif labelled and (len(row) < 2 or row[1] not in known):
            given = row[1] if len(row) > 1 else ""
            twice = ", which two classes are called" if classes.twice(given) else ""
            names = f" or one of {classes.told()}" if classes.names else ""
            yield f"{path}:{number}: the label is {given!r}{twice}, expected a class index{names}"
