"""Sources of one name in one request get names that tell them apart: by suffix, by folder, by module.

``a/model.keras`` and ``b/model.keras`` become ``a-model`` and ``b-model``, ``model.keras`` and ``model.h5`` become
``model-keras`` and ``model-h5``: the shortest that do. Applications and live models keep the names that they have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kexport.sources.named import Factory, ModelFile, Named

_DEEPEST = 8
SAVED_MODEL = "savedmodel"


def named(chosen: Sequence[Named]) -> tuple[Named, ...]:
    """The sources with their names; those for which none is found keep the one that they share."""
    groups: dict[str, list[Named]] = {}
    for each in chosen:
        groups.setdefault(each.name, []).append(each)
    longer: dict[Named, Named] = {}
    for group in groups.values():
        if len(group) > 1:
            longer |= _longer(group, frozenset(groups) | {each.name for each in longer.values()})
    return tuple(longer.get(each, each) for each in chosen)


def _longer(group: Sequence[Named], taken: frozenset[str]) -> dict[Named, Named]:
    """Those of a group that can have another name with it; none if no way is enough."""
    movable = [each for each in group if isinstance(each, (ModelFile, Factory))]
    for names in zip(*map(_ways, movable), strict=True):
        if len(set(names)) == len(names) and not taken & set(names):
            return {each: replace(each, called=name) for each, name in zip(movable, names, strict=True)}
    return {}


def _ways(source: ModelFile | Factory) -> Iterator[str]:
    """Its names from the shortest on: with its suffix, with a folder, with both, with two folders."""
    if isinstance(source, Factory):
        folders, stem, suffix = source.text.partition(":")[0].split("."), source.name, ""
    else:
        path = Path(os.path.abspath(source.path))  # noqa: PTH100 - without following links: as it was named
        folders, stem, suffix = list(path.parts[1:-1]), path.stem, path.suffix[1:] or SAVED_MODEL
    for depth in range(_DEEPEST):
        before = "-".join([*folders[len(folders) - depth :], stem] if depth else [stem]).lstrip(".-")
        yield before
        yield f"{before}-{suffix}" if suffix else before
