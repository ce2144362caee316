"""Seeded images that differ from one another: what networks without photographs are checked on.

Independent noise per pixel is no use: every such image looks the same to a network that averages, and
all outputs agree. These images are smooth random fields of several scales with their own colour,
contrast and brightness, so that features differ between images.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_SCALES = (2, 5, 13)
_MANY, _FEW, _LARGE_SIDE = 4, 2, 320


def check_count(shape: tuple[int, int, int]) -> int:
    """How many images a network of this input shape is checked on: fewer large ones, as they cost more."""
    return _MANY if max(shape[:2]) <= _LARGE_SIDE else _FEW


def seeded_images(
    count: int, shape: tuple[int, int, int], *, seed: int, low: float = 0.0, high: float = 255.0
) -> npt.NDArray[np.float32]:
    """``(count, height, width, channels)`` float32 in ``[low, high]``; the same numbers on every machine."""
    return (low + (high - low) * _images(count, shape, seed)).astype(np.float32)


@lru_cache(maxsize=1)
def _images(count: int, shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.float64]:
    """Between 0 and 1; kept, because a reference is made of the same images twice."""
    rng = np.random.default_rng([seed, zlib.crc32(b"kexport images")])
    return np.stack([_image(rng, *shape) for _ in range(count)])


def _image(rng: np.random.Generator, height: int, width: int, channels: int) -> npt.NDArray[np.float64]:
    total = rng.normal(0.0, 0.4, size=(1, 1, channels)) + rng.normal(0.0, 0.05, size=(height, width, channels))
    for cells in _SCALES:
        field = rng.normal(0.0, rng.uniform(0.3, 1.0), size=(cells, cells, channels))
        total = total + _enlarge(field, height, width)
    result: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-1.2 * total))
    return result


def _enlarge(field: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """Bilinear enlargement of ``(n, n, channels)``."""
    rows, columns = _weights(height, field.shape[0]), _weights(width, field.shape[1])
    result: npt.NDArray[np.float64] = np.einsum("hi,wj,ijc->hwc", rows, columns, field, optimize=True)
    return result


def _weights(length: int, cells: int) -> npt.NDArray[np.float64]:
    position = np.linspace(0, cells - 1, length)[:, np.newaxis]
    return np.asarray(np.clip(1.0 - np.abs(position - np.arange(cells)), 0.0, 1.0))
