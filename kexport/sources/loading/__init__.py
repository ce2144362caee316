"""Model files and factories: how a saved model or a user's function becomes a `keras.Model`.

A file is looked at before Keras sees it: its structure (`archive`, `kexport.sources.weights.hdf5_file`), and every
class that its configuration names (`config`). Code in it, a Lambda or a class outside Keras, is refused unless the user
trusts the file; then it is loaded, and runs. Nothing here runs in the main process, except for the signature
of a file: the worker loads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kexport import files
from kexport.errors import SourceError
from kexport.sources.loading import archive, bounded, config, factory, keras2, keras2_archive
from kexport.sources.weights import hdf5_file

__all__ = ["factory", "load"]
_HINT = "a source is model.keras, model.h5 or package.module:factory: kexport export --help"


def load(path: Path, *, trust: bool) -> Any:
    """The model in a ``.keras`` or legacy ``.h5`` file, not compiled.

    Raises SourceError, with nothing of the file executed, for a file that is missing, damaged, hostile, or holds
    code while ``trust`` is False.
    """
    start = _signature(path)
    if start == hdf5_file.SIGNATURE:
        return _load_legacy(path, trust=trust)
    if start.startswith(hdf5_file.ZIP_SIGNATURE):
        return _load_archive(path, trust=trust)
    raise SourceError(
        f"model {path}: neither a .keras archive nor an HDF5 file ({path.stat().st_size} bytes, begins with {start!r})",
        hint=_HINT,
    )


def configuration(path: Path) -> dict[str, Any]:
    """What the file says of its layers, checked, nothing of it built. Raises SourceError as `load` does."""
    start = _signature(path)
    if start == hdf5_file.SIGNATURE:
        with hdf5_file.opened(path, told=f"model {path}") as file:
            return _legacy_config(file, path)
    return archive.configuration(path)


def _signature(path: Path) -> bytes:
    try:
        with files.regular(path) as file:
            return file.read(len(hdf5_file.SIGNATURE))
    except OSError as error:
        raise SourceError(f"model {path} cannot be read: {error.strerror}", hint="kexport export --help") from error


def _load_archive(path: Path, *, trust: bool) -> Any:
    import keras

    with archive.unpacked(path) as (described, folder):
        custom = config.check(described, told=f"model {path}", trust=trust)
        (folder / archive.CONFIG).write_text(json.dumps(described))
        (folder / archive.METADATA).touch()  # Keras tells by the number of members whether there are assets
        written_by = keras2_archive.version(path)
        with bounded.building(path, written_by=written_by):
            if keras2_archive.is_of_keras2(written_by):
                model = keras2_archive.build(described, custom, written_by=written_by, path=path, trust=trust)
                keras2_archive.load_weights(model, folder, path)
            else:
                model = keras.saving.load_model(folder, custom_objects=custom, compile=False, safe_mode=not trust)
    return bounded.checked(model, path)


def _load_legacy(path: Path, *, trust: bool) -> Any:
    with hdf5_file.opened(path, told=f"model {path}") as file:
        found = _legacy_config(file, path)
        custom = config.check(found, told=f"model {path}", trust=trust)
        with bounded.told(path):
            described, operations = keras2.converted(found, version=_version(file), told=f"model {path}")
        with bounded.building(path, written_by=_version(file)):
            model = keras2.build(described, {**custom, **operations}, version=_version(file), trust=trust)
        bounded.require_model(model, path)
        keras2.load_weights(model, file, path)
    return bounded.checked(model, path)


def _version(file: Any) -> str:
    """The Keras that wrote the file; Keras 3 and late versions of tf.keras say it at the top, all with the weights."""
    places = (file.attrs, file["model_weights"].attrs)
    found = next((place["keras_version"] for place in places if "keras_version" in place), "2")
    return hdf5_file.text(found) or "2"


def _legacy_config(file: Any, path: Path) -> dict[str, Any]:
    import h5py

    text = hdf5_file.text(file.attrs.get("model_config"))
    if text is None or not isinstance(file.get("model_weights"), h5py.Group):
        raise SourceError(
            f"model {path} holds no model_config with model_weights: it is not a whole model",
            hint=f"kexport export NAME --weights {path}, or save it again: model.save(...)",
        )
    return config.parse(text, told=f"model {path}")
