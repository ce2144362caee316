"""Where the time of one inference goes, and what the machine could do at best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One operator as the runtime runs it: seconds of an inference, the mean of the middle half of ``runs``.

    ``place`` is the Keras layer that it belongs to, in a file that kexport wrote: convolution, normalisation and
    activation that became one stand under the last one's name. In files of others it is the operator's own name.
    """

    name: str
    place: str
    kind: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a place computes and moves in one inference, counted in the file.

    ``macs`` are the multiply-accumulates of convolutions and matrix products, in ``integers`` or not; other arithmetic
    is not counted. ``moved_bytes`` are its weights, what it reads of other places and what it writes for them, each
    once, as wide as the file stores it.
    """

    place: str
    macs: int
    moved_bytes: int
    integers: bool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What this machine did in the same process with the same threads: matrix products, and a copy of memory.

    A multiply-accumulate is one operation here. ``copy_bytes_per_second`` counts what was read and what was written,
    ``copied_bytes`` of it at a time: as much as the network moves, so that both find it in the same cache.
    """

    float_macs_per_second: float
    integer_macs_per_second: float
    copy_bytes_per_second: float
    copied_bytes: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The operators of one file, in the order in which they run; ``method`` says how they were timed.

    ``layers``: places are Keras layers. ``work`` and ``limits`` make a roofline, where both could be had.
    ``missing`` says why there are no operators.
    """

    method: str
    layers: bool
    runs: int
    operators: tuple[OperatorTime, ...]
    work: tuple[Work, ...] = ()
    limits: Limits | None = None
    missing: str = ""
