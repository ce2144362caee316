"""``kexport verify``: is a folder of artifacts what its manifest says."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output
from kexport.cli.options import Here, Stored
from kexport.options.place import Url

ORDER = 80
WITHOUT_KEY = "; without --key nobody can tell who made the files, or whether all of it was changed together"


@click.command("verify")
@click.argument("directory", type=Stored(), metavar="DIR|URL")
@click.option(
    "--key",
    type=Here(),
    metavar="FILE",
    help="Public key of who signed the folder: then every change since is seen, e.g. --key public.pem",
)
def command(directory: Path | Url, key: Path | None) -> int:
    """Check hashes, records and completeness of a folder of artifacts; exit 1 when anything is wrong.

    Example: kexport verify artifacts --key public.pem
    """
    from kexport import store
    from kexport.store import mirror

    with mirror.reading(directory) as folder:
        problems = store.verify(folder) if key is None else store.check(folder, key)
    if problems:
        output.data("\n".join(problems))
    count = "no problem" if not problems else f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    output.message(f"{directory}: {count} found{WITHOUT_KEY if key is None else ''}")
    return 1 if problems else 0
