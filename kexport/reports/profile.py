"""Where the time goes: the layers of a profiled file, the slowest first, and its operators by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kexport.evidence.latency import REMEDY, summarize
from kexport.records import BenchRecord, Limits, OperatorTime, Profile, Record, Work
from kexport.reports import origin, roofline
from kexport.reports.tables import RUNTIMES, Table, milliseconds, number

MOST = 12
"""Layers of a table in a terminal or in Markdown."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What several operators take together; ``share`` of all, ``attainable`` of what the machine could do at best."""

    name: str
    kinds: str
    count: int
    seconds: float
    share: float
    work: Work | None = None
    attainable: float | None = None


def by_place(profile: Profile) -> tuple[Share, ...]:
    """One value per layer, or per operator of a file that tells no layers; the slowest first."""
    work = {each.place: each for each in profile.work}
    return tuple(
        _with_work(share, work.get(share.name), profile.limits)
        for share in _shares(profile, [each.place or each.name for each in profile.operators])
    )


def by_kind(profile: Profile) -> tuple[Share, ...]:
    """One value per kind of operator, the slowest first."""
    return tuple(_shares(profile, [each.kind for each in profile.operators]))


def total(profile: Profile) -> float:
    """Seconds of all operators."""
    return sum(each.seconds for each in profile.operators)


def _shares(profile: Profile, names: Sequence[str]) -> list[Share]:
    groups: dict[str, list[OperatorTime]] = {}
    for name, operator in zip(names, profile.operators, strict=True):
        groups.setdefault(name, []).append(operator)
    whole = total(profile)
    return sorted((_share(name, group, whole) for name, group in groups.items()), key=lambda each: -each.seconds)


def _share(name: str, group: Sequence[OperatorTime], whole: float) -> Share:
    seconds = sum(each.seconds for each in group)
    kinds = dict.fromkeys(each.kind for each in sorted(group, key=lambda each: -each.seconds))
    return Share(
        name=name, kinds=", ".join(kinds), count=len(group), seconds=seconds, share=seconds / whole if whole else 0.0
    )


def _with_work(share: Share, work: Work | None, limits: Limits | None) -> Share:
    if work is None or limits is None:
        return share
    return replace(share, work=work, attainable=roofline.attainable(work, limits, share.seconds))


def profiles(records: Iterable[Record]) -> Iterator[tuple[Record, BenchRecord, Profile]]:
    """Every session that was profiled."""
    for record in records:
        for session in record.benchmarks:
            if session.profile is not None:
                yield record, session, session.profile


def profile_tables(records: Sequence[Record], *, most: int = MOST) -> tuple[Table, ...]:
    """Two tables for each profiled session: layers and kinds."""
    return tuple(
        table
        for record, session, profile in profiles(records)
        if profile.operators
        for table in (_layers(record, session, profile, most), _kinds(record, session, profile))
    )


def missing(records: Iterable[Record]) -> tuple[str, ...]:
    """A line for each session that could not be profiled."""
    return tuple(f"{record.label}: no profile: {each.missing}" for record, _, each in profiles(records) if each.missing)


def _layers(record: Record, session: BenchRecord, profile: Profile, most: int) -> Table:
    unit = "layer" if profile.layers else "operator"
    return Table(
        title=f"Where the time goes: {record.label}, {condition(session)}",
        header=(unit, "operators", "ms", "share %", *roofline.HEADER),
        rows=tuple(_row(share) for share in most_of(by_place(profile), most)),
        text_columns=2,
        notes=tuple(notes(session, profile)),
        spare=("operators", "MB", "MMAC"),
    )


def most_of(shares: Sequence[Share], most: int) -> tuple[Share, ...]:
    """The first of them, and all others as one."""
    return (*shares[:most], _rest(shares[most:])) if shares[most:] else tuple(shares)


def _rest(shares: Sequence[Share]) -> Share:
    """Without a share of the attainable: it is no sum of theirs."""
    return Share(
        name=f"{len(shares)} others", kinds="-", count=sum(each.count for each in shares),
        seconds=sum(each.seconds for each in shares), share=sum(each.share for each in shares),
    )  # fmt: skip


def _row(share: Share) -> tuple[str, ...]:
    return (
        share.name,
        share.kinds,
        milliseconds(share.seconds),
        number(100 * share.share, ".1f"),
        *roofline.cells(share.work, share.attainable),
    )


def _kinds(record: Record, session: BenchRecord, profile: Profile) -> Table:
    return Table(
        title=f"By kind of operator: {record.label}, {condition(session)}",
        header=("kind", "count", "ms", "share %"),
        rows=tuple(
            (each.name, str(each.count), milliseconds(each.seconds), number(100 * each.share, ".1f"))
            for each in by_kind(profile)
        ),
        text_columns=1,
        origin=origin.line([record]),
    )


def condition(session: BenchRecord) -> str:
    """Runtime, threads and rows, as a title says them."""
    threads = f"{session.threads} thread{'s' if session.threads > 1 else ''}"
    return f"{RUNTIMES.get(session.runtime, session.runtime)}, {threads}, batch {session.batch}"


def notes(session: BenchRecord, profile: Profile) -> Iterator[str]:
    """How it was measured, and how its sum stands to the latency."""
    latency = summarize(session.samples_seconds, batch=session.batch) if session.samples_seconds else None
    whole = "" if latency is None else (
        f"; a whole inference without it {milliseconds(latency.median_seconds)} ms{'*' if latency.noisy else ''}"
    )  # fmt: skip
    yield f"Measured by {profile.method}. All operators together {milliseconds(total(profile))} ms{whole}."
    if latency is not None and latency.noisy:
        yield f"* not to be trusted to the digit: {'; '.join(latency.noise)}; {REMEDY}"
    yield roofline.told(profile, total(profile))
    if not profile.layers:
        yield "The file is not kexport's own: which Keras layer an operator belongs to cannot be told."
