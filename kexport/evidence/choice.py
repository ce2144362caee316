"""``--schemes auto``: of the files of a model in a format, the fastest inside the bounds, by trusted measurements."""

from __future__ import annotations

from collections.abc import Sequence

from kexport.evidence.latency import Latency, summarize
from kexport.records import TAKEN, Record, Status

KERAS, FLOAT32 = "keras", "float32"


def choose(records: Sequence[Record]) -> tuple[str, ...]:
    """What is said of each of the records of one model and format; nothing of all where none is to be taken.

    Of several that are as fast, as far as their intervals tell, the smallest file is taken. Where no measurement can
    be trusted, float32 is, or the first that passed.
    """
    passed = [each for each in records if each.status is Status.PASS] or [each for each in records if each.published]
    if not passed:
        return ("",) * len(records)
    times = {id(each): latency for each in passed if (latency := _trusted(each)) is not None}
    best, why = _best(passed, times)
    return tuple(f"{TAKEN}: {why}" if each is best else _not_taken(each, times.get(id(each))) for each in records)


def latency_of(record: Record) -> Latency | None:
    """The last session of the file itself."""
    own = [each for each in record.benchmarks if each.runtime != KERAS and each.samples_seconds]
    return summarize(own[-1].samples_seconds, batch=own[-1].batch) if own else None


def _trusted(record: Record) -> Latency | None:
    found = latency_of(record)
    return None if found is None or found.noisy else found


def _best(passed: Sequence[Record], times: dict[int, Latency]) -> tuple[Record, str]:
    if not times:
        first = next((each for each in passed if each.scheme == FLOAT32), passed[0])
        return first, "the machine was too noisy to say which is the fastest"
    timed = [each for each in passed if id(each) in times]
    fastest = min(timed, key=lambda each: times[id(each)].median_seconds)
    alike = [each for each in timed if times[id(each)].low_seconds <= times[id(fastest)].high_seconds]
    best = min(alike, key=_size)
    told = f"{1e3 * times[id(best)].median_seconds:.2f} ms"
    among = "" if len(timed) == len(passed) else f" of the {len(timed)} whose time can be told"
    if len(alike) > 1:
        return best, f"{told}, the smallest of {len(alike)} that are as fast{among and ',' + among}"
    return best, f"{told}, the fastest inside the bounds{among and ',' + among}"


def _not_taken(record: Record, latency: Latency | None) -> str:
    if not record.published:
        return f"left: {record.reason}"
    if latency is None:
        return "left: its time cannot be told"
    return f"left: {1e3 * latency.median_seconds:.2f} ms"


def _size(record: Record) -> int:
    return record.artifact.size_bytes if record.artifact is not None else 0
