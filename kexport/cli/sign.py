"""``kexport sign``: a bill of materials, and a signature over a folder of artifacts."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output
from kexport.cli.options import STORED_HINT, Here

ORDER = 85


@click.command("sign")
@click.argument("directory", type=Here(hint=STORED_HINT, file_okay=False, exists=True), metavar="DIR")
@click.option(
    "--key",
    required=True,
    type=Here(),
    metavar="FILE",
    help="Private key of an elliptic curve in PEM, which signs offline, e.g. --key key.pem",
)
def command(directory: Path, key: Path) -> int:
    """Sign a folder of artifacts with your key, after a bill of materials was written into it.

    Example: kexport sign artifacts --key key.pem
    """
    from kexport import files, reports, store

    files.write(directory / store.BOM, reports.render(store.read_records(directory), "cyclonedx"))
    signature = store.sign(directory, key)
    output.message(f"{signature} signs {directory}: kexport verify {directory} --key public.pem")
    return 0
