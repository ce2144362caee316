"""What of an output is compared: the numbers in which an error of the network shows, one row per input.

A softmax forgets a constant and is exact where no probability is too small: ``log p - mean(log p)`` are its logits.
Where it is saturated or nearly constant, and where a sigmoid is near its ends, the values before it are compared: Keras
gives them (`kexport.sources.reference`), and so does a check copy of the written file, which lacks that last step alone
(`kexport.formats.onnx.check_copy` and its sibling). A file that cannot show them is compared by its probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import metrics
from kexport.metrics import SMALLEST_PROBABILITY
from kexport.records import Compared
from kexport.sources.final import SIGMOID, SOFTMAX

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.float64]
SMALLEST_SIGNAL = 1e-3
"""Standard deviation between inputs, relative to the size of the values: with less, more telling inputs are wanted."""
PROBABILITY_STEP = 1 / 256
"""Between two probabilities of an int8 or uint8 softmax: what is below half of it is compared as half of it."""
_TINY = float(np.finfo(np.float32).tiny)
_CLEAR = 5e-5
"""Between this and one less it a sigmoid in float32 hides no more than a thousandth of its logit."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The numbers of one output. ``classes`` is the length of the last axis, over which a softmax runs."""

    compared: Compared
    rows: Numbers
    classes: int

    @property
    def signal(self) -> float:
        """The standard deviation between inputs, mean over a row; of integers the share that differs."""
        if self.compared is Compared.INTEGERS:
            return float((self.rows[1:] != self.rows[:1]).mean()) if len(self.rows) > 1 else 0.0
        return float(self.rows.std(axis=0).mean())

    @property
    def between_features(self) -> float | None:
        """The standard deviation within a row, mean over rows; None where a row is one number."""
        return float(self.rows.std(axis=1).mean()) if self.rows.shape[1] > 1 else None

    @property
    def size(self) -> float:
        """What an error is large against: 1 for logits behind a softmax, else the mean of the magnitudes."""
        if self.compared in (Compared.LOGITS, Compared.STEPS):
            return 1.0
        return max(float(np.abs(self.rows).mean()), _TINY)

    @property
    def telling(self) -> float:
        """The smaller of `signal` and `between_features`, relative to `size`; below `SMALLEST_SIGNAL` it is little."""
        within = self.between_features if self.compared is not Compared.INTEGERS else None
        size = 1.0 if self.compared is Compared.INTEGERS else self.size
        return min(self.signal, self.signal if within is None else within) / size


def view(output: Array, tapped: Array | None = None, *, activation: str = "", step: float = 0.0) -> View:
    """How Keras's ``output`` is compared; ``tapped`` are its logits where both sides have them."""
    kind = _compared(output, tapped, activation, step)
    return View(compared=kind, rows=numbers(output, tapped, kind, activation=activation), classes=_classes(output))


def numbers(output: Array, tapped: Array | None, kind: Compared, *, activation: str = "") -> Numbers:
    """The numbers of an output, of Keras or of an artifact, as they are compared; NaN where they cannot be had."""
    if kind is Compared.TAPPED:
        assert tapped is not None
        return _centred(metrics.rows(tapped), _classes(tapped)) if activation == SOFTMAX else metrics.rows(tapped)
    rows = metrics.rows(output)
    if kind is Compared.STEPS:
        return metrics.logits(np.maximum(rows, PROBABILITY_STEP / 2))
    return metrics.logits(rows) if kind is Compared.LOGITS else rows


def _centred(rows: Numbers, classes: int) -> Numbers:
    """Each softmax's own logits less their mean."""
    return metrics.centred(rows.reshape(-1, classes)).reshape(rows.shape)


def _classes(output: Array) -> int:
    return int(output.shape[-1]) if output.ndim > 1 else 1


def _compared(output: Array, tapped: Array | None, activation: str, step: float) -> Compared:
    if output.dtype.kind in "iub":
        return Compared.INTEGERS
    if step and activation == SOFTMAX:
        return Compared.STEPS
    if tapped is not None:
        return Compared.TAPPED
    if activation != SOFTMAX:
        return Compared.VALUES
    return Compared.LOGITS if output.min() >= SMALLEST_PROBABILITY else Compared.PROBABILITIES


def hidden(outputs: Mapping[str, Array], activations: Mapping[str, str]) -> tuple[str, ...]:
    """The outputs whose last softmax or sigmoid hides what the network computed."""
    return tuple(name for name, array in outputs.items() if _hides(array, activations.get(name, "")))


def _hides(output: Array, activation: str) -> bool:
    if not activation or not np.isfinite(output).all():
        return False
    if activation == SIGMOID and not _CLEAR <= output.min() <= output.max() <= 1 - _CLEAR:
        return True
    seen = activation != SOFTMAX or output.min() >= SMALLEST_PROBABILITY
    return not seen or view(output, None, activation=activation).telling < SMALLEST_SIGNAL
