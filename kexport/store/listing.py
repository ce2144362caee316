"""What lies in a directory, by one walk that looks at nothing twice, follows no link and leaves staging alone."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from kexport.files import STAGING, entries


class Kind(Enum):
    """What a name stands for; what a link leads to is not looked at."""

    FILE = "a file"
    FOLDER = "a folder"
    LINK = "a symbolic link"
    OTHER = "no regular file"


def walk(directory: Path) -> dict[str, Kind]:
    """Everything below the directory, sorted, by relative names with ``/`` between parts.

    Neither what begins as staging does is there nor what lies in it, nor the inside of folders that may not be read.
    """
    found: dict[str, Kind] = {}
    pending = [""]
    while pending:
        start = pending.pop()
        for entry in entries(f"{directory}/{start}"):
            if entry.name.startswith(STAGING):
                continue
            kind = found[start + entry.name] = _kind(entry)
            if kind is Kind.FOLDER:
                pending.append(f"{start}{entry.name}/")
    return dict(sorted(found.items(), key=lambda each: each[0].split("/")))


def inner_files(directory: Path, *endings: str) -> list[Path]:
    """What lies in a folder of the directory and ends so, sorted; hidden folders and names are left alone."""
    found = []
    for folder in entries(directory):
        if not folder.name.startswith(".") and folder.is_dir():
            inside = [entry.name for entry in entries(folder.path) if entry.name.endswith(endings)]
            found += [(folder.name, name) for name in inside if not name.startswith(".")]
    return [Path(f"{directory}/{folder}/{name}") for folder, name in sorted(found)]


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    return Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER


def kind_of(path: Path, directory: Path) -> str | None:
    """What a path is if it is not a plain file in plain folders; None if it is, or is not there."""
    inside = path.relative_to(directory).parts
    for place in (directory.joinpath(*inside[: end + 1]) for end in range(len(inside))):
        if place.is_symlink():
            return Kind.LINK.value
    if path.exists() and not path.is_file():
        return Kind.FOLDER.value if path.is_dir() else Kind.OTHER.value
    return None
