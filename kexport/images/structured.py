"""Images of plain structure that differ as much as images can: flat, ramps, boards and stripes, each to its limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CELLS = 4


def structured_images(count: int, shape: tuple[int, int, int], *, low: float, high: float) -> npt.NDArray[np.float32]:
    """``(count, height, width, channels)`` float32 in ``[low, high]``: black, white, then more of `_kinds`, in turn."""
    kinds = _kinds(*shape)
    images = np.stack([kinds[index % len(kinds)] for index in range(count)])
    return (low + (high - low) * images).astype(np.float32)


def _kinds(height: int, width: int, channels: int) -> list[npt.NDArray[np.float64]]:
    rows, columns = np.linspace(0, 1, height)[:, np.newaxis, np.newaxis], np.linspace(0, 1, width)[:, np.newaxis]
    tint = np.linspace(1, 0, channels)
    board = (np.floor(rows * _CELLS) + np.floor(columns * _CELLS)) % 2
    flat = np.zeros((height, width, channels))
    return [flat, flat + 1.0, flat + board * tint, flat + (columns > rows) * tint[::-1], flat + rows * columns]
