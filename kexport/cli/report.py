"""``kexport report``: the records of a folder as text."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output
from kexport.cli.options import Stored
from kexport.cli.run_cells import show
from kexport.errors import UsageError
from kexport.options.place import Url

ORDER = 70


@click.command("report")
@click.argument("directory", type=Stored(), metavar="DIR|URL")
@click.option(
    "--format",
    "form",
    default="terminal",
    show_default=True,
    metavar="terminal|md|html|json|csv|junit|summary",
    help="Kind of text on stdout, e.g. --format junit > junit.xml",
)
@click.option("--fail", is_flag=True, help="Exit 1 where a cell did not pass, e.g. kexport report artifacts --fail")
def command(directory: Path | Url, form: str, *, fail: bool) -> int:
    """Report parity, size, accuracy and latency of every record of a folder.

    Example: kexport report artifacts --format md > report.md
    """
    from kexport import reports, store
    from kexport.reports.verdict import failed, failure_line
    from kexport.store import mirror

    with mirror.reading(directory, records_only=True) as folder:
        records = store.read_records(folder)
    if not records:
        raise UsageError(f"{directory} holds no records", hint=f"kexport export MobileNetV3Small -o {directory}")
    if form == "terminal":
        show(records, as_json=False)
    else:
        output.data(reports.render(records, form))
    not_passed = failed(records) if fail else ()
    for record in not_passed:
        output.message(failure_line(record))
    return 1 if not_passed else 0
