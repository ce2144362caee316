"""HDF5 weight files, read with suspicion: nothing outside the file is followed, nothing damaged is trusted.

Two layouts, told apart by content, not by extension: Keras 3 (``layers/<class name>[_n]/vars/<index>``,
`keras.src.saving.saving_lib`) and legacy (attribute ``layer_names``, then ``weight_names`` per layer,
`keras.src.legacy.saving.legacy_h5_format`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

from kexport.errors import SourceError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"
MAX_OBJECTS = 200_000
MAX_BYTES = 16 * 10**9  # ten times the largest application; what a file declares, not what it has
MAX_EXPANSION = 100
_FREE_BYTES = 16 * 2**20  # a dataset below this size may be compressed as well as it can be
SAVE_HINT = 'save with model.save_weights("x.weights.h5")'


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
            _check_objects(file, told or f"weights {path}")
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise SourceError(
            f"{told or path} is damaged: {error}", hint=f"copy or download it again; {SAVE_HINT}"
        ) from error


def check_signature(path: Path) -> None:
    """Raise SourceError unless ``path`` is an existing file that begins like HDF5."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"weights {path} {what}; expected a .weights.h5 or .h5 file", hint="--weights FILE")
    try:
        with path.open("rb") as file:
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


def _check_objects(file: Any, told: str) -> None:
    """Refuse what could read outside the file or without end: links, external and virtual data, cycles."""
    import h5py

    seen: set[int] = set()
    declared = 0
    pending = [file]
    while pending:
        group = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise _refused(told, where, f"a {type(link).__name__}")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > MAX_OBJECTS:
                raise _refused(told, where, "a second link to an object" if address in seen else "one object too many")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append(item)
            else:
                declared += _dataset_bytes(item, told, where)
    if declared > MAX_BYTES:
        raise _refused(told, "/", f"{declared / 1e9:.1f} GB of data declared")


def _dataset_bytes(item: Any, told: str, where: str) -> int:
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise _refused(told, where, f"a {type(item).__name__}")
    if item.external or item.is_virtual:
        raise _refused(told, where, "data in another file")
    size = prod(int(axis) for axis in item.shape or ()) * int(item.dtype.itemsize)
    stored = int(item.id.get_storage_size())
    if MAX_BYTES >= size > max(_FREE_BYTES, MAX_EXPANSION * stored):  # above MAX_BYTES the whole file is refused
        raise _refused(told, where, f"{size} bytes of data in {stored}")
    return size


def _refused(told: str, where: str, what: str) -> SourceError:
    kind = "weights" if told.startswith("weights") else "model"
    return SourceError(f"{told}: {where} is {what}, which a {kind} file does not hold", hint=SAVE_HINT)


def _keras_layers(group: Any) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    pending = [("", group)]
    while pending:
        prefix, parent = pending.pop()
        for name, item in parent.items():
            if name == "vars" and hasattr(item, "items"):
                if len(item):
                    found[prefix] = tuple(item[key] for key in sorted(item, key=_index))
            elif hasattr(item, "items"):
                pending.append((f"{prefix}/{name}".lstrip("/"), item))
    return {key: value for key, value in sorted(found.items()) if not key.endswith("seed_generator")}


def _index(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdecimal() else (MAX_OBJECTS, key)


def legacy_layers(file: Any, path: Path) -> dict[str, tuple[Any, ...]]:
    """Layer name -> its datasets, of a group in the legacy layout. Raises SourceError for what is listed but absent."""
    found = {}
    for layer in _names(file, "layer_names"):
        if layer not in file:
            raise SourceError(f"weights {path}: layer {layer!r} is listed but absent", hint=SAVE_HINT)
        group = file[layer]
        names = _names(group, "weight_names")
        missing = [name for name in names if name not in group]
        if missing:
            raise SourceError(f"weights {path}: {missing[0]!r} of layer {layer!r} is absent", hint=SAVE_HINT)
        if names:
            found[layer] = tuple(group[name] for name in names)
    return found


def _names(group: Any, attribute: str) -> list[str]:
    """A list attribute, which Keras splits into ``name0``, ``name1``, ... where it passes 64 KB."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        keys = (f"{attribute}{number}" for number in count())
        parts = []
        for key in keys:
            if key not in group.attrs:
                break
            parts.append(group.attrs[key])
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]
