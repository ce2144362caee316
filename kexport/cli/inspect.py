"""``kexport inspect``: what a file says of itself."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from kexport.cli import output
from kexport.cli.options import contract_options, json_option

ORDER = 34


@click.command("inspect")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="ARTIFACT")
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Largest layers told, e.g. --layers 50",
)
@contract_options
@json_option
def command(
    *,
    artifact: Path,
    layers: int,
    labels: str | None,
    preprocessing: str | None,
    resize: str | None,
    as_json: bool,
) -> int:
    """Tell what an ONNX or TFLite file or a SavedModel says of itself, whoever has written it; nothing of it is run.

    Signature, precision, operators, contract, labels, provenance, metadata and size by layer.

    Example: kexport inspect artifacts/MobileNetV3Small/MobileNetV3Small-int8.tflite
    """
    from kexport import api

    found = api.inspect(artifact, labels=labels, preprocessing=preprocessing, resize=resize)
    if as_json:
        from kexport.records import encode

        output.data(encode(found))
        return 0
    from kexport.reports import inspection

    output.renderables(inspection.shown(found, layers=layers))
    return 0
