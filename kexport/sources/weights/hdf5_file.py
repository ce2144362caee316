"""HDF5 weight files, read with suspicion: nothing outside the file is followed, nothing damaged is trusted.

Two layouts, told apart by content, not by extension: Keras 3 (``layers/<class name>[_n]/vars/<index>``,
`keras.src.saving.saving_lib`) and legacy (attribute ``layer_names``, then ``weight_names`` per layer,
`keras.src.legacy.saving.legacy_h5_format`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from kexport import files
from kexport.errors import SourceError
from kexport.sources.weights import hdf5_check
from kexport.sources.weights.hdf5_check import SAVE_HINT

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Layer key -> its datasets in order. Keys are paths below ``layers`` (Keras 3) or layer names (legacy)."""

    legacy: bool
    layers: dict[str, tuple[Any, ...]]


@contextmanager
def opened(path: Path, *, told: str | None = None) -> Iterator[Any]:
    """The `h5py.File` at ``path``, checked as a whole. Raises SourceError for everything that is wrong with it.

    ``told`` is what messages call it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            hdf5_check.check(file, path.stat().st_size, told or f"weights {path}")
            yield file
    except (OSError, RuntimeError, KeyError, UnicodeError) as error:
        raise SourceError(
            f"{told or path} is damaged: {error}", hint=f"copy or download it again; {SAVE_HINT}"
        ) from error


def check_signature(path: Path) -> None:
    """Raise SourceError unless ``path`` is an existing file that begins like HDF5."""
    if (files.there(path) and path.is_dir()) or not os.path.lexists(path):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"weights {path} {what}; expected a .weights.h5 or .h5 file", hint="--weights FILE")
    try:
        with files.regular(path) as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise SourceError(f"weights {path} cannot be read: {error.strerror}", hint="check its permissions") from error
    if start.startswith(ZIP_SIGNATURE):
        raise whole_model(path)
    if start != SIGNATURE:
        raise SourceError(
            f"weights {path}: not an HDF5 file ({path.stat().st_size} bytes, begins with {start!r})", hint=SAVE_HINT
        )


def stored_weights(file: Any, path: Path) -> StoredWeights:
    """The layers of an open file that hold variables. Raises SourceError for another kind of HDF5 file."""
    if "model_config" in file.attrs or "model_weights" in file:
        raise whole_model(path)
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return StoredWeights(legacy=True, layers=legacy_layers(file, path))
    if "layers" in file:
        return StoredWeights(legacy=False, layers=_keras_layers(file["layers"]))
    raise SourceError(
        f"weights {path}: an HDF5 file, but not one of Keras weights (it holds {', '.join(sorted(file)) or 'nothing'})",
        hint=SAVE_HINT,
    )


def whole_model(path: Path) -> SourceError:
    """The error for a model file where weights are expected."""
    return SourceError(
        f"{path} is a whole model; --weights wants a weights file",
        hint='model = keras.saving.load_model(...); model.save_weights("x.weights.h5")',
    )


def _keras_layers(group: Any) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    pending = [("", group)]
    while pending:
        prefix, parent = pending.pop()
        for name, item in parent.items():
            if name == "vars" and hasattr(item, "items"):
                if len(item):
                    found[prefix] = tuple(_dataset(item, key) for key in sorted(item, key=_index))
            elif hasattr(item, "items"):
                pending.append((f"{prefix}/{name}".lstrip("/"), item))
    return {key: value for key, value in sorted(found.items()) if not key.endswith("seed_generator")}


def _index(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdecimal() and len(key) < 10 else (hdf5_check.MAX_OBJECTS, key)


def legacy_layers(file: Any, path: Path) -> dict[str, tuple[Any, ...]]:
    """Layer name -> its datasets, of a group in the legacy layout. Raises SourceError for what is listed but absent."""
    import h5py

    found = {}
    for layer in _names(file, "layer_names"):
        group = file.get(layer) if _plain(layer) else None
        if not isinstance(group, h5py.Group):
            raise SourceError(f"weights {path}: layer {layer!r:.100} is listed but absent", hint=SAVE_HINT)
        names = _names(group, "weight_names")
        missing = [name for name in names if not _plain(name) or not isinstance(group.get(name), h5py.Dataset)]
        if missing:
            raise SourceError(f"weights {path}: {missing[0]!r:.100} of layer {layer!r:.100} is absent", hint=SAVE_HINT)
        if names:
            found[layer] = tuple(group[name] for name in names)
    return found


def _dataset(group: Any, key: str) -> Any:
    import h5py

    if not isinstance(group[key], h5py.Dataset):
        raise KeyError(f"{group.name}/{key} is a group, expected values")
    return group[key]


def _plain(name: str) -> bool:
    """Whether a listed name leads downwards only; ``/`` stands in the names of Keras 2."""
    return bool(name) and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


def _names(group: Any, attribute: str) -> list[str]:
    """A list attribute, which Keras splits into ``name0``, ``name1``, ... where it passes 64 KB."""
    keys = [attribute]
    if attribute not in group.attrs:
        keys = list(takewhile(lambda key: key in group.attrs, (f"{attribute}{number}" for number in count())))
    names = [text(name) for key in keys for name in _items(group.attrs[key], f"{group.name}: {key}")]
    if any(name is None for name in names):
        raise KeyError(f"{group.name}: {attribute} is not a list of names")
    return [name for name in names if name is not None]


def _items(value: Any, told: str) -> Any:
    if getattr(value, "ndim", 0) != 1 and not isinstance(value, list):
        raise KeyError(f"{told} is not a list of names")
    return value


def text(value: Any) -> str | None:
    """An attribute that is a text; None for anything else. Raises UnicodeError for bytes that are not UTF-8."""
    if isinstance(value, bytes):
        return value.decode()
    return str(value) if isinstance(value, str) else None
