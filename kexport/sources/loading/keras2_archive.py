"""``.keras`` archives of TensorFlow 2.12 to 2.15: the container of Keras 3 with the configuration of Keras 2.

The configuration names modules beside classes, and is otherwise that of a legacy ``.h5`` file; the weights lie where
Keras 3 looks for them. So the modules are taken out, the rest is converted as `keras2` does, and every weight must
come from the file: before they are read all are NaN.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import SourceError
from kexport.sources.loading import archive, keras2
from kexport.sources.weights import finalize

_ONLY_IN_ARCHIVES = {"module", "registered_name", "build_config", "shared_object_id", "compile_config"}


def version(path: Path) -> str:
    """The Keras that wrote a checked archive; empty where it does not say."""
    with zipfile.ZipFile(path) as opened:
        if archive.METADATA not in opened.namelist():
            return ""
        try:
            found = json.loads(opened.read(archive.METADATA))
        except (ValueError, RecursionError):
            return ""
    return str(found.get("keras_version", "")) if isinstance(found, dict) else ""


def is_of_keras2(written_by: str) -> bool:
    """Whether that version is of Keras 2 or tf.keras."""
    return written_by.startswith("2.")


def build(described: dict[str, Any], custom: Mapping[str, Any], *, written_by: str, path: Path, trust: bool) -> Any:
    """The model, without its weights. Raises SourceError for what Keras 3 cannot express."""
    legacy, operations = keras2.converted(_legacy(described), version=written_by, told=f"model {path}")
    return keras2.build(legacy, {**custom, **operations}, version=written_by, trust=trust)


def load_weights(model: Any, folder: Path, path: Path) -> None:
    """Give ``model`` the weights of the archive at ``path``, unpacked in ``folder``.

    Raises SourceError, which names the weight, where one is not there.
    """
    for weight in model.weights:
        if np.issubdtype(np.dtype(weight.dtype), np.floating):
            weight.assign(np.full(weight.shape, np.nan, weight.dtype))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # what it would say is checked below
        model.load_weights(folder / archive.WEIGHTS)
    missing = next((weight.path for weight in model.weights if np.isnan(np.asarray(weight, np.float32)).all()), None)
    if missing is not None:
        raise SourceError(
            f"model {path}: its weights have no {missing}",
            hint="kexport export package.module:factory, which builds the model with Keras 3 and loads its weights",
        )
    finalize(model)


def _legacy(value: Any) -> Any:
    """Every object as ``class_name`` and ``config``; functions by their name, as Keras 2 had them in ``.h5`` files."""
    if isinstance(value, list):
        return [_legacy(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value or "config" not in value:
        return {key: _legacy(item) for key, item in value.items()}
    if value["class_name"] == "function" and isinstance(value["config"], str):
        return value["config"]
    return {key: _legacy(item) for key, item in value.items() if key not in _ONLY_IN_ARCHIVES}
