"""Model files and factories: how a saved model or a user's function becomes a `keras.Model`.

A file is looked at before Keras sees it: its structure (`archive`, `kexport.sources.weights.hdf5_file`), and every
class that its configuration names (`config`). Code in it, a Lambda or a class outside Keras, is refused unless the user
trusts the file; then it is loaded, and runs. Nothing here runs in the main process, except for the signature
of a file: the worker loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import archive, config, factory, keras2
from kexport.sources.weights import hdf5_file
from kexport.sources.weights.initial import float32_bytes, initial_values

__all__ = ["factory", "load"]
_SAVE_HINT = 'save it again with a current Keras: model.save("model.keras")'
_SLACK_BYTES = 64 * 2**20
_WEIGHT_COPIES = 4  # float16 weights become float32, and a nested model may be built twice


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
        hint=_SAVE_HINT,
    )


def _signature(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(hdf5_file.SIGNATURE))
    except OSError as error:
        raise SourceError(f"model {path} cannot be read: {error.strerror}", hint="kexport export --help") from error


def _load_archive(path: Path, *, trust: bool) -> Any:
    import keras

    with archive.checked(path) as described:
        custom = config.check(described, told=f"model {path}", trust=trust)
        with _told(path), initial_values(watch=_limit(path.stat().st_size, path)):
            model = keras.saving.load_model(path, custom_objects=custom, compile=False, safe_mode=not trust)
    return _finite(model, path)


def _load_legacy(path: Path, *, trust: bool) -> Any:
    with hdf5_file.opened(path, told=f"model {path}") as file:
        described, operations = keras2.converted(
            _legacy_config(file, path), version=_version(file), told=f"model {path}"
        )
        custom = config.check(described, told=f"model {path}", trust=trust)
        with _told(path), initial_values(watch=_limit(path.stat().st_size, path)):
            model = keras2.build(described, {**custom, **operations}, trust=trust)
        keras2.load_weights(model, file, path)
    return _finite(model, path)


def _version(file: Any) -> str:
    """The Keras that wrote the file; Keras 3 and late versions of tf.keras say it at the top, all with the weights."""
    found = file.attrs.get("keras_version", file["model_weights"].attrs.get("keras_version", "2"))
    return found.decode() if isinstance(found, bytes) else str(found)


def _legacy_config(file: Any, path: Path) -> dict[str, Any]:
    text = file.attrs.get("model_config")
    if text is None or "model_weights" not in file:
        raise SourceError(
            f"model {path} holds no model_config with model_weights: it is not a whole model",
            hint=f"kexport export NAME --weights {path}, or save it again: model.save(...)",
        )
    return config.parse(text, told=f"model {path}")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What Keras raises becomes one message, with the first line of Keras's words."""
    try:
        yield
    except factory.ERRORS as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SourceError(f"model {path}: Keras cannot load it: {words:.300}", hint=_SAVE_HINT) from error


def _limit(file_bytes: int, path: Path) -> Callable[[Any], None]:
    """Refuses a configuration that asks for far more memory than its file has weights, before it is allocated."""
    left = [_WEIGHT_COPIES * file_bytes + _SLACK_BYTES]

    def take(variable: Any) -> None:
        left[0] -= float32_bytes(variable)
        if left[0] < 0:
            raise SourceError(
                f"model {path}: its layers ask for far more weights than its {file_bytes} bytes can hold "
                f"({variable.name} {tuple(variable.shape)})",
                hint=_SAVE_HINT,
            )

    return take


def _finite(model: Any, path: Path) -> Any:
    import numpy as np

    if not hasattr(model, "weights"):
        raise SourceError(f"model {path} holds a {type(model).__name__}, not a model", hint=_SAVE_HINT)
    for weight in model.weights:
        values = np.asarray(weight)
        bad = values.size - int(np.count_nonzero(np.isfinite(values.astype(np.float32)))) if values.size else 0
        if bad:
            raise SourceError(
                f"model {path}: {weight.path}: {bad} of {values.size} values are NaN or infinite",
                hint="a model with such weights computes nothing; save the weights of an earlier epoch",
            )
    return model
