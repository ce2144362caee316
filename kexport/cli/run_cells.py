"""What ``export`` and ``all`` do with their cells, and how any run of records is told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kexport.cli import output, progress, verdict
from kexport.options import ExportOptions
from kexport.options.place import Url
from kexport.records import Record
from kexport.sources.names import Named

if TYPE_CHECKING:
    from kexport.specs import Cell
    from kexport.store.mirror import Folder


def execute(models: Sequence[Named], options: ExportOptions) -> int:
    """Run every cell, write tables or JSON to stdout and the verdict to stderr; returns the exit code."""
    from kexport import pipeline

    if not (options.isolate or options.resume or options.cluster):
        pipeline.ahead()
    from kexport.pipeline import requests

    cells = requests.cells(models, options)
    started = time.monotonic()
    from kexport.store import mirror

    with mirror.opened(options.output, {cell.model.name for cell in cells}) as folder:
        records = _run(cells, options, folder)
    return tell(records, as_json=options.as_json, directory=options.output, seconds=time.monotonic() - started)


def _run(cells: tuple[Cell, ...], options: ExportOptions, folder: Folder) -> tuple[Record, ...]:
    from kexport import pipeline
    from kexport.pipeline import requests
    from kexport.pipeline.memory import work
    from kexport.pipeline.running import fields_of

    request = pipeline.Request(
        cells=cells,
        directory=folder.path,
        mirror=folder.mirror,
        note=lambda line: output.message(f"note: {line}"),
        **fields_of(options),
    )
    for line in requests.skipped(options):
        output.message(line)
    sizes = {cell.label: work(cell) for cell in cells}
    with progress.create(total=len(cells), sizes=sizes) as observer:
        return pipeline.run(request, observer)


def tell(records: Sequence[Record], *, as_json: bool, seconds: float, directory: Path | Url | None = None) -> int:
    """Records to stdout, the verdict to stderr; returns the exit code."""
    show(records, as_json=as_json)
    output.message(verdict.text(records, directory=directory, seconds=seconds))
    return verdict.exit_code(records)


def show(records: Sequence[Record], *, as_json: bool, more: Mapping[str, object] | None = None) -> None:
    """Records as tables, or as JSON with what else is to be told."""
    if as_json:
        from kexport.reports import render

        text = render(records, "json")
        output.data(json.dumps(json.loads(text) | dict(more), indent=2, sort_keys=True) if more else text)
    else:
        from kexport.reports import terminal

        output.renderables(terminal.tables(records))
