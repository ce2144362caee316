"""What the bounds of a request say against an artifact: its size, and its time beside that of the float32 file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kexport.errors import UsageError
from kexport.evidence.latency import REMEDY, Latency, summarize
from kexport.options.sizes import bytes_of
from kexport.records import AccuracyRecord, BenchRecord, Record
from kexport.specs import Cell

LABELS_HINT = "one folder per class, files <class index>_*.jpg, or --eval FILE.csv with path,class index"
_ALIKE = ("runtime", "device", "threads", "batch", "machine")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A session of an artifact beside that of the float32 file of its format, measured alike.

    ``doubt`` says why the machine was too noisy to tell; empty where it was not.
    """

    own: Latency
    other: Latency
    runtime: str

    @property
    def ratio(self) -> float:
        """The median time, of that of the float32 file."""
        return self.own.median_seconds / self.other.median_seconds if self.other.median_seconds else float("inf")

    @property
    def doubt(self) -> str:
        """Why the ratio cannot be trusted."""
        return "; ".join(dict.fromkeys((*self.own.noise, *self.other.noise)))

    @property
    def slower(self) -> bool:
        """Whether the artifact takes longer, beyond the intervals of both medians."""
        return not self.doubt and self.own.low_seconds > self.other.high_seconds


def require_figures(cell: Cell, scored: AccuracyRecord, images: str) -> None:
    """Raise UsageError where the images give no figure that a bound of the cell could hold."""
    if cell.min_agreement is not None and scored.top1_agreement is None:
        raise UsageError(
            f"--min-agreement {cell.min_agreement:g}: the answers on {images} are no decisions, which "
            "could be the same; --max-drop holds any figure",
            hint="--max-drop 0.5",
        )
    if cell.max_drop is not None and scored.headline is None:
        raise UsageError(
            f"--max-drop {cell.max_drop:g}: --eval {images} has no labels, so that no drop can be measured",
            hint=LABELS_HINT,
        )


def size(most: str | None, size_bytes: int) -> Iterator[str]:
    """What ``--max-size`` says against a file of so many bytes."""
    if most is not None and not size_bytes <= bytes_of("--max-size", most):
        yield f"the file has {size_bytes} bytes ({size_bytes / 1e6:.2f} MB), the bound is --max-size {most}"


def beside_float32(record: Record, float32: Record | None) -> Compared | None:
    """The artifact's last session that has one of the float32 file measured alike; None if there is none."""
    if float32 is None:
        return None
    for session in reversed(record.benchmarks):
        alike = [other for other in float32.benchmarks if _measured_alike(session, other)]
        if alike and session.samples_seconds and alike[-1].samples_seconds:
            own, other = (summarize(each.samples_seconds, batch=each.batch) for each in (session, alike[-1]))
            return Compared(own=own, other=other, runtime=session.runtime)
    return None


def _measured_alike(one: BenchRecord, other: BenchRecord) -> bool:
    return one.runtime != "keras" and all(getattr(one, name) == getattr(other, name) for name in _ALIKE)


def latency(most: float, compared: Compared | None) -> tuple[str, bool]:
    """What ``--max-latency-ratio`` says against an artifact, and whether it could be told; empty where it is held."""
    bound = f"the bound is --max-latency-ratio {most:g}"
    if compared is None:
        return f"no float32 file of its format was measured beside it; {bound}", False
    told = f"it takes {compared.ratio:.2f} times as long as float32 on {compared.runtime}"
    if compared.doubt:
        return f"{told}, and the machine was too noisy to say ({compared.doubt}); {bound}; {REMEDY}", False
    return ("" if compared.ratio <= most else f"{told}, {bound}"), True
