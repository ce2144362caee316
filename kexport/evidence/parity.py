"""Step: an artifact's outputs against Keras's, in numpy only.

Where a model ends in softmax, its logits are taken as ``log p - mean(log p)``: the logits up to the
constant that softmax forgets. A saturated or constant softmax hides every error, so the reference has to
show signal first: without it there is no evidence either way, and that is an error, not a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import metrics
from kexport.errors import ArtifactError, KexportError, SignalError
from kexport.evidence.tolerances import Bound
from kexport.metrics import SMALLEST_PROBABILITY
from kexport.records import Check, OutputParity

Array = npt.NDArray[np.float64]
SMALLEST_SIGNAL = 1e-3
PROBABILITY_STEP = 1 / 256
"""Between two probabilities of an int8 or uint8 softmax: what is below half of it is compared as half of it."""
PROBABILITY_FIGURES = ("output_max_abs_error", "output_mean_abs_error", "top1_agreement", "top5_agreement")


def compare(
    reference: Mapping[str, npt.NDArray[Any]],
    outputs: Mapping[str, npt.NDArray[Any]],
    *,
    softmax: bool,
    step: float = 0.0,
) -> tuple[OutputParity, ...]:
    """Every output of the artifact against the reference's: same names, same shapes.

    ``step`` is the resolution of probabilities that are stored as integers (`PROBABILITY_STEP`); below half of it
    nothing is told apart, on both sides.
    Raises SignalError if the reference says nothing, ArtifactError if names or shapes differ.
    """
    if set(reference) != set(outputs):
        raise ArtifactError(f"the artifact gives outputs {sorted(outputs)}, Keras gives {sorted(reference)}")
    least = step / 2 if softmax else -np.inf
    return tuple(
        _compare(name, np.maximum(reference[name], least), np.maximum(outputs[name], least), softmax=softmax)
        for name in sorted(reference)
    )


def judge(parities: tuple[OutputParity, ...], bounds: tuple[Bound, ...], *, softmax: bool) -> tuple[Check, ...]:
    """One check per output and bound; the value of a bound is the parity's attribute or ratio of that name.

    The bounds of `PROBABILITY_FIGURES` hold for probabilities only: features have any scale, several of them may be
    the largest to the last bit, and the other bounds judge them as the logits.
    """
    return tuple(
        Check(
            name=bound.name if len(parities) == 1 else f"{parity.name}: {bound.name}",
            value=(value := _value(parity, bound.name)),
            bound=bound.limit,
            passed=bound.passes(value),
            why=bound.why,
        )
        for parity in parities
        for bound in bounds
        if softmax or bound.name not in PROBABILITY_FIGURES
    )


def check_signal(reference: Mapping[str, npt.NDArray[Any]], *, softmax: bool) -> dict[str, float]:
    """The signal of every output: the standard deviation of its logits between inputs. Raises SignalError."""
    return {name: _signal(name, array, softmax=softmax) for name, array in reference.items()}


def logits(name: str, array: npt.NDArray[Any], *, softmax: bool) -> Array:
    """``(inputs, features)`` in float64: centred log-probabilities after a softmax, the output itself otherwise."""
    flat = metrics.rows(array)
    if not softmax:
        return flat
    smallest = float(flat.min())
    if smallest < SMALLEST_PROBABILITY:
        raise SignalError(
            f"output {name!r}: the smallest probability is {smallest:.1e}, the softmax is saturated; "
            f"at least {SMALLEST_PROBABILITY:.0e} is needed to see the logits",
            hint="--weights random:SEED with another seed, or real weights",
        )
    return metrics.logits(flat)


def _signal(name: str, array: npt.NDArray[Any], *, softmax: bool) -> float:
    if not np.all(np.isfinite(array)):
        raise SignalError(f"output {name!r} of Keras holds NaN or infinity: the weights or the inputs are damaged")
    values = logits(name, array, softmax=softmax)
    signal = float(values.std(axis=0).mean())
    size = 1.0 if softmax else max(float(np.abs(values).mean()), 1e-12)
    between_features = float(values.std(axis=1).mean()) / size
    if not min(signal / size, between_features) >= SMALLEST_SIGNAL:
        raise SignalError(
            f"output {name!r} of Keras is nearly constant (deviation {signal:.1e} between inputs, "
            f"{between_features:.1e} between features): comparing it would prove nothing",
            hint="use trained weights, or --weights random:0",
        )
    return signal


def _compare(name: str, reference: npt.NDArray[Any], output: npt.NDArray[Any], *, softmax: bool) -> OutputParity:
    if reference.shape != output.shape:
        raise ArtifactError(f"output {name!r} has shape {output.shape}, Keras gives {reference.shape}")
    signal = _signal(name, reference, softmax=softmax)
    expected = logits(name, reference, softmax=softmax)
    actual = _artifact_logits(name, output, softmax=softmax)
    difference = np.abs(actual - expected)
    plain = np.abs(np.asarray(output, np.float64) - np.asarray(reference, np.float64))
    return OutputParity(
        name=name,
        logits_max_abs_error=float(difference.max()),
        logits_mean_abs_error=float(difference.mean()),
        output_max_abs_error=float(plain.max()),
        output_mean_abs_error=float(plain.mean()),
        cosine=metrics.cosine(expected, actual),
        sqnr_db=metrics.sqnr_db(expected, actual),
        top1_agreement=metrics.agreement(expected, actual, 1),
        top5_agreement=metrics.agreement(expected, actual, min(5, expected.shape[1])),
        signal=signal,
    )


def _artifact_logits(name: str, output: npt.NDArray[Any], *, softmax: bool) -> Array:
    """As `logits`; where the artifact's softmax is saturated or not finite, every figure becomes NaN and fails."""
    try:
        return logits(name, output, softmax=softmax)
    except SignalError:
        return np.full((len(output), output[0].size), np.nan)


def _value(parity: OutputParity, name: str) -> float:
    if name == "logits_error_to_signal":
        return parity.logits_max_abs_error / parity.signal
    value = getattr(parity, name, None)
    if not isinstance(value, float):
        raise KexportError(f"tolerances.toml: no figure is called {name!r}")
    return value


def failures(checks: tuple[Check, ...]) -> Iterator[str]:
    """One line per failed check."""
    for check in checks:
        if not check.passed:
            yield f"{check.name} is {check.value:.6g}, the bound is {check.bound:.6g}"
