"""``kexport all``: every Keras Application; the main job."""

from __future__ import annotations

from typing import Any

import rich_click as click

from kexport.cli.options import asked, export_options
from kexport.cli.run_cells import execute
from kexport.sources.catalog import APPLICATIONS

ORDER = 30


@click.command("all")
@export_options
def command(**values: Any) -> int:
    """Export every Keras Application, and prove each file against Keras.

    Example: kexport all --formats onnx,tflite --weights random:0 --resume
    """
    return execute(APPLICATIONS, asked(values))
