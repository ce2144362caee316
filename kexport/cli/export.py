"""``kexport export``: one or several models to artifacts, with parity."""

from __future__ import annotations

from typing import Any

import rich_click as click

from kexport.cli import completion
from kexport.cli.options import asked, export_options
from kexport.cli.run_cells import execute
from kexport.sources.names import select

ORDER = 20


@click.command("export")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", shell_complete=completion.sources)
@export_options
def command(sources: tuple[str, ...], **values: Any) -> int:
    """Export one or several models, and prove each file against Keras.

    SOURCE is an application (MobileNetV3Small), a family (efficientnet), a glob ('ResNet*V2'), a model file
    (model.keras, model.h5), the folder of a SavedModel, or a function that returns a model (package.module:factory).
    Many models are a glob of files ('models/*.keras'), a folder of them, or a list (@models.txt, one SOURCE a line,
    # begins a comment).

    Example: kexport export MobileNetV3Small --formats onnx,tflite --weights random:0
    """
    return execute(select(sources), asked(values))
