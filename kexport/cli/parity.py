"""``kexport parity``: check stored artifacts again."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from kexport.cli import progress
from kexport.cli.options import json_option, trusted_option
from kexport.cli.run_cells import tell

ARTIFACTS = (Path("artifacts"),)

ORDER = 40


@click.command("parity")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="[DIR|ARTIFACT]...")
@trusted_option
@json_option
def command(paths: tuple[Path, ...], trusted: tuple[str, ...], as_json: bool) -> int:
    """Compare stored artifacts with Keras again; the folder artifacts unless said.

    Example: kexport parity artifacts/ResNet50/ResNet50-float32.onnx
    """
    started = time.monotonic()
    from kexport import pipeline

    with progress.create() as observer:
        records = pipeline.recheck(paths or ARTIFACTS, observer, trusted=trusted)
    return tell(records, as_json=as_json, seconds=time.monotonic() - started)
