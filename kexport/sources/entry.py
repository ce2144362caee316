"""What the first layers of a model do to the values of an input, found by running them on images of one colour.

Every call from the input on that has no weights is run on a few such images. As long as its result is an affine
function of the colours, the walk goes on: through blocks that only pass images (augmentation, Resizing, Identity,
nested models and `keras.Sequential`), through Rescaling, Normalization, Lambdas and arithmetic in any form and order,
through slices, stacks and flips of the channels. It ends at the calls that compute with weights, or with something
that is not affine. Random layers are not run: at inference they pass what they get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.sources.keras_walk import functional, ordered_calls

Numbers = npt.NDArray[np.float64]
LARGEST_SIDE = 320
_OPEN_SIDE = 32
_MOST_CHANNELS = 16
_TOLERANCE = 1e-3
_STATISTICS_ARE_NO_WEIGHTS = {"Normalization"}
_PASS_AT_INFERENCE = {
    "InputLayer", "Dropout", "AlphaDropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity", "RandAugment", "AugMix", "MixUp",
    "CutMix",
}  # fmt: skip
ERRORS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, NameError, ArithmeticError)
"""What a call raises that does not take these images; the walk ends there, and Keras's own words come later."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an input has become behind a layer that changes its values: ``grey * scale + shift``, per channel.

    ``what`` names the layer or the operation; ``source`` is the input's channel that each channel is made of; None
    where several are mixed.
    """

    what: str
    kind: str
    scale: Numbers
    shift: Numbers
    source: tuple[int, ...] | None

    @property
    def reverses(self) -> bool:
        """Whether three channels are in the opposite order: RGB has become BGR."""
        return self.source == (2, 1, 0)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The steps on the way from an input to the first ``reader`` that computes with weights; None for an output."""

    steps: tuple[Step, ...]
    reader: Any


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A tensor: what it is for each probe, and the steps that led there."""

    values: Any
    steps: tuple[Step, ...]


def entries(function: Any, tensor: Any) -> tuple[Entry, ...]:
    """Every way from the input ``tensor`` of a functional model to a reader or an output, in the order of the calls."""
    probes, images = _probes(tensor)
    known = {id(tensor): _Seen(values=images, steps=())}
    found = tuple(_walk(function, known, probes))
    shown = (known[id(output)] for output in function.outputs if id(output) in known)
    return (*found, *(Entry(steps=seen.steps, reader=None) for seen in shown))


def _probes(tensor: Any) -> tuple[Numbers, Any]:
    """Colours ``(count, channels)`` and images of them; one grey value each where there are many channels."""
    sides = [min(axis or _OPEN_SIDE, LARGEST_SIDE) for axis in tensor.shape[1:-1]]
    channels = tensor.shape[-1] or 1
    free = channels if channels <= _MOST_CHANNELS and len(sides) > 1 else 1
    rng = np.random.default_rng(7)
    colours = np.concatenate([np.zeros((1, free)), 64.0 * np.eye(free), rng.integers(1, 250, (3, free))])
    shape = (len(colours), *[1] * len(sides), free)
    images = np.broadcast_to(colours.reshape(shape), (len(colours), *sides, channels))
    return colours, images.astype(np.float32)


def _walk(function: Any, known: dict[int, _Seen], probes: Numbers) -> Iterator[Entry]:
    """Follow every known tensor; ``known`` learns what becomes of it."""
    for node in ordered_calls(function):
        given = [known[id(tensor)] for tensor in node.input_tensors if id(tensor) in known]
        if not given:
            continue
        if functional(node.operation) is not None:
            yield from _nested(node, known, probes)
        elif not _passed(node, known, probes):
            yield from (Entry(steps=seen.steps, reader=node.operation) for seen in given)


def _nested(node: Any, known: dict[int, _Seen], probes: Numbers) -> Iterator[Entry]:
    function = functional(node.operation)
    assert function is not None
    pairs = zip(function.inputs, node.input_tensors, strict=True)
    inner = {id(own): known[id(given)] for own, given in pairs if id(given) in known}
    yield from _walk(function, inner, probes)
    outputs = zip(function.outputs, node.outputs, strict=True)
    known.update((id(outer), inner[id(own)]) for own, outer in outputs if id(own) in inner)


def _passed(node: Any, known: dict[int, _Seen], probes: Numbers) -> bool:
    """Whether the call is affine in the input; then ``known`` has its results."""
    operation, kind = node.operation, type(node.operation).__name__
    if any(id(tensor) not in known for tensor in node.input_tensors):
        return False
    if kind.startswith("Random") or kind in _PASS_AT_INFERENCE:
        known[id(node.outputs[0])] = known[id(node.input_tensors[0])]
        return True
    if getattr(operation, "weights", ()) and kind not in _STATISTICS_ARE_NO_WEIGHTS:
        return False
    before = max((known[id(tensor)].steps for tensor in node.input_tensors), key=len)
    found = [_seen(operation, values, before, probes) for values in _results(node, known)]
    if not found or any(each is None for each in found):
        return False
    known.update((id(tensor), each) for tensor, each in zip(node.outputs, found, strict=True) if each is not None)
    return True


def _results(node: Any, known: dict[int, _Seen]) -> Sequence[Any]:
    """What the call gives for the probes; nothing where it does not take them."""
    values = {key: seen.values for key, seen in known.items()}
    try:
        args, kwargs = node.arguments.fill_in(values)
        if kwargs.get("training"):
            kwargs = {**kwargs, "training": False}
        result = node.operation(*args, **kwargs)
    except ERRORS:
        return ()
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _seen(operation: Any, values: Any, before: tuple[Step, ...], probes: Numbers) -> _Seen | None:
    array = np.asarray(values)
    if array.ndim < 2 or len(array) != len(probes) or not array.size or not np.issubdtype(array.dtype, np.number):
        return None
    fitted = _affine(_centre(array), probes)
    if fitted is None:
        return None
    matrix, shift = fitted
    kind = type(operation).__name__
    what = f"{kind} layer {operation.name!r}" if hasattr(operation, "weights") else f"arithmetic {operation.name!r}"
    step = Step(what=what, kind=kind, scale=matrix.sum(axis=0), shift=shift, source=_source(matrix))
    return _Seen(values=values, steps=(*before, step) if _differs(step, before, probes) else before)


def _centre(array: npt.NDArray[Any]) -> Numbers:
    """The middle of every axis but the first and the last: a border may be padding."""
    places = tuple(size // 2 for size in array.shape[1:-1])
    return np.asarray(array[(slice(None), *places)], np.float64)


def _affine(values: Numbers, probes: Numbers) -> tuple[Numbers, Numbers] | None:
    """``values = probes @ matrix + shift``: both, or None where that does not hold or says nothing."""
    known = np.concatenate([probes, np.ones((len(probes), 1))], axis=1)
    with np.errstate(all="ignore"):
        solution = np.linalg.pinv(known) @ values
        wrong = np.abs(known @ solution - values).max() if np.isfinite(values).all() else np.inf
    largest = float(np.abs(values).max())
    constant = not np.abs(solution[:-1]).max() * probes.max() > 1e-6 * largest
    return None if constant or not wrong <= _TOLERANCE * largest else (solution[:-1], solution[-1])


def _source(matrix: Numbers) -> tuple[int, ...] | None:
    weights = np.abs(matrix) > _TOLERANCE * np.abs(matrix).max()
    alone = len(matrix) > 1 and bool((weights.sum(axis=0) == 1).all())
    return tuple(int(place) for place in weights.argmax(axis=0)) if alone else None


def _differs(step: Step, before: tuple[Step, ...], probes: Numbers) -> bool:
    """Whether the values or the order of the channels are others than before."""
    straight = tuple(range(probes.shape[1])) if probes.shape[1] > 1 else None
    scale, shift = (before[-1].scale, before[-1].shift) if before else (np.ones(1), np.zeros(1))
    source = before[-1].source if before else straight
    if step.source not in (None, source) and len(step.source or ()) == len(source or ()):
        return True
    if len(scale) not in (1, len(step.scale)):
        scale, shift = _spread(scale), _spread(shift)
        ours = _spread(step.scale), _spread(step.shift)
    else:
        ours = step.scale, step.shift
    return not (np.allclose(ours[0], scale, rtol=1e-4, atol=1e-9) and np.allclose(ours[1], shift, rtol=1e-4, atol=1e-4))


def _spread(values: Numbers) -> Numbers:
    return np.array([values.min(), values.max()])
