"""Which class an image shows, from where it lies: folders, file names, or a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kexport.errors import SourceError, UsageError
from kexport.images.photographs import Listing

MOST_BYTES = 64 * 2**20
_HEADERS = ("path", "file", "filename", "image")
_SHOWN = 10
_HINT = "--eval FILE.csv with lines path,class index (paths from the CSV's own folder)"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Images with the index of the class of each; ``labels`` is None where nothing says the class."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None

    def __post_init__(self) -> None:
        if len(self.names) != len(self.paths) or (self.labels is not None and len(self.labels) != len(self.paths)):
            raise ValueError("names, paths and labels differ in number")


def from_folder(found: Listing, *, classes: int, class_names: Sequence[str]) -> Labelled:
    """A folder per class, or files ``<class index>_*`` in one folder, or files without classes.

    Names of folders are resolved in this order, all in the same way: as class indices; as names of
    ``class_names``; by sorted order where there are exactly as many as ``classes`` (as ImageNet's wnids are).
    Raises UsageError where they cannot be resolved, or an index is not the network's.
    """
    names = tuple(found.name(path) for path in found.images)
    folders = [PurePosixPath(name).parts[0] if "/" in name else "" for name in names]
    if any(folders):
        if not all(folders):
            stray = names[folders.index("")]
            raise UsageError(f"{found.folder}: {stray} lies beside the folders of the classes", hint=_HINT)
        indices = _resolve(found.folder, sorted(set(folders)), classes=classes, class_names=class_names)
        labels: tuple[int, ...] | None = tuple(indices[folder] for folder in folders)
    else:
        labels = _prefixes(found.folder, names)
    _check_range(str(found.folder), names, labels, classes)
    return Labelled(names=names, paths=found.images, labels=labels)


def from_csv(path: Path, *, classes: int, class_names: Sequence[str]) -> Labelled:
    """Lines ``path,label``, with or without a header; the label is an index or one of ``class_names``.

    Without any second column there are no labels. Raises SourceError for a file that cannot be read, UsageError
    with every line that is wrong.
    """
    rows = _rows(path)
    known = {name: index for index, name in enumerate(class_names)}
    labelled = any(len(row) > 1 and row[1] for _, row in rows)
    problems = list(_problems(path, rows, known=known, labelled=labelled))
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UsageError("\n".join([*problems[:_SHOWN], *more]), hint=_HINT)
    names = tuple(row[0] for _, row in rows)
    labels = tuple(_index(row[1], known) or 0 for _, row in rows) if labelled else None
    _check_range(str(path), names, labels, classes)
    return Labelled(names=names, paths=tuple(path.parent / name for name in names), labels=labels)


def _resolve(folder: Path, names: Sequence[str], *, classes: int, class_names: Sequence[str]) -> Mapping[str, int]:
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    known = {name: index for index, name in enumerate(class_names)}
    if all(name in known for name in names):
        return {name: known[name] for name in names}
    if len(names) == classes:
        return {name: index for index, name in enumerate(names)}
    raise UsageError(
        f"{folder}: which classes are the {len(names)} folders {', '.join(names[:3])}, ...? expected class indices, "
        f"or one folder for each of the {classes} classes in their order",
        hint=f"rename the folders to class indices, or {_HINT}",
    )


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
        if path.stat().st_size > MOST_BYTES:
            raise SourceError(f"{path}: more than {MOST_BYTES // 2**20} MiB is no list of images", hint=_HINT)
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[field.strip() for field in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as CSV: {error}", hint=_HINT) from error
    rows = [(number, row) for number, row in enumerate(lines, 1) if any(row)]
    return rows[1:] if rows and rows[0][1][0].lower() in _HEADERS else rows


def _problems(
    path: Path, rows: Sequence[tuple[int, list[str]]], *, known: Mapping[str, int], labelled: bool
) -> Iterator[str]:
    if not rows:
        yield f"{path}: lists no images"
    for number, row in rows:
        if not (path.parent / row[0]).is_file():
            yield f"{path}:{number}: there is no file {row[0]!r}"
        elif labelled and (len(row) < 2 or _index(row[1], known) is None):
            given = row[1] if len(row) > 1 else ""
            yield f"{path}:{number}: the label is {given!r}, expected a class index"


def _index(text: str, known: Mapping[str, int]) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else known.get(text)
