"""``kexport bundle``: an artifact with everything that its deployment needs."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output

ORDER = 77


@click.command("bundle")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="ARTIFACT")
@click.option(
    "--for",
    "name",
    required=True,
    metavar="NAME",
    help="Where it goes: cpp, mcu, python, tfserving, triton or web, e.g. --for python",
)
@click.option(
    "-o",
    "--output",
    "place",
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="The folder or archive to write; <artifact>-<name> here unless said, e.g. -o deploy/camera",
)
@click.option(
    "--runtime-files",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="For web: a node_modules whose runtime goes into the bundle, e.g. --runtime-files node_modules",
)
@click.option("--archive", is_flag=True, help="One .tar.gz, the same bytes each time, e.g. --for cpp --archive")
def command(artifact: Path, name: str, place: Path | None, runtime_files: Path | None, *, archive: bool) -> int:
    """Put an artifact with client code, golden inputs and outputs, model card and checksums into one folder.

    Example: kexport bundle artifacts/MobileNetV3Small/MobileNetV3Small-int8.tflite --for python
    """
    from kexport.bundles.write import bundle

    written = bundle(artifact, name, place, archived=archive, runtime_files=runtime_files)
    output.message(f"{written}: written; README.md says how to run it")
    return 0
