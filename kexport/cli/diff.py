"""``kexport diff``: what changed between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kexport.cli import output
from kexport.cli.options import STORED_HINT, Here
from kexport.errors import StoreError, UsageError

if TYPE_CHECKING:
    from kexport.records import Record

ORDER = 75
MOST_BYTES = 2**29
LIMITS = (
    ("parity_factor", 2.0, "X", "Times that errors of float files may grow, e.g. --parity-factor 5"),
    ("sqnr_db", 1.0, "DB", "Decibels that SQNR may fall, e.g. --sqnr-db 0.5"),
    ("agreement", 0.01, "SHARE", "Share that top-1 agreement may fall, e.g. --agreement 0.005"),
    ("accuracy_points", 0.5, "POINTS", "Points that top-1 may fall, e.g. --accuracy-points 0.2"),
    ("size_percent", 1.0, "PERCENT", "Per cent that a file may grow, e.g. --size-percent 0"),
    ("latency_percent", 5.0, "PERCENT", "Per cent that a median may grow, e.g. --latency-percent 10"),
)


def _limits(function: Any) -> Any:
    for name, default, metavar, meaning in reversed(LIMITS):
        flag = f"--{name.replace('_', '-')}"
        least = click.FloatRange(min=0)
        function = click.option(flag, name, type=least, default=default, show_default=True, metavar=metavar,
                                help=meaning)(function)  # fmt: skip
    return function


@click.command("diff")
@click.argument("baseline", type=Here(hint=STORED_HINT, exists=True), metavar="BASELINE")
@click.argument("new", type=Here(hint=STORED_HINT, exists=True), metavar="NEW")
@_limits
@click.option(
    "--operators", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
    help="Operators that a file may have more, e.g. --operators 3",
)  # fmt: skip
@click.option(
    "--allow", "allowed", multiple=True, metavar="KIND",
    help="A kind of change that is no regression here; repeatable, e.g. --allow missing --allow contract",
)  # fmt: skip
@click.option(
    "--format", "form", default="terminal", show_default=True, metavar="terminal|md|json",
    help="Kind of text on stdout, e.g. --format md > comment.md",
)  # fmt: skip
def command(baseline: Path, new: Path, allowed: tuple[str, ...], form: str, **limits: Any) -> int:
    """Tell what changed between two runs, cell by cell; exit 1 on a regression.

    BASELINE and NEW are folders of artifacts, or files of `kexport report --format json` or `summary`.

    Example: kexport diff main/records.json artifacts --format md
    """
    from kexport.reports import diff
    from kexport.reports.changes import KINDS, Thresholds

    _require("kind", allowed, KINDS, hint="--allow contract")
    _require("diff format", (form,), ("terminal", "md", "json"), hint="--format md")
    thresholds = Thresholds(**limits)
    found = diff.diff(_records(baseline), _records(new), thresholds=thresholds, allowed=allowed)
    if form == "terminal":
        from kexport.reports.terminal import shown

        output.renderables([item for table in diff.tables(found) for item in shown(table)])
        output.message(f"{diff.headline(found)}\n{diff.stated(found)}")
    else:
        output.data(diff.render_md(found) if form == "md" else diff.render_json(found))
    return 1 if found.regressions else 0


def _require(kind: str, values: Sequence[str], legal: Sequence[str], *, hint: str) -> None:
    from kexport.errors import UnknownNameError

    for value in values:
        if value not in legal:
            raise UnknownNameError(kind=kind, value=value, legal=legal, hint=hint)


def _records(path: Path) -> tuple[Record, ...]:
    """The records of a folder or of a file. Raises UsageError where there are none, StoreError for damaged ones."""
    from kexport import files, store
    from kexport.reports import json

    if path.is_dir():
        found = store.read_records(path)
    else:
        try:
            found = json.read(files.read(path, limit_bytes=MOST_BYTES), told=str(path))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}", hint=_hint(path)) from error
    if not found:
        raise UsageError(f"{path} holds no records", hint=_hint(path))
    return found


def _hint(path: Path) -> str:
    return f"kexport report DIR --format summary > {path if path.suffix == '.json' else 'baseline.json'}"
