"""``kexport inspect``: what a file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kexport.cli import output
from kexport.cli.options import STORED_HINT, Here, contract_options, json_option
from kexport.errors import UsageError

if TYPE_CHECKING:
    from kexport.evidence.artifact_file import ArtifactFile
    from kexport.records.recipe import Recipe

ORDER = 34


@click.command("inspect")
@click.argument("artifact", type=Here(hint=STORED_HINT), metavar="ARTIFACT")
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Largest layers told, e.g. --layers 50",
)
@click.option(
    "--recipe",
    is_flag=True,
    help="Write how its layers were quantized instead, as --recipe of export reads it, e.g. --recipe > recipe.toml",
)
@contract_options
@json_option
def command(
    *,
    artifact: Path,
    layers: int,
    recipe: bool,
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
    if recipe:
        from kexport.quantization import recipe_file

        output.data(recipe_file.written(_recipe(found)))
        return 0
    if as_json:
        from kexport.records import encode

        output.data(encode(found))
        return 0
    from kexport.reports import inspection

    output.renderables(inspection.shown(found, layers=layers))
    return 0


def _recipe(found: ArtifactFile) -> Recipe:
    """What the record beside the file says. Raises UsageError where no rule is needed to make it again."""
    quantized = found.record.quantization if found.record is not None else None
    if quantized is None:
        why = "it is not quantized" if found.record is not None else "there is no record beside it"
        raise UsageError(f"{found.path} has no recipe: {why}", hint="kexport export MODEL --schemes int8")
    if quantized.recipe is None:
        raise UsageError(
            f"{found.path} has no recipe: every layer is quantized as it is usual",
            hint="kexport export MODEL --schemes int8 --keep-float LAYER",
        )
    return quantized.recipe
