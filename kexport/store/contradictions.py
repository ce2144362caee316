"""Records that cannot be true by what they say themselves."""

from __future__ import annotations

from kexport.records import Record, Status

AT_LEAST = {"sqnr_db", "cosine", "top1_agreement", "top5_agreement"}
"""Figures of which more is better."""


def contradiction(record: Record) -> str | None:
    """Why the record cannot be true by what it says itself; None where it can."""
    return _foreign_provenance(record) or _no_pass(record)


def _foreign_provenance(record: Record) -> str | None:
    """Whether the statement of provenance speaks of another artifact than the record."""
    artifact, told = record.artifact, record.provenance
    if artifact is None or told is None:
        return None
    expected = [{"name": artifact.path, "digest": {"sha256": artifact.sha256}}]
    return None if told.get("subject") == expected else "its provenance speaks of another artifact"


def _no_pass(record: Record) -> str | None:
    """Why a PASS cannot be one by its own checks."""
    if record.status is not Status.PASS:
        return None
    for check in record.parity.checks if record.parity is not None else ():
        least = check.name.rpartition(": ")[2] in AT_LEAST
        holds = check.value >= check.bound if least else check.value <= check.bound
        if not (check.passed and holds):
            return (
                f"says PASS, but {check.name} is {check.value:g}, expected {'at least' if least else 'at most'} "
                f"{check.bound:g}"
            )
    return None
