"""How far rounding alone moves what a network says: Keras against itself, each layer's result rounded otherwise.

Two right programs add the same numbers in another order; every layer's sums then differ by about one unit in the last
place of their size, and the layers behind may amplify that. Here each layer's result is moved by seeded normal numbers
of that size (Monte Carlo arithmetic: D. S. Parker 1997, "Monte Carlo Arithmetic: exploiting randomness in
floating-point arithmetic"), several inputs at once, so that the kernels of another batch size run as well. For
MobileNet, ResNet and EfficientNet with any weights the result is 0.7 to 2 times what ONNX Runtime differs from Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kexport.sources import final
from kexport.sources.final import Call

ULP = 2.0**-23
"""The distance of neighbouring float32 numbers, relative to their size, at most."""
_LARGEST = 1e3
"""No number is moved by more units in its own last place: beside the -1e9 of a mask others are not made of it."""


def rounded(finals: Mapping[int, Any], *, seed: int) -> Call:
    """A call of a layer that rounds its result otherwise; before its softmax or sigmoid where it ends in one."""
    rng = np.random.default_rng(seed)

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in finals:
            return final.after(layer, _moved(final.before(layer, *args, **kwargs), rng))
        result = layer(*args, **kwargs)
        if isinstance(result, (list, tuple)):
            return [_moved(value, rng) for value in result]
        return _moved(result, rng)

    return run


def rounded_before(finals: Mapping[int, Any], *, seed: int) -> Call:
    """As `rounded`, with the last step left out: what reaches the softmax or sigmoid of ``finals``."""
    rng = np.random.default_rng(seed)
    call = rounded({}, seed=seed + 1)

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in finals:
            return _moved(final.before(layer, *args, **kwargs), rng)
        return call(layer, *args, **kwargs)

    return run


def _moved(value: Any, rng: np.random.Generator) -> Any:
    """The value plus noise of one `ULP` of its size: that of its channel in all places, or of its whole row.

    A mask that comes with the value stays with it.
    """
    array = np.asarray(value)
    if array.dtype != np.float32 or array.size == 0:
        return value
    axes = tuple(range(array.ndim - 1)) if array.ndim > 2 else (array.ndim - 1,)
    size = np.sqrt(np.square(array, dtype=np.float64).mean(axis=axes, keepdims=True))
    outlying = np.where(array == 0, size, np.minimum(size, _LARGEST * np.abs(array, dtype=np.float64)))
    noise = rng.standard_normal(array.shape, dtype=np.float32) * (ULP * outlying).astype(np.float32)
    mask = getattr(value, "_keras_mask", None)
    if mask is None:
        return array + noise
    moved = value + noise  # a tensor, as an array holds no mask
    moved._keras_mask = mask  # noqa: SLF001 - where Keras keeps it
    return moved
