"""A change between two runs, of which kind it is, and from where on it is a regression."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kexport.records import Record, Status

KINDS = (
    "status",
    "missing",
    "new",
    "parity",
    "agreement",
    "accuracy",
    "size",
    "latency",
    "operators",
    "contract",
    "source",
)
_RANK = {Status.PASS: 0, Status.UNPROVEN: 1}
_WORST_RANK = 2


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From where on a change is a regression.

    ``parity_factor``: errors of float files may grow so many times, or up to a tenth of their bound. ``sqnr_db``: how
    much SQNR may fall, of what is below 60 dB. ``agreement`` is a share, ``accuracy_points`` points of top-1,
    ``size_percent`` and ``latency_percent`` growth in per cent, ``operators`` a number of nodes.
    """

    parity_factor: float = 2.0
    sqnr_db: float = 1.0
    agreement: float = 0.01
    accuracy_points: float = 0.5
    size_percent: float = 1.0
    latency_percent: float = 5.0
    operators: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) >= 0:
                raise ValueError(f"{each.name} {getattr(self, each.name)}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs in one cell: what it was, what it is, and whether that is a regression."""

    model: str
    format: str
    scheme: str
    kind: str
    what: str
    before: str
    after: str
    regression: bool = False

    @property
    def cell(self) -> str:
        """As `Cell.label`."""
        return f"{self.model} {self.format} {self.scheme}"


def change(record: Record, kind: str, what: str, before: str, after: str, *, regression: bool = False) -> Change:
    """A change of the cell of ``record``."""
    return Change(
        model=record.model, format=record.format, scheme=record.kind, kind=kind, what=what, before=before,
        after=after, regression=regression,
    )  # fmt: skip


def passes(record: Record) -> int:
    """0 for PASS, 1 for UNPROVEN, 2 for all else."""
    return _RANK.get(record.status, _WORST_RANK)
