"""Step: an artifact's outputs against Keras's, in numpy only.

Each output is compared in the numbers that show an error (`kexport.evidence.views`), and judged by the bounds of its
format and scheme, never closer than Keras agrees with itself (`kexport.evidence.signal`). An output that proves nothing
is still held against gross errors and NaN; it makes the artifact UNPROVEN, never a PASS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from kexport import metrics
from kexport.errors import ArtifactError, KexportError
from kexport.evidence import signal, views
from kexport.evidence.tolerances import Bound
from kexport.evidence.views import PROBABILITY_STEP, Array, Numbers, View
from kexport.records import Check, Compared, OutputParity, Rounding
from kexport.sources.final import SOFTMAX
from kexport.sources.prepared import Reference, Tensors

OUTPUT_FIGURES = ("output_max_abs_error", "output_mean_abs_error")
RANK_FIGURES = ("top1_agreement", "top5_agreement")
ERROR, GROSS = "logits_error_to_signal", "error_to_size"
_GROSS_LIMIT = 0.5
_SMALL = 1e-3
"""A constant below it is as good as zero."""


def compare(
    reference: Reference,
    outputs: Tensors,
    *,
    logits: Tensors | None = None,
    activations: Mapping[str, str],
    step: float = 0.0,
) -> tuple[OutputParity, ...]:
    """Every output of the artifact against the reference's: same names, same shapes.

    ``logits`` are the artifact's, where a check copy of it shows them. ``step`` is the resolution of probabilities
    that are stored as integers (`PROBABILITY_STEP`); below half of it nothing is told apart, on both sides.
    Raises ArtifactError if names or shapes differ.
    """
    expected, shown = reference.outputs, logits or {}
    if set(expected) != set(outputs):
        raise ArtifactError(f"the artifact gives outputs {sorted(outputs)}, Keras gives {sorted(expected)}")
    for name, array in expected.items():
        if array.shape != outputs[name].shape:
            raise ArtifactError(f"output {name!r} has shape {outputs[name].shape}, Keras gives {array.shape}")
    return tuple(
        _compare(name, reference, outputs[name], shown.get(name), activation=activations.get(name, ""), step=step)
        for name in sorted(expected)
    )


def _compare(
    name: str, reference: Reference, output: Array, shown: Array | None, *, activation: str, step: float
) -> OutputParity:
    tapped = reference.logits.get(name) if shown is not None else None
    kept = views.view(reference.outputs[name], tapped, activation=activation, step=step)
    actual = views.numbers(output, shown, kept.compared, activation=activation)
    rounded = signal.rounding(reference, name, kept, activation=activation)
    difference = np.abs(actual - kept.rows)
    plain = np.abs(_plain(output, kept) - _plain(reference.outputs[name], kept))
    return OutputParity(
        name=name,
        logits_max_abs_error=float(difference.max()),
        logits_mean_abs_error=float(difference.mean()),
        output_max_abs_error=float(plain.max()),
        output_mean_abs_error=float(plain.mean()),
        cosine=metrics.cosine(kept.rows, actual),
        sqnr_db=metrics.sqnr_db(kept.rows, actual),
        top1_agreement=_top1(kept, actual, rounded),
        top5_agreement=metrics.agreement(_ranked(kept.rows, kept), _ranked(actual, kept), min(5, kept.classes)),
        signal=kept.signal,
        compared=kept.compared,
        activation=activation,
        size=kept.size,
        equal_share=float((actual == kept.rows).mean()) if kept.compared is Compared.INTEGERS else None,
        rounding=rounded,
        unproven=signal.unproven(kept, rounded),
    )


def _plain(array: Array, kept: View) -> Numbers:
    rows = metrics.rows(array)
    return np.maximum(rows, PROBABILITY_STEP / 2) if kept.compared is Compared.STEPS else rows


def _ranked(rows: Numbers, kept: View) -> Numbers:
    """One row per decision: a softmax decides in every place."""
    return rows.reshape(-1, kept.classes)


def _top1(kept: View, actual: Numbers, rounded: Rounding | None) -> float:
    """The share of equal decisions; two classes that rounding alone may exchange are equal."""
    expected, found = _ranked(kept.rows, kept), _ranked(actual, kept)
    strict = metrics.agreement(expected, found, 1)
    if rounded is None or math.isnan(strict):
        return strict
    chosen = np.take_along_axis(expected, found.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return float((expected.max(axis=1) - chosen <= signal.FACTOR * rounded.logits_max_abs_error).mean())


def judge(parities: tuple[OutputParity, ...], bounds: tuple[Bound, ...]) -> tuple[Check, ...]:
    """One check per output and bound; the value of a bound is the parity's attribute or ratio of that name.

    Which figures say something depends on what was compared (`_says`). An output that proves nothing has one
    check: that its error is small against its size.
    """
    several = len(parities) > 1
    return tuple(
        check
        for parity in parities
        for check in (_gross(parity, bounds, several) if parity.unproven else _judged(parity, bounds, several))
    )


def _judged(parity: OutputParity, bounds: tuple[Bound, ...], several: bool) -> Iterator[Check]:
    for bound in bounds:
        if _says(bound.name, parity):
            limit = signal.widened(bound.limit, bound.name, parity.rounding, parity.signal)
            why = bound.why if limit == bound.limit else f"{signal.FACTOR:g} times what rounding does to Keras itself"
            yield _check(parity, bound, limit, why, several)


def _gross(parity: OutputParity, bounds: tuple[Bound, ...], several: bool) -> Iterator[Check]:
    limit = next((bound.limit for bound in bounds if bound.name == ERROR), _GROSS_LIMIT)
    if parity.rounding is not None:
        limit = max(limit, signal.FACTOR * _value_of_rounding(parity, parity.rounding))
    why = "no evidence, but a constant that differs would be an error"
    yield _check(parity, Bound(name=GROSS, limit=limit, at_least=False, why=why), limit, why, several)


def _check(parity: OutputParity, bound: Bound, limit: float, why: str, several: bool) -> Check:
    value = _value(parity, bound.name)
    passes = Bound(name=bound.name, limit=limit, at_least=bound.at_least, why=why).passes(value)
    name = f"{parity.name}: {bound.name}" if several else bound.name
    return Check(name=name, value=value, bound=limit, passed=passes, why=why)


def _says(figure: str, parity: OutputParity) -> bool:
    """Whether a figure says something about an output.

    Integers are equal or not. Ranks are for a softmax: features have any scale, and several of them may be the
    largest to the last bit. Absolute errors are for a softmax, and for what a tap cannot show: the last step itself.
    Logits of probabilities in steps of 1/256 are not compared.
    """
    if parity.compared is Compared.INTEGERS or figure == "equal_share":
        return parity.compared is Compared.INTEGERS and figure == "equal_share"
    if figure in RANK_FIGURES:
        return parity.activation == SOFTMAX
    if figure in OUTPUT_FIGURES:
        return parity.activation == SOFTMAX or parity.compared is Compared.TAPPED
    return parity.compared is not Compared.STEPS


def _value(parity: OutputParity, name: str) -> float:
    if name == ERROR:
        return _ratio(parity.logits_max_abs_error, parity.signal)
    if name == GROSS:
        shown = parity.output_max_abs_error if parity.activation else 0.0
        return float(np.maximum(_ratio(parity.logits_max_abs_error, max(parity.size, _SMALL)), shown))
    value = getattr(parity, name, None)
    if not isinstance(value, float):
        raise KexportError(f"tolerances.toml: no figure is called {name!r}")
    return value


def _value_of_rounding(parity: OutputParity, rounded: Rounding) -> float:
    """What rounding alone does to `GROSS`."""
    shown = rounded.output_max_abs_error if parity.activation else 0.0
    return float(np.maximum(_ratio(rounded.logits_max_abs_error, max(parity.size, _SMALL)), shown))


def _ratio(error: float, size: float) -> float:
    if error == 0 or math.isnan(error):
        return error
    return error / size if size else math.inf


def worst(parities: tuple[OutputParity, ...]) -> float:
    """The largest error of any output against its signal; NaN where one is."""
    return float(np.max([_value(parity, ERROR) for parity in parities]))


def failures(checks: tuple[Check, ...]) -> Iterator[str]:
    """One line per failed check."""
    for check in checks:
        if not check.passed:
            yield f"{check.name} is {check.value:.6g}, the bound is {check.bound:.6g}"


def unproven(parities: tuple[OutputParity, ...]) -> Iterator[str]:
    """One line per output that proves nothing."""
    for parity in parities:
        if parity.unproven:
            yield f"output {parity.name!r} {parity.unproven}"
