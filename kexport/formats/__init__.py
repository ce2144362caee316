"""File formats: one writer per format, `write(graph, path, ...) -> WrittenFile`, with its helpers beside it."""

from __future__ import annotations

from dataclasses import dataclass

from kexport.records import Signature


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """What was written: operator counts by name, the signature, and what else its reader should know."""

    operations: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    notes: tuple[str, ...] = ()
