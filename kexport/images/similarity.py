"""What images look like, in numbers that are cheap to keep: noise, and near-duplicates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_ROWS, _COLUMNS = 8, 8
_BITS, _BANDS = 64, 6
NEAR_BITS = _BANDS - 1  # two hashes that differ in fewer bits than there are bands share one band whole
"""Of 500 photographs, copies at JPEG quality 75, resized or noisy differ in at most 4 bits, others in 8 and more."""
_MARGIN = 0.05  # of the deviation of the cells: the noise of a compression makes no edge in a flat background
_SIDE, _EVEN = 16, 1e-6
LEAST_LIKENESS = 0.99
"""Copies of digits, letters and photographs, compressed at quality 75, resized or with noise, correlate by 0.99 to 1
in 16 x 16 cells. 1,797 handwritten digits have 33,257 pairs whose 64 bits are near, of which 6 pass this."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an image looks like: 64 bits of its rough structure, and its 16 x 16 cells without mean and scale.

    Bits are cheap to search in; in drawings on an even ground few of them say anything, so cells decide: int8, as
    hexadecimal digits. Rows of numbers have no cells, and are alike where their bits are.
    """

    bits: int
    cells: str = ""

    def like(self, other: Look) -> bool:
        """Whether one is nearly a copy of the other."""
        if (self.bits ^ other.bits).bit_count() > NEAR_BITS:
            return False
        if not (self.cells and other.cells):
            return True
        ours, theirs = (np.frombuffer(bytes.fromhex(each.cells), np.int8).astype(float) for each in (self, other))
        lengths = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
        return float(ours @ theirs) >= LEAST_LIKENESS * lengths if lengths else self.cells == other.cells


def neighbour_correlation(image: npt.NDArray[Any]) -> float:
    """Pearson's correlation of horizontal neighbours in an image (height, width, channels), channels averaged.

    Independent noise has about 0, photographs above 0.7; NaN where the image is constant or one pixel wide.
    It is the same after any affine change of all values.
    """
    grey = np.asarray(image, np.float64).mean(axis=-1)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if left.size == 0 or left.std() == 0 or right.std() == 0:
        return float("nan")
    return float(np.mean((left - left.mean()) * (right - right.mean())) / (left.std() * right.std()))


def look(image: npt.NDArray[Any]) -> Look:
    """What stays of (height, width, channels) after recompression, small changes and a change of brightness.

    The bits are a difference hash ("dHash", N. Krawetz, 2013) of 8 x 9 cell means: whether each cell is brighter than
    its left neighbour, by more than a small part of the deviation of all.
    """
    grey = np.asarray(image, np.float64).mean(axis=-1)
    cells = _grid(grey, _ROWS, _COLUMNS + 1)
    bits = (cells[:, 1:] - cells[:, :-1] > _MARGIN * cells.std()).ravel()
    return Look(bits=int.from_bytes(np.packbits(bits).tobytes(), "big"), cells=_steps(_grid(grey, _SIDE, _SIDE)))


def _steps(cells: npt.NDArray[np.float64]) -> str:
    """Without mean and scale, in int8; all 0 for an image of one colour."""
    rest = cells - cells.mean()
    most = float(np.abs(rest).max())
    scale = 127 / most if most > _EVEN * float(np.abs(cells).max()) else 0.0
    stored: bytes = np.rint(rest * scale).astype(np.int8).tobytes()
    return stored.hex()


def near_pairs(ours: Sequence[Look], theirs: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Places (in ours, in theirs) of images that are nearly copies."""
    buckets: dict[tuple[int, int], list[int]] = {}
    for place, value in enumerate(theirs):
        for band in _bands(value.bits):
            buckets.setdefault(band, []).append(place)
    for mine, value in enumerate(ours):
        candidates = {place for band in _bands(value.bits) for place in buckets.get(band, ())}
        yield from ((mine, place) for place in sorted(candidates) if value.like(theirs[place]))


def _bands(value: int) -> Iterator[tuple[int, int]]:
    edges = [_BITS * band // _BANDS for band in range(_BANDS + 1)]
    for low, high in itertools.pairwise(edges):
        yield low, (value >> low) & (2 ** (high - low) - 1)


def _grid(values: npt.NDArray[np.float64], rows: int, columns: int) -> npt.NDArray[np.float64]:
    return _cells(_cells(values, rows).T, columns).T


def _cells(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """The means of ``count`` equal parts along the first axis; a short axis gives parts of one row each."""
    edges = np.linspace(0, len(values), count + 1).round().astype(int)
    parts = [values[min(a, len(values) - 1) : max(a + 1, b)].mean(axis=0) for a, b in itertools.pairwise(edges)]
    return np.stack(parts)
