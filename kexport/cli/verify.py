"""``kexport verify``: is a folder of artifacts what its manifest says."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output

ORDER = 80


@click.command("verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR")
def command(directory: Path) -> int:
    """Check hashes, records and completeness of a folder of artifacts; exit 1 when anything is wrong.

    Example: kexport verify artifacts
    """
    from kexport import store

    problems = store.verify(directory)
    if problems:
        output.data("\n".join(problems))
    count = "no problem" if not problems else f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    output.message(f"{directory}: {count} found")
    return 1 if problems else 0
