"""What changed between two records of one cell, kind by kind; what of it is a regression, by stated thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

from kexport.evidence.latency import Latency, summarize
from kexport.records import BenchRecord, OutputParity, Preprocessing, Record, Signature, SourceFacts
from kexport.reports.change import KINDS, Change, Thresholds, change, passes
from kexport.reports.summary import DIGEST, digested
from kexport.reports.tables import NONE, RUNTIMES, milliseconds, worst

_MACHINE = ("processor", "instructions", "cores", "memory_gib")
_SHARE_OF_BOUND = 0.1
_INAUDIBLE_DB = 60.0
_FINE, _ROUNDING = 0.05, 1e-12


def between(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    """Every change of a cell that both runs have."""
    yield from _status(old, new)
    yield from _parity(old, new, limits)
    yield from _backends(old, new)
    yield from _accuracy(old, new, limits)
    yield from _size(old, new, limits)
    yield from _latency(old, new, limits)
    yield from _operators(old, new, limits)
    yield from _contract(old, new)
    yield from _source(old, new)


def _status(old: Record, new: Record) -> Iterator[Change]:
    if old.status is not new.status:
        told = f"{new.status}: {new.reason}" if new.reason else str(new.status)
        yield change(new, "status", "status", str(old.status), told, regression=passes(new) > passes(old))


def _parity(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    ours, theirs = _outputs(old), _outputs(new)
    if not ours or not theirs:
        return
    before, after = (worst((each.logits_max_abs_error for each in found), max) for found in (ours, theirs))
    assert before is not None
    assert after is not None
    if not _alike(before, after):
        grown = not after <= limits.parity_factor * before and not _far_from_its_bound(new)
        yield change(new, "parity", "max logits error", f"{before:.2e}", f"{after:.2e}",
                     regression=grown and not _is_quantized(new))  # fmt: skip
    noise, agreed = ((_least(ours, name), _least(theirs, name)) for name in ("sqnr_db", "top1_agreement"))
    yield from _lower(new, "parity", "SQNR dB", noise, limit=limits.sqnr_db, enough=_INAUDIBLE_DB)
    yield from _lower(
        new, "agreement", "top-1 agreement on the reference", agreed, limit=limits.agreement, enough=math.inf
    )


def _backends(old: Record, new: Record) -> Iterator[Change]:
    """Backends of Keras that the file is not compared with any more, or now is."""
    ours, theirs = (_compared(record) for record in (old, new))
    if ours != theirs and new.parity is not None:
        yield change(new, "parity", "compared with Keras on", ", ".join(ours) or "one backend",
                     ", ".join(theirs) or "one backend", regression=not set(ours) <= set(theirs))  # fmt: skip


def _compared(record: Record) -> tuple[str, ...]:
    """The backends by name, where there was more than one."""
    parity = record.parity
    if parity is None or not parity.others:
        return ()
    return tuple(sorted((parity.backend, *(each.backend for each in parity.others))))


def _accuracy(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    ours, theirs = old.accuracy, new.accuracy
    if ours is not None and theirs is None:
        yield change(new, "accuracy", "photographs", f"{ours.images} images", "not measured", regression=True)
    if ours is None or theirs is None:
        return
    if ours.evaluation_sha256 != theirs.evaluation_sha256:
        yield change(new, "accuracy", "photographs", f"{ours.images} images", f"{theirs.images} others")
        return
    agreed = ours.top1_agreement, theirs.top1_agreement
    what = "agreement with Keras on photographs"
    yield from _lower(new, "agreement", what, agreed, limit=limits.agreement, enough=math.inf)
    if ours.top1 is not None and theirs.top1 is not None:
        right = 100 * ours.top1, 100 * theirs.top1
        yield from _lower(new, "accuracy", "top-1 %", right, limit=limits.accuracy_points, enough=math.inf)
    yield from _scores(old, new, limits)


def _scores(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    """The figures of networks that are no classifiers, by name: points as top-1's, others in per cent of themselves."""
    assert old.accuracy is not None
    assert new.accuracy is not None
    known = {score.name: score for score in old.accuracy.scores}
    for score in new.accuracy.scores:
        before = known.get(score.name)
        if before is None or _alike(before.value, score.value):
            continue
        worse = (score.value - before.value) * (1 if score.lower_is_better else -1)
        limit = limits.accuracy_points * (1 if score.unit == "%" else abs(before.value) / 100)
        what = f"{score.name} {score.unit}".rstrip()
        yield change(new, "accuracy", what, f"{before.value:.4g}", f"{score.value:.4g}",
                     regression=not worse <= limit + _ROUNDING)  # fmt: skip


