"""Code of a model that is not in its file: the sources of its custom classes, found without running any of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from kexport.errors import SourceError
from kexport.sources import loading


def sources(path: Path) -> Mapping[str, Path]:
    """Every Python file of the packages whose classes a model file names, Keras's apart, by its name in them.

    None of a file that cannot be read as a model: who loads it says why.
    """
    try:
        described = loading.configuration(path)
    except SourceError:
        return {}
    packages = {name.partition(".")[0] for name in loading.config.modules(described)}
    return {name: file for package in sorted(packages) for name, file in _files(package).items()}


def _elsewhere(package: str) -> ModuleSpec | None:
    """As finders of editable installs have it; a module that runs already may have none."""
    try:
        return importlib.util.find_spec(package)
    except ValueError:
        return None


def _files(package: str) -> dict[str, Path]:
    """The files of one package or module, where an import would find it; nothing where it would not."""
    found = PathFinder.find_spec(package, [str(Path.cwd()), *sys.path]) or _elsewhere(package)
    if found is None:
        return {}
    if not found.submodule_search_locations:
        return {package: Path(found.origin)} if found.origin else {}
    roots = [Path(root) for root in found.submodule_search_locations]
    return {f"{package}/{file.relative_to(root)}": file for root in roots for file in sorted(root.rglob("*.py"))}
