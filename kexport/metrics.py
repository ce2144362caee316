"""How far two sets of numbers lie apart, in numpy only: logits, their noise in decibels, directions and ranks.

Arrays have one row per input. Every figure is NaN where an answer is not finite, so that it fails every bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-30
"""Below it a softmax is saturated: its logits cannot be seen any more."""


def rows(array: npt.NDArray[Any]) -> Numbers:
    """``(inputs, features)`` in float64."""
    return np.asarray(array, dtype=np.float64).reshape(len(array), -1)


def centred(values: Numbers) -> Numbers:
    """Every row less its mean: logits without the constant that a softmax forgets."""
    with np.errstate(invalid="ignore"):  # infinity becomes NaN, which fails every bound
        less: Numbers = values - values.mean(axis=1, keepdims=True)
    return less


def logits(probabilities: Numbers) -> Numbers:
    """``log p - mean(log p)``: the logits up to that constant; NaN in rows with a probability too small to tell."""
    finite = np.isfinite(probabilities).all(axis=1, keepdims=True)
    seen = finite & (probabilities >= SMALLEST_PROBABILITY).all(axis=1, keepdims=True)
    return centred(np.log(np.where(seen, probabilities, np.nan)))


def powers(expected: Numbers, actual: Numbers) -> tuple[Numbers, Numbers]:
    """The power of the signal and of the noise in every row: sums, which add up over rows."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.square(expected).sum(axis=1), np.square(actual - expected).sum(axis=1)


def decibels(power: float, noise: float) -> float:
    """Signal to quantization noise; NaN stays NaN, no noise at all is infinity, no signal is minus infinity."""
    if not (math.isfinite(noise) and math.isfinite(power)):
        return math.nan
    return math.inf if noise == 0 else 10 * math.log10(power / noise) if power else -math.inf


def sqnr_db(expected: Numbers, actual: Numbers) -> float:
    """`decibels` of all numbers together."""
    with np.errstate(invalid="ignore", over="ignore"):
        return decibels(float(np.square(expected).sum()), float(np.square(actual - expected).sum()))


def cosine(expected: Numbers, actual: Numbers) -> float:
    """The smallest of all rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        product = (expected * actual).sum(axis=1)
        return float((product / (np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1))).min())


def agreement(expected: Numbers, actual: Numbers, count: int) -> float:
    """The share of the ``count`` largest of each row that are among those of the other; of equal ones the first."""
    if not np.all(np.isfinite(actual)):
        return math.nan
    pairs = zip(_largest(expected, count), _largest(actual, count), strict=True)
    return float(np.mean([len(set(a) & set(b)) / count for a, b in pairs]))


def _largest(values: Numbers, count: int) -> list[list[int]]:
    ranked: list[list[int]] = np.argsort(-values, axis=1, kind="stable")[:, :count].tolist()
    return ranked
