"""``kexport demo``: the whole pipeline, offline, on a small trained network that the package carries."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from kexport.cli import output, progress
from kexport.cli.options import Here
from kexport.cli.run_cells import tell

ORDER = 92


@click.command("demo")
@click.option(
    "-o",
    "--output",
    "directory",
    type=Here(),
    default=Path("kexport-demo"),
    show_default=True,
    metavar="DIR",
    help="A new folder for the network, its images and the artifacts, e.g. -o build/demo",
)
def command(directory: Path) -> int:
    """Export a small network of handwritten digits in every format, float and int8, and prove each, offline.

    Example: kexport demo
    """
    from kexport.pipeline import demo

    started = time.monotonic()
    prepared = demo.prepare(directory)
    with progress.create(total=len(prepared.cells)) as observer:
        records = demo.run(prepared, observer)
    code = tell(records, as_json=False, directory=prepared.artifacts, seconds=time.monotonic() - started)
    output.message("\n".join(demo.left_out()) + f"\nthe same as a document: {directory / demo.REPORT}")
    made = [artifact for artifact in prepared.int8 if artifact.exists()]
    for artifact in made:
        found = demo.named(artifact, prepared.source.shown)
        lines = "\n".join(f"  {value:7.4f}  {name}" for name, value in found)
        output.data(f"\n{prepared.source.shown} through {artifact.name}:\n{lines}")
    output.data("\nWhat can be typed next:\n" + "\n".join(f"  {line}" for line in prepared.commands))
    return code
