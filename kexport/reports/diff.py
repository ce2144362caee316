"""What changed between two runs, cell by cell: for a pull request, a machine, or a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from kexport.records import SCHEMA_VERSION, Record
from kexport.reports.changes import Change, Thresholds, between, change, passes
from kexport.reports.md import escape, markdown
from kexport.reports.tables import NONE, Table

Key = tuple[str, str, str]
_HEADER = ("cell", "kind", "what", "before", "after")
_MOST_ROWS = 200
"""Of the changes that are no regressions, in Markdown: a comment on a pull request has 65,536 characters."""


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The cells that were compared, and everything that differs, regressions first; ``allowed`` kinds are none."""

    compared: int
    changes: tuple[Change, ...]
    thresholds: Thresholds
    allowed: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What is worse by more than the thresholds say."""
        return tuple(each for each in self.changes if each.regression)

    @property
    def others(self) -> tuple[Change, ...]:
        """What differs without being a regression."""
        return tuple(each for each in self.changes if not each.regression)


def diff(
    old: Sequence[Record], new: Sequence[Record], *, thresholds: Thresholds | None = None, allowed: Collection[str] = ()
) -> Diff:
    """Compare two runs. A cell that is missing, or new and does not pass, is a regression."""
    limits = thresholds or Thresholds()
    ours, theirs = _cells(old), _cells(new)
    both = [key for key in ours if key in theirs]
    found = [each for key in both for each in between(ours[key], theirs[key], limits)]
    found += [
        change(ours[key], "missing", "cell", str(ours[key].status), NONE, regression=True)
        for key in ours if key not in theirs
    ]  # fmt: skip
    found += [
        change(theirs[key], "new", "cell", NONE, _ended(theirs[key]), regression=passes(theirs[key]) > 0)
        for key in theirs if key not in ours
    ]  # fmt: skip
    judged = [replace(each, regression=each.regression and each.kind not in allowed) for each in found]
    ordered = sorted(judged, key=lambda each: (not each.regression, each.cell))
    return Diff(compared=len(both), changes=tuple(ordered), thresholds=limits, allowed=tuple(sorted(allowed)))


def headline(found: Diff) -> str:
    """One line: how many regressions of which kind, in how many cells."""
    cells = f"{found.compared} {'cell' if found.compared == 1 else 'cells'} compared"
    if not found.regressions:
        return f"{cells}: no regression, {_number(len(found.others), 'other change')}"
    kinds = Counter(each.kind for each in found.regressions)
    tally = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{cells}: {_number(len(found.regressions), 'regression')} ({tally}), " + _number(
        len(found.others), "other change"
    )


def tables(found: Diff) -> tuple[Table, ...]:
    """Regressions, then what else changed; those without rows are left out."""
    made = (("Regressions", found.regressions), ("Other changes", found.others))
    return tuple(
        Table(title=title, header=_HEADER, rows=tuple(map(_row, changes)), text_columns=len(_HEADER))
        for title, changes in made
        if changes
    )


def stated(found: Diff) -> str:
    """The thresholds, in words."""
    limits = found.thresholds
    words = (
        f"a regression is: a worse status, a missing cell, a new cell that does not pass, another contract, "
        f"logits errors of float files more than {limits.parity_factor:g} times as large (and above a tenth of their "
        f"bound), SQNR {limits.sqnr_db:g} dB lower, agreement {limits.agreement:g} lower, top-1 "
        f"{limits.accuracy_points:g} points lower, {limits.size_percent:g} % more bytes, a median "
        f"{limits.latency_percent:g} % slower outside its noise on the same machine, a new operator or more than "
        f"{limits.operators} more of them"
    )
    return f"{words}; allowed: {', '.join(found.allowed)}" if found.allowed else words


def render_md(found: Diff) -> str:
    """For a pull request: what is worse stands open, the rest is folded."""
    parts = [f"### kexport diff: {'REGRESSED' if found.regressions else 'no regression'}", headline(found) + "."]
    for table in tables(found):
        if table.title == "Regressions":
            parts.append(markdown(table))
            continue
        left = len(table.rows) - _MOST_ROWS
        shown = replace(table, rows=table.rows[:_MOST_ROWS])
        more = f"\n\n{left} more: `kexport diff --format json`" if left > 0 else ""
        parts.append(f"<details><summary>{escape(table.title)}: {len(table.rows)}</summary>\n\n"
                     f"{markdown(shown)}{more}\n\n</details>")  # fmt: skip
    parts.append(f"<sub>{escape(stated(found))}</sub>")
    return "\n\n".join(parts) + "\n"


def render_json(found: Diff) -> str:
    """Everything, for a machine."""
    document = {
        "schema": SCHEMA_VERSION,
        "compared": found.compared,
        "regressions": len(found.regressions),
        "changes": [asdict(each) for each in found.changes],
        "thresholds": asdict(found.thresholds),
        "allowed": list(found.allowed),
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _cells(records: Sequence[Record]) -> dict[Key, Record]:
    """Records by cell; where a failure lies beside an artifact of an earlier run, the failure is how it ended."""
    found: dict[Key, Record] = {}
    for record in sorted(records, key=lambda each: (each.model, each.format, each.kind)):
        key = (record.model, record.format, record.kind)
        if key not in found or passes(record) > passes(found[key]):
            found[key] = record
    return found


def _ended(record: Record) -> str:
    return f"{record.status}: {record.reason}" if record.reason else str(record.status)


def _row(each: Change) -> tuple[str, ...]:
    return (each.cell, each.kind, each.what, each.before, each.after)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
