"""``kexport bundle``: an artifact with everything that its deployment needs."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output
from kexport.cli.options import STORED_HINT, Here, contract_options

ORDER = 77


@click.command("bundle")
@click.argument("artifact", type=Here(hint=STORED_HINT), metavar="ARTIFACT")
@click.option(
    "--for",
    "name",
    required=True,
    metavar="NAME",
    help="Where it goes: android, cpp, mcu, python, tfserving, triton or web, e.g. --for python",
)
@click.option(
    "-o",
    "--output",
    "place",
    type=Here(),
    metavar="PLACE",
    help="The folder or archive to write; <artifact>-<name> here unless said, e.g. -o deploy/camera",
)
@click.option("--archive", is_flag=True, help="One .tar.gz, the same bytes each time, e.g. --for cpp --archive")
@click.option(
    "--runtime-files",
    type=Here(file_okay=False),
    metavar="DIR",
    help="For web: a node_modules whose runtime goes into the bundle, e.g. --runtime-files node_modules",
)
@contract_options
def command(
    *,
    artifact: Path,
    name: str,
    place: Path | None,
    archive: bool,
    runtime_files: Path | None,
    labels: str | None,
    preprocessing: str | None,
    resize: str | None,
) -> int:
    """Put an artifact with client code, golden inputs and outputs, model card and checksums into one folder.

    Example: kexport bundle artifacts/MobileNetV3Small/MobileNetV3Small-int8.tflite --for python
    """
    from kexport.bundles.write import bundle

    written = bundle(
        artifact, name, place, archived=archive, runtime_files=runtime_files,
        labels=labels, preprocessing=preprocessing, resize=resize,
    )  # fmt: skip
    output.message(f"{written}: written; README.md says how to run it")
    return 0
