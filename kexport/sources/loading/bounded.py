"""Building what a file describes within bounds: of memory, of processor time, and of what its outputs would need.

A configuration of a few bytes can ask for any number of weights, for hours of tracing, or for an image of a terabyte.
All three are refused in words; what Keras itself raises becomes one message.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from kexport.errors import SourceError
from kexport.sources.loading import factory, words
from kexport.sources.weights.initial import float32_bytes, initial_values

BUILD_SECONDS = 300.0  # of processor time; the largest application takes less than 30
MAX_OUTPUT_VALUES = 2**31  # of one layer for one image: 8 GiB, more than any runtime here can index
_SLACK_BYTES = 64 * 2**20
_WEIGHT_COPIES = 4  # float16 weights become float32, and a nested model may be built twice
_HINT = "kexport export package.module:factory, with a function that builds and returns the model"


@contextmanager
def building(path: Path, *, written_by: str = "") -> Iterator[None]:
    """All bounds at once, around the calls that build the model of the file at ``path``, which that Keras wrote."""
    with told(path, written_by=written_by), initial_values(watch=_limit(path.stat().st_size, path)), timed(path):
        yield


@contextmanager
def told(path: Path, *, written_by: str = "") -> Iterator[None]:
    """What Keras raises becomes one message with its cause."""
    try:
        yield
    except (*factory.ERRORS, EOFError, NameError) as error:
        raise words.refusal(error, told=f"model {path}", written_by=written_by) from error


def _limit(file_bytes: int, path: Path) -> Callable[[Any], None]:
    """Refuses a configuration that asks for far more memory than its file has weights, before it is allocated."""
    left = [_WEIGHT_COPIES * file_bytes + _SLACK_BYTES]

    def take(variable: Any) -> None:
        left[0] -= float32_bytes(variable)
        if left[0] < 0:
            raise SourceError(
                f"model {path}: its layers ask for far more weights than its {file_bytes} bytes can hold "
                f"({variable.name} {tuple(variable.shape)})",
                hint=_HINT,
            )

    return take


@contextmanager
def timed(path: Path) -> Iterator[None]:
    """Refuse a configuration that keeps the processor busy for `BUILD_SECONDS`.

    The clock is a signal, which only a main thread gets: a worker's, where files are loaded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SourceError(
            f"model {path}: building its layers took more than {BUILD_SECONDS:g} s of processor time",
            hint=_HINT,
        )

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, BUILD_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def checked(model: Any, path: Path) -> Any:
    """``model`` if it is one, its weights are finite, and no layer's output is beyond every machine."""
    require_model(model, path)
    _require_finite(model, path)
    for layer in model.layers:
        for shape in _shapes(layer):
            values = prod(int(axis) for axis in shape[1:] if axis)
            if values > MAX_OUTPUT_VALUES:
                raise SourceError(
                    f"model {path}: the output of layer {layer.name!r} for one image has {values} values "
                    f"{tuple(shape[1:])}, expected at most {MAX_OUTPUT_VALUES}",
                    hint=_HINT,
                )
    return model


def require_model(model: Any, path: Path) -> None:
    """Raise SourceError unless the file held a `keras.Model`."""
    import keras

    if not isinstance(model, keras.Model):
        raise SourceError(f"model {path} holds a {type(model).__name__}, not a model", hint=_HINT)


def _shapes(layer: Any) -> Iterator[tuple[Any, ...]]:
    """The shapes of a layer's outputs, of every call; none where it was not called."""
    for node in getattr(layer, "_inbound_nodes", ()):
        for tensor in node.output_tensors:
            yield tuple(tensor.shape)


def _require_finite(model: Any, path: Path) -> None:
    import numpy as np

    for weight in model.weights:
        values = np.asarray(weight)
        bad = values.size - int(np.count_nonzero(np.isfinite(values.astype(np.float32)))) if values.size else 0
        if bad:
            raise SourceError(
                f"model {path}: {weight.path}: {bad} of {values.size} values are NaN or infinite",
                hint="a model with such weights computes nothing; save the weights of an earlier epoch",
            )
