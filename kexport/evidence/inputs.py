"""Step: the inputs on which an artifact is compared with Keras: the first that show something.

Seeded inputs come first. Where they move some output too little, photographs that the user gave are tried, then
structured and stronger inputs (`kexport.sources.stronger`); where nothing does, the most telling are kept, and the
comparison says itself that it proves nothing (`kexport.evidence.signal`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from kexport.evidence import signal, views
from kexport.records import SourceFacts
from kexport.sources import embedding, preprocessing, reference, stronger
from kexport.sources.prepared import Reference, Tensors
from kexport.specs import ModelSpec


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
    model: Any, spec: ModelSpec, facts: SourceFacts, photographs: Iterable[Photographs]
) -> tuple[Reference, SourceFacts]:
    """The reference, and the facts that say what it was computed on. Raises SignalError where Keras gives NaN."""
    best: _Tried | None = None
    for tried in _tried(model, spec, facts, photographs):
        best = tried if best is None or tried.telling > best.telling else best
        if tried.telling >= views.SMALLEST_SIGNAL:
            break
    assert best is not None
    signal.check_finite(best.reference)
    chosen = best.reference
    if best.telling < views.SMALLEST_SIGNAL or not _published(spec):
        chosen = reference.with_rounding(model, chosen)
    return chosen, _said(facts, best)


def complete(model: Any, computed: Reference, facts: SourceFacts) -> Reference:
    """The reference with the logits of those outputs that hide them."""
    return reference.with_logits(model, computed, views.hidden(computed.outputs, facts.activations))


def _tried(model: Any, spec: ModelSpec, facts: SourceFacts, photographs: Iterable[Photographs]) -> Iterator[_Tried]:
    yield _try(model, facts, reference.seeded(model, spec, facts.inputs))
    for given in photographs:
        yield _try(model, facts, given.inputs, described=f"photographs of {given.text}", images=given.text)
    for words, inputs in stronger.others(preprocessing.feedings(model, spec), facts.inputs):
        yield _try(model, facts, inputs, described=f"{words}, as the seeded ones show too little")


def _try(model: Any, facts: SourceFacts, inputs: Tensors, *, described: str = "", images: str = "") -> _Tried:
    computed = complete(model, reference.compute(model, embedding.snapped(facts, inputs)), facts)
    found = signal.telling(computed, facts.activations)
    return _Tried(reference=computed, telling=-1.0 if math.isnan(found) else found, described=described, images=images)


def _published(spec: ModelSpec) -> bool:
    """Applications with weights of which the rounding is known: their bounds were measured."""
    return bool(spec.application) and spec.weights.kind in ("imagenet", "random")


def _said(facts: SourceFacts, best: _Tried) -> SourceFacts:
    if not best.described:
        return facts
    said = dict.fromkeys(facts.reference_inputs, best.described)
    return replace(facts, reference_inputs=said, reference_images=best.images)
