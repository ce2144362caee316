"""Step: an artifact's outputs against Keras on other backends, by the bounds that hold against the first.

Two implementations that share no kernel seldom share a fault: an artifact that agrees with both is right where one
alone might be wrong. Where the backends differ from one another by more than a bound, the artifact cannot hold it
against both, and the note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kexport.errors import SourceError
from kexport.evidence import parity
from kexport.evidence.tolerances import Bound
from kexport.records import Check, OtherBackend
from kexport.sources.prepared import Reference, Tensors


def compare(
    reference: Reference,
    backends: Sequence[str],
    outputs: Tensors,
    *,
    logits: Tensors | None = None,
    activations: Mapping[str, str],
    step: float = 0.0,
) -> Iterator[OtherBackend]:
    """As `parity.compare`, against each of these other backends; and that one against the first.

    Raises SourceError for one that has not answered: a comparison that was asked for is not left out.
    """
    for backend in backends:
        if backend not in reference.backends:
            raise SourceError(
                f"what Keras answers on {backend} is not in the reference", hint="kexport parity --with-keras DIR"
            )
        there = reference.answered_by(backend)
        yield OtherBackend(
            backend=backend,
            outputs=parity.compare(there, outputs, logits=logits, activations=activations, step=step),
            itself=parity.compare(there, reference.outputs, logits=reference.logits, activations=activations),
        )


def judge(others: Sequence[OtherBackend], bounds: tuple[Bound, ...]) -> Iterator[Check]:
    """As `parity.judge`; the backend stands before the name of each check."""
    for other in others:
        for check in parity.judge(other.outputs, bounds):
            yield replace(check, name=f"{other.backend}: {check.name}")


def told(others: Sequence[OtherBackend]) -> Iterator[str]:
    """A line for each backend: how far the artifact is from it, and how far Keras is from itself."""
    for other in others:
        ours, itself = parity.worst(other.outputs), parity.worst(other.itself)
        yield (
            f"Keras on {other.backend}: error to signal {ours:.2g}, where Keras itself differs by {itself:.2g} "
            "between the backends"
        )
