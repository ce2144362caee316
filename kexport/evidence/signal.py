"""Whether an output of Keras can tell a right file from a wrong one, and what rounding alone does to it.

What counts is how far inputs move the output, against how far rounding moves it. Rounding is measured where it may
matter (`kexport.sources.rounding`), on few inputs and with one set of seeded numbers, so that a right file may differ
by `FACTOR` times as much; no bound is ever below that. Where that is more than `MOST` of the signal, a wrong file could
hide in it, and where nothing moves the output everything could: then there is no evidence, and the record says so.
"""

from __future__ import annotations

import math

import numpy as np

from kexport import metrics
from kexport.errors import SignalError
from kexport.evidence import views
from kexport.evidence.views import SMALLEST_SIGNAL, Array, View
from kexport.records import Compared, Rounding
from kexport.sources.prepared import Reference

FACTOR = 8.0
MOST = 0.1
_FLOAT32 = 2.0**-24


def check_finite(reference: Reference) -> None:
    """Raise SignalError where Keras itself gives NaN or infinity."""
    for name, array in {**reference.outputs, **reference.logits}.items():
        if not np.all(np.isfinite(array)):
            raise SignalError(f"output {name!r} of Keras holds NaN or infinity: the weights or the inputs are damaged")


def telling(reference: Reference, activations: dict[str, str]) -> float:
    """How much the least telling output of Keras says, relative to its size; NaN where Keras is not finite."""
    return min(
        views.view(array, reference.logits.get(name), activation=activations.get(name, "")).telling
        for name, array in reference.outputs.items()
    )


def rounding(reference: Reference, name: str, kept: View, *, activation: str) -> Rounding | None:
    """Keras against itself, rounded otherwise; None where that was not measured."""
    again = reference.again.get(name)
    if again is None:
        return None
    rows = views.numbers(again, reference.logits_again.get(name), kept.compared, activation=activation)
    first, plain = kept.rows[: len(rows)], metrics.rows(reference.outputs[name][: len(again)])
    return Rounding(
        logits_max_abs_error=float(np.abs(rows - first).max()),
        output_max_abs_error=float(np.abs(metrics.rows(again) - plain).max()),
        sqnr_db=metrics.sqnr_db(first, rows),
        equal_share=float((rows == first).mean()),
    )


def unproven(kept: View, rounded: Rounding | None) -> str:
    """Why comparing this output proves nothing; empty where it proves something."""
    if kept.compared is Compared.INTEGERS:
        return _integers(kept, rounded)
    within = kept.between_features
    moved = kept.signal if within is None else min(kept.signal, within)
    if rounded is None:
        enough = moved / kept.size >= SMALLEST_SIGNAL
    else:
        enough = moved * MOST >= FACTOR * max(rounded.logits_max_abs_error, _FLOAT32 * kept.size)
    if enough:
        return ""
    told = "" if within is None else f", {within / kept.size:.1e} between features"
    if rounded is not None and moved / kept.size >= SMALLEST_SIGNAL:
        return (
            f"is moved by {rounded.logits_max_abs_error / kept.size:.1e} of its size by rounding alone in Keras (its "
            f"deviation is {kept.signal / kept.size:.1e} between inputs{told}): comparing it proves nothing"
        )
    return (
        f"is nearly constant in Keras for all inputs that were tried (deviation {kept.signal / kept.size:.1e} of its "
        f"size between inputs{told}): comparing it proves nothing"
    )


def _integers(kept: View, rounded: Rounding | None) -> str:
    if not kept.signal > 0:
        return "is the same in Keras for all inputs that were tried: comparing it proves nothing"
    if rounded is not None and FACTOR * (1 - rounded.equal_share) > MOST:
        return f"changes in {100 * (1 - rounded.equal_share):.2g} % by rounding alone: comparing it proves little"
    return ""


def widened(limit: float, figure: str, rounded: Rounding | None, signal: float) -> float:
    """The bound of a figure, or what `FACTOR` times the rounding of Keras itself does to it where that is more."""
    if rounded is None:
        return limit
    if figure == "logits_error_to_signal":
        return max(limit, FACTOR * rounded.logits_max_abs_error / signal if signal else math.inf)
    if figure == "output_max_abs_error":
        return max(limit, FACTOR * rounded.output_max_abs_error)
    if figure == "sqnr_db":
        return min(limit, rounded.sqnr_db - 20 * math.log10(FACTOR))
    if figure == "equal_share":
        return min(limit, 1 - FACTOR * (1 - rounded.equal_share))
    return limit


__all__ = ["FACTOR", "MOST", "Array", "check_finite", "rounding", "telling", "unproven", "widened"]
