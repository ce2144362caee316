"""Step: an artifact's inner values against those of Keras, layer by layer, in bounded memory.

Every tensor of the file that has the name of a Keras layer is compared with a sample of what that layer gave
(`kexport.sources.layer_samples`), as it comes; none is kept. A layer whose value the file does not have went into the
next one (a convolution and its BatchNormalization are one), so that a tensor speaks for a group of layers. What a layer
read wrongly is not its fault: those are named that leave the tolerance while all they read keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kexport import metrics
from kexport.runtimes.inner import Inner
from kexport.sources.layer_samples import FEWEST_PLACES, LayerFact, sample

Samples = npt.NDArray[np.float32]
TOLERANCE_DB = {"float32": 60.0, "float16": 30.0}
QUANTIZED_DB = 10.0
"""Decibels below which a layer's value has left its tolerance: rounding leaves float32 above 90, float16 above 45."""
_WEIGHTED = ("Conv", "Dense", "LSTM", "GRU", "RNN", "Embedding")
_SCALING = ("Rescaling", "Normalization", "BatchNormalization")
"""What multiplies channels: before a padded convolution only the shift stays, and the factors go into the kernel."""
_LEAST_GAIN, _MOST_GAIN = 1e-6, 1e6


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """One tensor against Keras: which layers it stands for, and how far it is off.

    ``error`` is the largest difference over the largest value of Keras; ``sqnr_db`` that of the sample. ``given_db`` is
    the worst of what it reads, ``added`` the noise that it adds as a share of its own signal. ``rescaled``: channels
    have factors of their own in the file, which was taken out. ``axes`` are those of the tensor in the file, without
    the batch, ``affine`` its scale and zero point where it holds integers.
    """

    layer: str
    kind: str
    group: tuple[str, ...]
    tensor: str
    shape: tuple[int, ...]
    error: float
    sqnr_db: float
    given_db: float
    added: float
    leaves: bool
    rescaled: bool = False
    axes: tuple[int, ...] = ()
    affine: tuple[float, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """A file against Keras by layer, in the order of Keras; ``first`` are the layers where it begins to differ."""

    artifact: str
    scheme: str
    tolerance_db: float
    layers: tuple[LayerError, ...]
    first: tuple[str, ...]
    unseen: int
    notes: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[LayerError, ...]:
        """The tensors that leave the tolerance while all that they read keeps it; ``first`` are their layers."""
        return tuple(each for each in self.layers if each.leaves and each.given_db >= self.tolerance_db)


def compare(
    values: Iterable[Inner],
    samples: Mapping[str, Samples],
    walked: Sequence[LayerFact],
    *,
    artifact: str,
    scheme: str,
    own: bool,
) -> ByLayer:
    """Judge the ``values`` of a file; ``own``: kexport wrote it, so that channels may have other factors."""
    every = {fact.name: fact for fact in walked}
    facts = {name: fact for name, fact in every.items() if name in samples}
    seen: dict[str, tuple[Inner, float, float, bool]] = {}
    factors: dict[str, Factors] = {}
    for inner in values:
        fact = facts.get(inner.layer)
        if fact is None or inner.value.size != math.prod(fact.shape):
            continue
        free = (own and scheme not in TOLERANCE_DB) or fact.kind in _SCALING
        given = [factors[name] for name in _read(fact, every, seen)[1] if name in factors] if free else []
        found = _differ(inner, fact, samples[fact.name], every, given=given if free else None)
        if free and len(samples[fact.name]) < FEWEST_PLACES and not found.sqnr >= QUANTIZED_DB:
            continue  # one number a channel, with factors of which nothing is known
        seen[fact.name] = (_without_value(inner), found.error, found.sqnr, found.rescaled)
        factors[fact.name] = found.factors
    integers = any(inner.quantized for inner, *_ in seen.values())
    tolerance = QUANTIZED_DB if integers else TOLERANCE_DB.get(scheme, QUANTIZED_DB)
    made = tuple(
        _judged(fact, *seen[fact.name], every=every, seen=seen, tolerance=tolerance)
        for fact in walked if fact.name in seen
    )  # fmt: skip
    roots = [each for each in made if each.leaves and each.given_db >= tolerance]
    return ByLayer(
        artifact=artifact,
        scheme=scheme,
        tolerance_db=tolerance,
        layers=made,
        first=tuple(_blamed(each, every) for each in roots),
        unseen=len(set(every) - {name for each in made for name in (each.layer, *each.group)}),
    )


def _judged(  # one row needs all that is known of the others
    fact: LayerFact,
    inner: Inner,
    error: float,
    sqnr: float,
    rescaled: bool,
    *,
    every: Mapping[str, LayerFact],
    seen: Mapping[str, tuple[Inner, float, float, bool]],
    tolerance: float,
) -> LayerError:
    group, given = _read(fact, every, seen)
    noises = [_noise(seen[name][2]) for name in given]
    before = max(noises, default=0.0)
    return LayerError(
        layer=fact.name,
        kind=fact.kind,
        group=group,
        tensor=inner.name,
        shape=fact.shape,
        error=error,
        sqnr_db=sqnr,
        given_db=_decibels(before),
        added=max(0.0, _noise(sqnr) - before) if not math.isnan(sqnr) else math.nan,
        leaves=not sqnr >= tolerance,
        rescaled=rescaled,
        axes=inner.value.shape[1:],
        affine=inner.affine,
    )


def _read(
    fact: LayerFact, every: Mapping[str, LayerFact], seen: Mapping[str, object]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers that went into this one, and those with a tensor of their own that it reads."""
    group: list[str] = []
    given: list[str] = []
    pending = list(fact.inputs)
    while pending:
        name = pending.pop()
        if name in seen:
            given.append(name)
        elif name in every and name not in group:
            group.append(name)
            pending += every[name].inputs
    order = list(every)
    return tuple(sorted(group, key=order.index)), tuple(dict.fromkeys(given))


def _blamed(each: LayerError, every: Mapping[str, LayerFact]) -> str:
    """The layer with weights among those of a tensor; where there is none, or there are several, the tensor's own."""
    names = (*each.group, each.layer)
    weighted = [name for name in names if any(word in every[name].kind for word in _WEIGHTED)]
    return weighted[-1] if weighted else each.layer


Factors = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Found:
    error: float
    sqnr: float
    factors: Factors
    rescaled: bool = False


def _differ(
    inner: Inner,
    fact: LayerFact,
    expected: Samples,
    every: Mapping[str, LayerFact],
    *,
    given: Sequence[Factors] | None,
) -> _Found:
    """How far a value is off, in the layout of a feature map that fits.

    ``given`` are the factors of what it reads, where the file may have factors of its own; None where it may not. They
    are fitted where there are enough numbers a channel, else one of those given is taken.
    """
    plain = np.ones(expected.shape[-1])
    layouts = _layouts(inner.value, fact, every)
    best = max((_figured(actual, expected, plain) for actual in layouts), key=_rank)
    if given is None:
        return best
    several = len(expected) >= FEWEST_PLACES
    tried = [
        replace(_figured(actual, expected, factors), rescaled=True)
        for actual in layouts
        for factors in ([_fitted(actual, expected)] if several else given)
        if factors.shape == plain.shape and actual.shape == expected.shape
    ]
    other = max(tried, key=_rank, default=best)
    return other if other.sqnr > best.sqnr + _FITTED_DB else best


def _rank(found: _Found) -> float:
    return -math.inf if math.isnan(found.sqnr) else found.sqnr


def _figured(actual: Samples, expected: Samples, factors: Factors) -> _Found:
    if actual.shape != expected.shape:
        return _Found(error=math.nan, sqnr=math.nan, factors=factors)
    error, sqnr = _figures((actual / factors).astype(np.float32), expected)
    return _Found(error=error, sqnr=sqnr, factors=factors)


_FITTED_DB = 3.0
"""How much better channels have to fit with factors of their own before these are believed."""


def _layouts(value: npt.NDArray[np.float32], fact: LayerFact, every: Mapping[str, LayerFact]) -> list[Samples]:
    """Channels last or first; of a feature map made flat too, whose order a dense layer's kernel can take over."""
    axes = value.shape[1:]
    turned = (fact.shape[-1], *fact.shape[:-1])
    found = []
    if axes == fact.shape or len(fact.shape) != _FEATURE_MAP:
        found.append(sample(value, fact.shape))
    if axes == turned and len(fact.shape) == _FEATURE_MAP:
        found.append(sample(np.moveaxis(value, 1, -1), fact.shape))
    height, width, channels = _flattened(fact, every)
    if channels:
        flat = np.moveaxis(value.reshape(-1, channels, height, width), 1, -1)
        found.append(sample(flat, fact.shape))
    return found or [np.full((1, 1), np.nan, np.float32)]


def _flattened(fact: LayerFact, every: Mapping[str, LayerFact]) -> tuple[int, int, int]:
    """Height, width and channels of the feature map that a layer makes flat; zeros where it makes none."""
    read = every.get(fact.inputs[0]) if len(fact.inputs) == 1 else None
    flat = read is not None and len(fact.shape) == 1 and math.prod(read.shape) == fact.shape[0]
    return read.shape if read is not None and flat and len(read.shape) == _FEATURE_MAP else (0, 0, 0)  # type: ignore[return-value]  # three sizes


_FEATURE_MAP = 3  # height, width, channels


def _figures(actual: Samples, expected: Samples) -> tuple[float, float]:
    if actual.shape != expected.shape:
        return math.nan, math.nan
    ours, theirs = expected.astype(np.float64), actual.astype(np.float64)
    size = float(np.abs(ours).max())
    error = float(np.abs(theirs - ours).max())
    return (error / size if size else (0.0 if error == 0 else math.inf)), metrics.sqnr_db(ours, theirs)


def _fitted(actual: Samples, expected: Samples) -> Factors:
    """What each channel is to be divided by to come nearest; one for a channel that has no such factor."""
    ours, theirs = expected.astype(np.float64), actual.astype(np.float64)
    if ours.shape != theirs.shape:
        return np.ones(expected.shape[-1])
    gain = (ours * theirs).sum(axis=0) / np.maximum(np.square(ours).sum(axis=0), np.finfo(np.float64).tiny)
    return np.where((gain > _LEAST_GAIN) & (gain < _MOST_GAIN), gain, 1.0)


def _noise(sqnr_db: float) -> float:
    return math.inf if math.isnan(sqnr_db) else 10.0 ** (-sqnr_db / 10.0)


def _decibels(noise: float) -> float:
    return math.inf if noise == 0 else -10.0 * math.log10(noise) if math.isfinite(noise) else math.nan


def _without_value(inner: Inner) -> Inner:
    """The value's axes are kept, and none of its numbers."""
    return replace(inner, value=np.empty((0, *inner.value.shape[1:]), np.float32))


__all__ = ["QUANTIZED_DB", "TOLERANCE_DB", "ByLayer", "LayerError", "compare"]
