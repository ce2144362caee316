"""What kexport states about an artifact: JSON records with a schema version, legal by construction.

One record file per artifact, ``<artifact>.json``. Raw latency samples are kept, statistics are derived
by the readers. Newer versions are refused, older ones are read as they are: every field since then has a default.
Text is that of `kexport.documents`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kexport.documents import SCHEMA_VERSION, decode_as, encode
from kexport.records.artifact import Artifact, WrittenFile
from kexport.records.gates import Gates
from kexport.records.layers import LayerNoise, LayersRecord
from kexport.records.measured import BenchRecord, Cost
from kexport.records.profiled import Limits, OperatorTime, Profile, Work
from kexport.records.proof import (
    AccuracyRecord,
    Check,
    Compared,
    OtherBackend,
    OutputParity,
    ParityRecord,
    Rounding,
    Score,
)
from kexport.records.quantized import DropSearch, DropTrial, QuantizationRecord
from kexport.records.source import UNKNOWN, Basis, Preprocessing, Resize, Signature, SourceFacts, WeightsFile

__all__ = [
    "SCHEMA_VERSION",
    "UNKNOWN",
    "AccuracyRecord",
    "Artifact",
    "Basis",
    "BenchRecord",
    "Check",
    "Compared",
    "Cost",
    "DropSearch",
    "DropTrial",
    "Gates",
    "LayerNoise",
    "LayersRecord",
    "Limits",
    "OperatorTime",
    "OtherBackend",
    "OutputParity",
    "ParityRecord",
    "Preprocessing",
    "Profile",
    "QuantizationRecord",
    "Record",
    "Resize",
    "Rounding",
    "Score",
    "Signature",
    "SourceFacts",
    "Status",
    "WeightsFile",
    "Work",
    "WrittenFile",
    "decode",
    "decode_as",
    "encode",
]


TAKEN = "taken"


class Status(StrEnum):
    """How a cell ended. Everything but PASS carries a reason."""

    PASS = "PASS"
    FAIL = "FAIL"  # a check said no
    UNPROVEN = "UNPROVEN"  # made, and nothing speaks against it, but no check could tell
    UNSUPPORTED = "UNSUPPORTED"  # the model cannot be expressed
    ERROR = "ERROR"  # it broke: usage, environment or a bug


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything about one cell.

    ``variant`` tells the artifact from the usual one of its format and scheme: ``io-uint8``, ``batch8``.

    ``exit_code`` is that of the error which ended the cell: 1 a check, 2 the request, 3 this environment, 0 of what
    was known not to be supported and is `skipped`. ``made`` is
    the day (UTC) on which, and ``machine`` what, the artifact was judged on; empty in records of 0.1.
    ``auto`` is what ``--schemes auto`` says of the file, which begins with ``taken`` for the one to take of its format.
    ``by_layer`` is what ``parity --by-layer`` found in it; None where that was not asked.
    ``provenance`` is an in-toto statement about the artifact with SLSA's predicate; None in records of 0.1.
    """

    model: str
    format: str
    scheme: str
    status: Status
    reason: str = ""
    hint: str = ""
    reproduce: str = ""
    traceback: str = ""
    exit_code: int = 1
    source: SourceFacts | None = None
    artifact: Artifact | None = None
    parity: ParityRecord | None = None
    accuracy: AccuracyRecord | None = None
    quantization: QuantizationRecord | None = None
    benchmarks: tuple[BenchRecord, ...] = ()
    cost: Cost | None = None
    versions: dict[str, str] = field(default_factory=dict)
    made: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] | None = None
    variant: str = ""
    gates: Gates | None = None
    auto: str = ""
    by_layer: LayersRecord | None = None
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.status is not Status.PASS and not self.reason:
            raise ValueError(f"a record with status {self.status} needs a reason")

    @property
    def again(self) -> str:
        """The command that makes the artifact again, to be typed; `verify` where it names anything but this program.

        A record may come from elsewhere, and what it says to type is no more to be trusted than what it says to run.
        """
        try:
            words = shlex.split(self.reproduce)
        except ValueError:
            words = []
        ours = words[:2] == ["kexport", "export"] and shlex.join(words) == self.reproduce
        return self.reproduce if ours else "kexport verify DIR"

    @property
    def kind(self) -> str:
        """``int8``, ``int8-io-uint8``: the scheme and the variant, as names and tables have them."""
        return f"{self.scheme}-{self.variant}" if self.variant else self.scheme

    @property
    def label(self) -> str:
        """How the cell is called in tables and messages."""
        return f"{self.model} {self.format} {self.kind}"

    @property
    def skipped(self) -> bool:
        """Whether the cell was left out, as it was asked, because it was known not to be supported."""
        return self.status is Status.UNSUPPORTED and self.exit_code == 0

    @property
    def taken(self) -> bool:
        """Whether ``--schemes auto`` takes this file of those of its format."""
        return self.auto.startswith(TAKEN)

    @property
    def only_tried(self) -> bool:
        """Whether ``--schemes auto`` has tried the scheme and takes another."""
        return bool(self.auto) and not self.taken

    @property
    def published(self) -> bool:
        """Whether the artifact is in its place: proven, or with nothing that speaks against it."""
        return self.status in (Status.PASS, Status.UNPROVEN)


def decode(text: str | bytes) -> Record:
    """Read a record back; every mistake is named with its path. Raises StoreError."""
    record: Record = decode_as(Record, text)
    return record
