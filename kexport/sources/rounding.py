"""How far rounding alone moves what a network says: Keras against itself, each layer's result rounded otherwise.

Two right programs add the same numbers in another order; every layer's sums then differ by about one unit in the last
place of their size, and the layers behind may amplify that. Here each layer's result is moved by seeded normal numbers
of that size (Monte Carlo arithmetic: D. S. Parker 1997, "Monte Carlo Arithmetic: exploiting randomness in
floating-point arithmetic"), several inputs at once, so that the kernels of another batch size run as well. For
MobileNet, MobileNetV3Small, EfficientNetB0 and ResNet50 the result is 1.5 to 2.2 times what ONNX Runtime differs from
Keras.

A runtime adds the ``n`` numbers of a mean one after the other, which is off by about ``sqrt(n) / 2`` such units (N. J.
Higham and T. Mary 2019, "A new approach to probabilistic rounding error analysis"), where TensorFlow adds in pairs.
Numbers that differ by less than the last place of their sum are rounded the same way at every step, by 0.29 of that
place (the deviation of a uniform number), and the steps of the second half make most of it: ``0.29 * n / 2 * 0.75``,
about ``n / 10``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.sources.backend import load_keras, masked

Call = Callable[..., Any]
ULP = 2.0**-23
"""The distance of neighbouring float32 numbers, relative to their size, at most."""
ADDED_UP = (
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "AveragePooling1D",
    "AveragePooling2D", "AveragePooling3D", "Mean", "Sum",
)  # fmt: skip
"""Layers and operations, by their class, that add many numbers up and do nothing else."""
_LARGEST = 1e3
"""No number is moved by more units in its own last place: beside the -1e9 of a mask others are not made of it."""
_POOL = 1_048_573
"""So many normal numbers are drawn; each value takes them from another place on, and round again.

A prime, so that no channel meets one number in two of its places."""


class Noise:
    """Moves values as another rounding would: seeded, so that the same values in the same order move alike.

    Of ``rows`` at once only the ``last`` are moved; all of them unless said.
    """

    def __init__(self, *, seed: int, last: int = 1, rows: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self._pool = self._rng.standard_normal(_POOL, dtype=np.float32) * np.float32(ULP)
        self._last, self._rows = last, rows

    def after(self, call: Call) -> Call:
        """As ``call``, with its result rounded otherwise."""

        def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
            result = call(layer, *args, **kwargs)
            if isinstance(result, (list, tuple)):
                return [self.moved(value) for value in result]
            return self.moved(result, units=_units(layer, args, result))

        return run

    def moved(self, value: Any, *, units: Any = 1.0) -> Any:
        """The value plus noise of ``units`` `ULP` of its size: that of its channel in all places, or of its whole row.

        A mask that comes with the value stays with it.
        """
        array = np.asarray(value)
        if array.dtype != np.float32 or array.size == 0 or array.ndim == 0 or len(array) % self._rows:
            return value
        still = len(array) // self._rows * (self._rows - self._last)
        moved = array.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number stays none
            moved[still:] += self._noise(array[still:]) * np.asarray(units, np.float32)
        return masked(_tensor(moved), getattr(value, "_keras_mask", None))

    def _noise(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        size = _sizes(array)
        noise = np.abs(array)
        noise *= np.float32(_LARGEST)
        np.copyto(noise, np.inf, where=noise == 0)
        np.minimum(noise, size, out=noise)
        noise *= self._drawn(array.size).reshape(array.shape)
        return noise

    def _drawn(self, count: int) -> npt.NDArray[np.float32]:
        start = int(self._rng.integers(_POOL))
        if start + count <= _POOL:
            return self._pool[start : start + count]
        return np.resize(np.roll(self._pool, -start), count)


def _units(layer: Any, args: tuple[Any, ...], result: Any) -> Any:
    """Of how many `ULP` each channel of the result is off: more than one where many numbers are added up."""
    if type(layer).__name__ not in ADDED_UP or not args or not getattr(args[0], "shape", ()):
        return 1.0
    given, shape = np.asarray(args[0]), tuple(result.shape)
    added = given.size / max(1, prod(shape))
    flat = given.reshape(-1, given.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number stays none
        alike = flat.std(axis=0) < added * ULP * np.abs(flat.mean(axis=0))
    units = np.maximum(1.0, np.where(alike, added / 10, sqrt(added) / 2)).astype(np.float32)
    return units if shape[-1:] == units.shape else float(units.max())


def _sizes(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The root of the mean square: of each channel in all places, or of each row."""
    if array.ndim <= 2:
        square = np.square(array, dtype=np.float64).mean(axis=-1, keepdims=True)
    else:
        flat = array.reshape(-1, array.shape[-1])
        square = np.einsum("pc,pc->c", flat, flat) / np.float32(len(flat))
        if not np.isfinite(square).all():
            square = np.square(flat, dtype=np.float64).mean(axis=0)
    found: npt.NDArray[np.float32] = np.sqrt(square).astype(np.float32)
    return found


def _tensor(array: npt.NDArray[np.float32]) -> Any:
    """As Keras's layers take it without looking any further."""
    return load_keras().ops.convert_to_tensor(array)
