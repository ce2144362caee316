"""Which figures are not to be trusted, and why: every report marks them alike, and makes no sentence of one."""

from __future__ import annotations

from kexport.evidence.latency import Latency
from kexport.records import Record, Status

STAR = "*"


def of_parity(record: Record) -> str:
    """Why the comparison with Keras is no proof; empty where it is one."""
    return record.reason if record.status is Status.UNPROVEN else ""


def of_accuracy(record: Record) -> str:
    """Why accuracy on the photographs says little; empty where it can be believed."""
    scored = record.accuracy
    if scored is None:
        return ""
    overlap = f"{scored.overlap} of {scored.images} images were calibrated on" if scored.overlap else ""
    return "; ".join(filter(None, (*scored.caveats, overlap)))


def of_latency(latency: Latency) -> str:
    """Why samples say little; empty where they can be believed."""
    return "; ".join(latency.noise)


def starred(text: str, why: str) -> str:
    """The text with a star where there is a reason to doubt it."""
    return f"{text}{STAR}" if why else text
