"""The written file or folder."""

from __future__ import annotations

from dataclasses import dataclass

from kexport.files import too_long
from kexport.records.source import Signature


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """What an engine wrote: operator counts by name, the signature, and what else its reader should know."""

    operations: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A written file or folder. ``path`` is relative to the artifact directory and lies inside it.

    ``allowed`` are the operators that it was held to, by ``--operators`` or a target; any where there are none.
    ``float16_biases`` is whether ``--float16-biases`` was given.
    """

    path: str
    format: str
    scheme: str
    size_bytes: int
    sha256: str
    engine: str
    engine_reason: str
    operations: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    opset: int | None = None
    notes: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    float16_biases: bool = False

    def __post_init__(self) -> None:
        parts = {part for part in self.path.split("/") if part not in ("", ".")}
        if self.path.startswith("/") or ".." in parts or not parts or "\0" in self.path:
            raise ValueError(f"artifact path {self.path!r}: expected one inside the artifact directory")
        if too_long(self.path):
            raise ValueError(f"artifact path {self.path[:60]!r}...: {len(self.path)} characters, too long for a file")
