"""Step: the inputs on which an artifact is compared with Keras: the first that show something.

Seeded inputs come first. Where they move some output too little, photographs that the user gave are tried, then
structured and stronger inputs (`kexport.sources.stronger`); where nothing does, the most telling are kept, and the
comparison says itself that it proves nothing (`kexport.evidence.signal`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kexport.evidence import signal, views
from kexport.records import SourceFacts
from kexport.sources import embedding, preprocessing, reference, stronger
from kexport.sources.prepared import Reference, Tensors
from kexport.specs import ModelSpec

Compute = Callable[[Tensors], Reference]


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """A set that the user named, and its first images as the network takes them."""

    text: str
    inputs: Tensors


@dataclass(frozen=True, kw_only=True)
class _Tried:
    reference: Reference
    telling: float
    described: str = ""
    images: str = ""


def choose(
    model: Any,
    spec: ModelSpec,
    facts: SourceFacts,
    photographs: Iterable[Photographs],
    *,
    apart: bool = False,
    answered: Reference | None = None,
) -> tuple[Reference, SourceFacts]:
    """The reference, and the facts that say what it was computed on. Raises SignalError where Keras gives NaN.

    ``apart``: it is known that no rows of the network meet; then what Keras has ``answered`` already, all rows at
    once, is not asked again.
    """
    best: _Tried | None = None
    compute: Compute = partial(computed, model, facts=facts, apart=apart, rounding=not _published(spec))
    if answered is not None and apart:
        compute = _unless_known(compute, answered, facts)
    for tried in _tried(model, spec, facts, photographs, compute):
        best = tried if best is None or tried.telling > best.telling else best
        if tried.telling >= views.SMALLEST_SIGNAL:
            break
    assert best is not None
    signal.check_finite(best.reference)
    chosen = best.reference
    if best.telling < views.SMALLEST_SIGNAL or not _published(spec):
        chosen = reference.with_rounding(model, chosen)
    return chosen, _said(facts, best)


def computed(
    model: Any, inputs: Tensors, facts: SourceFacts, *, apart: bool = False, rounding: bool = True
) -> Reference:
    """What Keras answers, with the logits of those outputs that hide them; ``apart`` and ``rounding``: `reference`."""
    found = reference.compute(model, embedding.snapped(facts, inputs), apart=apart, rounding=rounding)
    return _logits_of_hidden(found, facts)


def _logits_of_hidden(found: Reference, facts: SourceFacts) -> Reference:
    hidden = views.hidden(found.outputs, facts.activations)
    again = {name: found.logits_again[name] for name in hidden if found.again}
    return replace(found, logits={name: found.logits[name] for name in hidden}, logits_again=again)


def _unless_known(compute: Compute, answered: Reference, facts: SourceFacts) -> Compute:
    def found(inputs: Tensors) -> Reference:
        same = _same(answered.inputs, embedding.snapped(facts, inputs))
        return _logits_of_hidden(answered, facts) if same else compute(inputs)

    return found


def _tried(
    model: Any, spec: ModelSpec, facts: SourceFacts, photographs: Iterable[Photographs], compute: Compute
) -> Iterator[_Tried]:
    def tried(inputs: Tensors, *, described: str = "", images: str = "") -> _Tried:
        found = compute(inputs)
        says = signal.telling(found, facts.activations)
        telling = -1.0 if math.isnan(says) else says
        return _Tried(reference=found, telling=telling, described=described, images=images)

    yield tried(reference.seeded(model, spec, facts.inputs))
    for given in photographs:
        yield tried(given.inputs, described=f"photographs of {given.text}", images=given.text)
    for words, inputs in stronger.others(preprocessing.feedings(model, spec), facts.inputs):
        yield tried(inputs, described=f"{words}, as the seeded ones show too little")


def _same(ours: Tensors, theirs: Tensors) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def _published(spec: ModelSpec) -> bool:
    """Applications with weights of which the rounding is known: their bounds were measured."""
    return bool(spec.application) and spec.weights.kind in ("imagenet", "random")


def _said(facts: SourceFacts, best: _Tried) -> SourceFacts:
    if not best.described:
        return facts
    said = dict.fromkeys(facts.reference_inputs, best.described)
    return replace(facts, reference_inputs=said, reference_images=best.images)