def _size(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    if old.artifact is None or new.artifact is None or old.artifact.size_bytes == new.artifact.size_bytes:
        return
    before, after = old.artifact.size_bytes, new.artifact.size_bytes
    grown = 100 * (after / before - 1) if before else math.inf
    yield change(new, "size", "MB", f"{before / 1e6:.3f}", f"{after / 1e6:.3f} ({grown:+.1f} %)",
                 regression=grown > limits.size_percent)  # fmt: skip


def _latency(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    """Only what was measured alike, on the same machine, and quietly, can be slower."""
    known = {_condition(session): session for session in old.benchmarks if session.samples_seconds}
    for session in new.benchmarks:
        other = known.get(_condition(session))
        if other is None or not session.samples_seconds:
            continue
        ours, theirs = _summary(other), _summary(session)
        what = f"median ms ({told(session)})"
        before, after = milliseconds(ours.median_seconds), milliseconds(theirs.median_seconds)
        if why := unjudged(other, session):
            yield change(new, "latency", f"{what}: not judged, {why}", before, after)
        elif grown := _apart(ours, theirs):
            yield change(new, "latency", what, before, f"{after} ({grown:+.1f} %)",
                         regression=grown > limits.latency_percent)  # fmt: skip


def unjudged(old: BenchRecord, new: BenchRecord) -> str:
    """Why two measurements say nothing about each other; empty if they do."""
    ours, theirs = ([session.machine.get(name, "") for name in _MACHINE] for session in (old, new))
    if ours != theirs:
        return f"another machine ({ours[0] or 'unknown'}, {ours[2]} cores; {theirs[0] or 'unknown'}, {theirs[2]} cores)"
    if noisy := [name for name, each in (("before", old), ("after", new)) if _summary(each).noisy]:
        return f"too noisy {' and '.join(noisy)}"
    return ""


def told(session: BenchRecord) -> str:
    """Under which conditions a session was measured."""
    runtime = RUNTIMES.get(session.runtime, session.runtime)
    return f"{runtime}, {session.device}, {session.threads} threads, batch {session.batch}"


def _operators(old: Record, new: Record, limits: Thresholds) -> Iterator[Change]:
    if old.artifact is None or new.artifact is None:
        return
    if old.artifact.engine != new.artifact.engine:
        yield change(new, "operators", "engine", old.artifact.engine, new.artifact.engine, regression=True)
    before, after = old.artifact.operations, new.artifact.operations
    differing = sorted(name for name in {*before, *after} if before.get(name, 0) != after.get(name, 0))
    if differing:
        more = sum(after.values()) - sum(before.values())
        first = [name for name in differing if name not in before]
        yield change(new, "operators", f"operators ({more:+d} in all)", _counted(before, differing),
                     _counted(after, differing), regression=bool(first) or more > limits.operators)  # fmt: skip


def _contract(old: Record, new: Record) -> Iterator[Change]:
    """What a consumer of the file relies on: names, shapes and types, the pixels' way, the classes, the opset."""
    ours, theirs = old.source, new.source
    if old.artifact is not None and new.artifact is not None:
        for what in ("inputs", "outputs"):
            before, after = (_signatures(getattr(each.artifact, what)) for each in (old, new))
            yield from _differs(new, what, before, after)
        yield from _differs(new, "opset", str(old.artifact.opset), str(new.artifact.opset))
    if ours is None or theirs is None:
        return
    for each in fields(Preprocessing):
        before, after = (str(getattr(facts.preprocessing, each.name, NONE)) for facts in (ours, theirs))
        if not each.name.endswith("basis"):
            yield from _differs(new, f"preprocessing: {each.name}", before, after)
    yield from _differs(new, "labels", *map(_labels, (ours, theirs)))


def _labels(source: SourceFacts) -> str:
    """How many classes have names, and enough of the digest of those to tell them from others."""
    digest, _, count = "".join(digested(source)).removeprefix(DIGEST).partition(" of ")
    return f"{count} names (sha256 {digest[:12]})" if digest else "none"


def _source(old: Record, new: Record) -> Iterator[Change]:
    """Other weights are told, so that a reader knows why numbers differ."""
    ours, theirs = old.source, new.source
    if ours is not None and theirs is not None and ours.weights_sha256 != theirs.weights_sha256:
        before, after = (f"{each.weights} (sha256 {each.weights_sha256[:12]})" for each in (ours, theirs))
        yield change(new, "source", "weights", before, after)


def _differs(record: Record, what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield change(record, "contract", what, before, after, regression=True)


def _lower(
    record: Record, kind: str, what: str, pair: tuple[float | None, float | None], *, limit: float, enough: float
) -> Iterator[Change]:
    """A figure of which more is better; of what is ``enough`` nothing is lost."""
    before, after = pair
    if before is None or after is None or _alike(before, after):
        return
    digits = 4 if limit < _FINE else 2
    fallen = not after >= before - limit - _ROUNDING and not after >= enough
    yield change(record, kind, what, f"{before:.{digits}f}", f"{after:.{digits}f}", regression=fallen)


def _alike(before: float, after: float) -> bool:
    return before == after or (math.isnan(before) and math.isnan(after))


def _outputs(record: Record) -> tuple[OutputParity, ...]:
    return record.parity.outputs if record.parity is not None else ()


def _least(outputs: tuple[OutputParity, ...], figure: str) -> float | None:
    return worst((getattr(each, figure) for each in outputs), min)


def _far_from_its_bound(record: Record) -> bool:
    """Whether every error check uses less than a tenth of what it may."""
    checks = record.parity.checks if record.parity is not None else ()
    errors = [check for check in checks if "error" in check.name]
    return bool(errors) and all(check.value <= _SHARE_OF_BOUND * check.bound for check in errors)


def _is_quantized(record: Record) -> bool:
    return record.quantization is not None or record.scheme not in ("float32", "float16")


def _condition(session: BenchRecord) -> tuple[str, str, int, int]:
    return session.runtime, session.device, session.threads, session.batch


def _summary(session: BenchRecord) -> Latency:
    return summarize(session.samples_seconds, batch=session.batch)


def _apart(ours: Latency, theirs: Latency) -> float:
    """Growth of the median in per cent where the intervals of both lie apart, else 0."""
    if theirs.low_seconds <= ours.high_seconds and ours.low_seconds <= theirs.high_seconds:
        return 0.0
    return 100 * (theirs.median_seconds / ours.median_seconds - 1) if ours.median_seconds else math.inf


def _counted(operations: dict[str, int], names: list[str]) -> str:
    return ", ".join(f"{operations.get(name, 0)} {name}" for name in names)


def _signatures(specs: tuple[Signature, ...]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in specs)


__all__ = ["KINDS", "Change", "Thresholds", "between", "change", "passes", "told", "unjudged"]
